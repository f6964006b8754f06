//! Pod.

mod part;
mod table;
mod validate;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodIP, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::field::Path;
use crate::kind::{Kind, with_generations};
use crate::pod_spec;
use crate::strategy::{Cell, Column, FieldError, Subresource};

/// Pods.
pub(crate) struct Pods;

impl Kind for Pods {
    type Object = Pod;

    const SINGULAR: &'static str = "pod";
    const SHORT_NAMES: &'static [&'static str] = &["po"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SUBRESOURCES: &'static [Subresource] = &[
        Subresource::Status,
        Subresource::Binding,
        Subresource::Log,
        Subresource::Exec,
        Subresource::Attach,
        Subresource::PortForward,
        Subresource::Proxy,
        Subresource::EphemeralContainers,
        Subresource::Eviction,
        Subresource::Resize,
    ];
    const COLUMNS: &'static [Column] = table::COLUMNS;
    const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "metadata.namespace",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ];

    fn default(object: &mut Pod) {
        let spec = object.spec.get_or_insert_default();
        pod_spec::default_spec(spec);
        pod_spec::default_pod(spec);
    }

    fn set_status(object: &mut Pod, from: Option<&Pod>) {
        object.status = from.and_then(|from| from.status.clone());
    }

    fn prepare_for_create(object: &mut Pod) {
        let spec = object.spec.get_or_insert_default();
        admit(spec);
        // A negative grace period has ever meant the shortest one.
        if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
            spec.termination_grace_period_seconds = Some(1);
        }
        object.status = Some(PodStatus {
            phase: Some("Pending".to_owned()),
            qos_class: Some(pod_spec::qos_class(spec).to_owned()),
            ..Default::default()
        });
    }

    fn prepare_for_status_update(new: &mut Pod, old: &Pod) {
        let mut status = new.status.take().unwrap_or_default();
        if status.qos_class.as_deref().unwrap_or_default().is_empty() {
            status.qos_class = old.status.as_ref().and_then(|status| status.qos_class.clone());
        }
        match (&status.pod_ip, status.pod_ips.as_deref().unwrap_or_default()) {
            (Some(ip), []) if !ip.is_empty() => status.pod_ips = Some(vec![PodIP { ip: ip.clone() }]),
            (None, [first, ..]) => status.pod_ip = Some(first.ip.clone()),
            _ => {}
        }
        let meta = std::mem::take(&mut new.metadata);
        *new = Pod { metadata: old.metadata.clone(), spec: old.spec.clone(), status: Some(status) };
        new.metadata.resource_version = meta.resource_version;
        new.metadata.managed_fields = meta.managed_fields;
    }

    with_generations!(Pod);

    fn prepare_for_part_update(part: Subresource, new: &mut Pod, old: &Pod) {
        part::prepare(part, new, old);
    }

    fn validate_part_update(part: Subresource, new: &Pod, old: &Pod) -> Vec<FieldError> {
        part::validate(part, new, old)
    }

    fn grace_period_seconds(object: &Pod, requested: Option<i64>) -> i64 {
        let spec = object.spec.as_ref();
        let bound = spec.and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty());
        if !bound || matches!(phase(object), "Failed" | "Succeeded") {
            return 0;
        }
        let period = requested.or_else(|| spec?.termination_grace_period_seconds).unwrap_or(0);
        if period < 0 { 1 } else { period }
    }

    fn bind(object: &mut Pod, node: &str, now: Timestamp) -> Result<(), String> {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        if object.metadata.deletion_timestamp.is_some() {
            return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
        }
        let spec = object.spec.get_or_insert_default();
        if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
            return Err(format!("pod {name} is already assigned to node {node:?}"));
        }
        if spec.scheduling_gates.as_deref().is_some_and(|gates| !gates.is_empty()) {
            return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
        }
        spec.node_name = Some(node.to_owned());
        let status = object.status.get_or_insert_default();
        status.nominated_node_name = None;
        let conditions = status.conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != "PodScheduled");
        conditions.push(PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(Time(now)),
            observed_generation: object.metadata.generation,
            ..Default::default()
        });
        Ok(())
    }

    fn row(object: &Pod, now: Timestamp) -> Vec<Cell> {
        table::row(object, now)
    }

    fn fields(object: &Pod) -> Vec<(&'static str, String)> {
        let text = |value: Option<&String>| value.cloned().unwrap_or_default();
        let spec = object.spec.as_ref();
        let status = object.status.as_ref();
        let ips: Vec<&str> = status.iter().flat_map(|s| s.pod_ips.iter().flatten()).map(|ip| ip.ip.as_str()).collect();
        vec![
            ("spec.nodeName", text(spec.and_then(|s| s.node_name.as_ref()))),
            ("spec.restartPolicy", text(spec.and_then(|s| s.restart_policy.as_ref()))),
            ("spec.schedulerName", text(spec.and_then(|s| s.scheduler_name.as_ref()))),
            ("spec.serviceAccountName", text(spec.and_then(|s| s.service_account_name.as_ref()))),
            ("spec.hostNetwork", spec.is_some_and(|s| s.host_network == Some(true)).to_string()),
            ("status.phase", phase(object).to_owned()),
            (
                "status.podIP",
                ips.first().map_or_else(|| text(status.and_then(|s| s.pod_ip.as_ref())), |ip| (*ip).to_owned()),
            ),
            ("status.podIPs", ips.join(",")),
            ("status.nominatedNodeName", text(status.and_then(|s| s.nominated_node_name.as_ref()))),
        ]
    }

    fn validate(object: &Pod) -> Vec<FieldError> {
        validate::create(object)
    }

    fn warnings(new: &Pod, old: Option<&Pod>) -> Vec<String> {
        // People create pods, programs update them.
        let spec = new.spec.iter().filter(|_| old.is_none());
        let (meta, path) = (Path::root("metadata"), Path::root("spec"));
        spec.flat_map(|spec| pod_spec::warnings((&meta, Some(&new.metadata)), (&path, spec))).collect()
    }

    fn validate_update(new: &Pod, old: &Pod) -> Vec<FieldError> {
        validate::update(new, old)
    }

    fn validate_status_update(new: &Pod, _old: &Pod) -> Vec<FieldError> {
        validate::status(new)
    }
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// What upstream's admission plugin for service accounts sets.
fn admit(spec: &mut PodSpec) {
    if spec.service_account_name.as_deref().unwrap_or_default().is_empty() {
        spec.service_account_name = Some("default".to_owned());
    }
    spec.service_account.clone_from(&spec.service_account_name);
}
