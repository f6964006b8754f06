//! Node.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeSpec, Taint};

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::names;
use crate::pod_spec::validate_quantity;
use crate::strategy::{Allocated, Cell, Claim, Column, FieldError, Pools, Subresource};
use crate::table::{self, or_none};

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE: &str = "kubernetes.io/role";

/// Nodes.
pub(crate) struct Nodes;

impl Kind for Nodes {
    type Object = Node;

    const SINGULAR: &'static str = "node";
    const SHORT_NAMES: &'static [&'static str] = &["no"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status, Subresource::Proxy];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("Status", "The status of the node"),
        table::text("Roles", "The roles of the node"),
        table::AGE,
        table::text("Version", "What the node's daemon reports as its version."),
        table::wide("Internal-IP", "Its address in the cluster."),
        table::wide("External-IP", "Its address outside the cluster."),
        table::wide("OS-Image", "What it runs."),
        table::wide("Kernel-Version", "The kernel's version."),
        table::wide("Container-Runtime", "The container runtime's version."),
    ];
    const FIELDS: &'static [&'static str] = &["metadata.name", "metadata.namespace", "spec.unschedulable"];

    fn default(object: &mut Node) {
        let spec = object.spec.get_or_insert_default();
        match (&spec.pod_cidr, spec.pod_cidrs.as_deref().unwrap_or_default()) {
            (Some(cidr), []) if !cidr.is_empty() => spec.pod_cidrs = Some(vec![cidr.clone()]),
            (None, [first, ..]) => spec.pod_cidr = Some(first.clone()),
            _ => {}
        }
        if let Some(status) = &mut object.status
            && status.allocatable.is_none()
        {
            status.allocatable.clone_from(&status.capacity);
        }
    }

    fn set_status(object: &mut Node, from: Option<&Node>) {
        object.status = from.and_then(|from| from.status.clone());
    }

    // A node registers itself together with its status.
    fn prepare_for_create(_object: &mut Node) {}

    /// A range that another node has is refused, so that no two nodes ever hand out the same addresses.
    fn allocate(new: &mut Node, old: Option<&Node>, pools: &dyn Pools) -> Allocated {
        let held = old.map(Self::claims).unwrap_or_default();
        let path = Path::root("spec.podCIDRs");
        let mut errors = Errors::new();
        for (i, claim) in Self::claims(new).into_iter().enumerate() {
            if !held.contains(&claim) && pools.is_claimed(&claim) {
                errors.invalid(&path.index(i), claim.value, "the range is allocated to another node");
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors.into_vec()) }
    }

    fn claims(object: &Node) -> Vec<Claim> {
        let cidrs = object.spec.as_ref().map(pod_cidrs).unwrap_or_default();
        cidrs.iter().map(|cidr| Claim { pool: "podcidrs", value: cidr.clone() }).collect()
    }

    fn validate(object: &Node) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let spec = object.spec.clone().unwrap_or_default();
        validate_taints(&mut errors, &Path::root("spec.taints"), spec.taints.as_deref().unwrap_or_default());
        let path = Path::root("spec.podCIDRs");
        let cidrs = spec.pod_cidrs.as_deref().unwrap_or_default();
        for (i, cidr) in cidrs.iter().enumerate() {
            if let Err(detail) = names::cidr(cidr) {
                errors.invalid(&path.index(i), cidr.as_str(), detail);
            }
        }
        let v4 = cidrs.iter().filter_map(|cidr| names::cidr(cidr).ok()).filter(|cidr| cidr.addr().is_ipv4()).count();
        if cidrs.len() > 2 || (cidrs.len() == 2 && v4 != 1) {
            errors.invalid(&path, cidrs.to_vec(), "may specify no more than one CIDR for each IP family");
        }
        errors.extend(Self::validate_status_update(object, object));
        errors.into_vec()
    }

    fn validate_update(new: &Node, old: &Node) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        let (spec, was) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
        let had = was.pod_cidrs.unwrap_or_default();
        if !had.is_empty() && spec.pod_cidrs.unwrap_or_default() != had {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            errors.forbidden(&Path::root("spec.podCIDRs"), detail);
        }
        let had = was.provider_id.unwrap_or_default();
        if !had.is_empty() && spec.provider_id.unwrap_or_default() != had {
            let detail = "node updates may not change providerID except from \"\" to valid";
            errors.forbidden(&Path::root("spec.providerID"), detail);
        }
        errors.into_vec()
    }

    fn validate_status_update(new: &Node, _old: &Node) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let Some(status) = &new.status else { return Vec::new() };
        for (field, list) in [("capacity", &status.capacity), ("allocatable", &status.allocatable)] {
            let path = Path::root("status");
            let path = path.child(field);
            for (name, quantity) in list.iter().flatten() {
                validate_quantity(&mut errors, &path.key(name), quantity);
            }
        }
        let path = Path::root("status.addresses");
        let addresses = status.addresses.as_deref().unwrap_or_default();
        for (i, address) in addresses.iter().enumerate() {
            if addresses.iter().take(i).any(|other| other == address) {
                errors.duplicate(&path.index(i), serde_json::to_value(address).unwrap_or_default());
            }
        }
        errors.into_vec()
    }

    fn row(object: &Node, now: Timestamp) -> Vec<Cell> {
        let info = object.status.as_ref().and_then(|status| status.node_info.clone()).unwrap_or_default();
        let or_unknown = |text: String| Cell::from(if text.is_empty() { "<unknown>".to_owned() } else { text });
        vec![
            table::name(&object.metadata),
            Cell::from(status(object)),
            Cell::from(roles(object)),
            table::age(&object.metadata, now),
            Cell::from(info.kubelet_version),
            or_none(address(object, "InternalIP")),
            or_none(address(object, "ExternalIP")),
            or_unknown(info.os_image),
            or_unknown(info.kernel_version),
            or_unknown(info.container_runtime_version),
        ]
    }

    fn fields(object: &Node) -> Vec<(&'static str, String)> {
        vec![("spec.unschedulable", is_cordoned(object).to_string())]
    }
}

fn pod_cidrs(spec: &NodeSpec) -> &[String] {
    spec.pod_cidrs.as_deref().unwrap_or_default()
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true))
}

fn status(node: &Node) -> String {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = match conditions.find(|condition| condition.type_ == "Ready") {
        Some(condition) if condition.status == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if is_cordoned(node) { format!("{ready},SchedulingDisabled") } else { ready.to_owned() }
}

fn roles(node: &Node) -> String {
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in node.metadata.labels.iter().flatten() {
        match key.strip_prefix(ROLE_PREFIX) {
            Some(role) if !role.is_empty() => roles.push(role),
            None if key == ROLE && !value.is_empty() => roles.push(value),
            _ => {}
        }
    }
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn address<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    let mut addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    addresses.find(|address| address.type_ == kind).map(|address| address.address.as_str())
}

fn validate_taints(errors: &mut Errors, path: &Path<'_>, taints: &[Taint]) {
    for (i, taint) in taints.iter().enumerate() {
        let path = path.index(i);
        errors.invalid_each(&path.child("key"), &taint.key, names::qualified_name(&taint.key));
        let value = taint.value.as_deref().unwrap_or_default();
        errors.invalid_each(&path.child("value"), value, names::label_value(value));
        match taint.effect.as_str() {
            "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
            "" => errors.required(&path.child("effect"), ""),
            other => {
                errors.not_supported(&path.child("effect"), other, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
            }
        }
        if taints.iter().take(i).any(|other| other.key == taint.key && other.effect == taint.effect) {
            errors.duplicate(&path, serde_json::to_value(taint).unwrap_or_default());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(value: Value) -> Node {
        let mut node = crate::decode::decode(value).unwrap().0;
        Nodes::default(&mut node);
        node
    }

    #[test]
    fn the_row_is_kubectls() {
        let object = node(json!({
            "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "edge"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}}));
        let row = Nodes::row(&object, Timestamp::UNIX_EPOCH);
        let expected = json!([
            "n",
            "Ready,SchedulingDisabled",
            "edge,worker",
            "<unknown>",
            "",
            "10.0.0.1",
            "<none>",
            "<unknown>",
            "<unknown>",
            "<unknown>"
        ]);
        assert_eq!(Value::from(row), expected);
        assert_eq!(status(&node(json!({}))), "Unknown");
    }

    #[test]
    fn taints_and_cidrs_are_checked() {
        let text = |errors: Vec<FieldError>| -> Vec<String> {
            errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
        };
        let bad = node(json!({"spec": {"podCIDR": "10.42.0/24", "taints": [
            {"key": "a", "effect": "x"}, {"key": "b", "effect": "NoSchedule"}, {"key": "b", "effect": "NoSchedule"}]}}));
        let errors = text(Nodes::validate(&bad));
        assert_eq!(
            errors[0],
            "spec.taints[0].effect: Unsupported value: \"x\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \
             \"NoExecute\""
        );
        assert!(errors[1].starts_with("spec.taints[2]: Duplicate value: "));
        assert!(errors[2].starts_with("spec.podCIDRs[0]: Invalid value: \"10.42.0/24\": must be a valid CIDR value"));
        let errors = Nodes::validate_update(
            &node(json!({"spec": {"podCIDR": "10.43.0.0/24"}})),
            &node(json!({"spec": {"podCIDR": "10.42.0.0/24"}})),
        );
        assert_eq!(errors[0].field, "spec.podCIDRs");
    }
}
