//! What one object counts for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use skep_registry::{Object, Quantity, typed_ref};

use super::Counted;
use crate::amounts::{Amount, Amounts};
use crate::resources::{Side, of_pod};

/// Resources that are also counted by their own names.
const ALIASED: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];
/// What is summed up over pods.
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// For these each container must say what it asks for. Others came later, and do not demand that.
const DEMANDED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";

/// `count/deployments.apps`, `count/pods`.
#[must_use]
pub fn count_name(resource: Counted<'_>) -> String {
    let Counted { group, plural } = resource;
    if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") }
}

/// Whether objects of a resource count for a name in a quota.
pub(super) fn is_for(resource: Counted<'_>, name: &str) -> bool {
    if name == count_name(resource) {
        return true;
    }
    match (resource.group, resource.plural) {
        ("", "pods") => {
            let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
            name == "pods"
                || COMPUTE.contains(&bare)
                || name.starts_with("hugepages-")
                || name.starts_with("requests.hugepages-")
                || (name.starts_with("requests.") && is_extended(bare))
        }
        ("", "services") => matches!(name, "services" | "services.nodeports" | "services.loadbalancers"),
        ("", "persistentvolumeclaims") => {
            let bare = name.split_once(BY_CLASS).map_or(name, |(_, bare)| bare);
            matches!(bare, "persistentvolumeclaims" | "requests.storage")
        }
        ("", plural) => name == plural && ALIASED.contains(&plural),
        _ => false,
    }
}

/// A device's name: of a domain, and not of Kubernetes' own.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

pub(super) fn of(resource: Counted<'_>, object: &dyn Object, now: Timestamp) -> Amounts {
    let mut amounts = Amounts::default();
    amounts.set(&count_name(resource), Amount::of(1));
    if let Some(pod) = typed_ref::<Pod>(object) {
        of_one_pod(&mut amounts, pod, now);
    } else if let Some(service) = typed_ref::<Service>(object) {
        of_service(&mut amounts, service);
    } else if let Some(claim) = typed_ref::<PersistentVolumeClaim>(object) {
        of_claim(&mut amounts, claim);
    } else if resource.group.is_empty() && ALIASED.contains(&resource.plural) {
        amounts.set(resource.plural, Amount::of(1));
    }
    amounts
}

/// Pods that ended, or had their time to end, are counted but use nothing.
fn of_one_pod(amounts: &mut Amounts, pod: &Pod, now: Timestamp) {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Failed" | "Succeeded")) || is_overdue(pod, now) {
        return;
    }
    amounts.set("pods", Amount::of(1));
    let Some(spec) = &pod.spec else { return };
    compute(amounts, &of_pod(spec, Side::Requests), &of_pod(spec, Side::Limits));
}

fn is_overdue(pod: &Pod, now: Timestamp) -> bool {
    let (Some(deleted), Some(grace)) = (&pod.metadata.deletion_timestamp, pod.metadata.deletion_grace_period_seconds)
    else {
        return false;
    };
    deleted.0.checked_add(SignedDuration::from_secs(grace)).is_ok_and(|end| now > end)
}

/// By the names that quotas have for requests and limits.
fn compute(amounts: &mut Amounts, requests: &Amounts, limits: &Amounts) {
    for (name, amount) in requests.iter() {
        let standard = COMPUTE.contains(&name) || name.starts_with("hugepages-");
        if standard {
            amounts.set(name, amount);
        }
        if standard || is_extended(name) {
            amounts.set(&format!("requests.{name}"), amount);
        }
    }
    for (name, amount) in limits.iter().filter(|(name, _)| COMPUTE.contains(name)) {
        amounts.set(&format!("limits.{name}"), amount);
    }
}

/// Which demanded resources containers say nothing of, in upstream's words.
pub(super) fn unspecified(concerned: &[&str], pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let said = |resources| {
        let mut amounts = Amounts::default();
        compute(&mut amounts, &Side::Requests.of(resources), &Side::Limits.of(resources));
        amounts
    };
    // What is said of the pod as a whole is said of its containers.
    let whole = said(spec.resources.as_ref());
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let said = said(container.resources.as_ref());
        for name in concerned.iter().filter(|name| DEMANDED.contains(name)) {
            if said.get(name).is_none() && whole.get(name).is_none() {
                missing.entry(name).or_default().insert(&container.name);
            }
        }
    }
    let list = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(",");
    let parts: Vec<String> = missing.iter().map(|(name, who)| format!("{name} for: {}", list(who))).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn of_service(amounts: &mut Amounts, service: &Service) {
    let spec = service.spec.as_ref();
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let kind = spec.and_then(|spec| spec.type_.as_deref());
    let chosen = spec.and_then(|spec| spec.allocate_load_balancer_node_ports) == Some(false);
    let node_ports = match kind {
        Some("LoadBalancer") if chosen => ports.iter().filter(|port| port.node_port.unwrap_or(0) != 0).count(),
        Some("NodePort" | "LoadBalancer") => ports.len(),
        _ => 0,
    };
    amounts.set("services", Amount::of(1));
    amounts.set("services.nodeports", Amount::of(i64::try_from(node_ports).unwrap_or(i64::MAX)));
    amounts.set("services.loadbalancers", Amount::of(i64::from(kind == Some("LoadBalancer"))));
}

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

fn of_claim(amounts: &mut Amounts, claim: &PersistentVolumeClaim) {
    let spec = claim.spec.as_ref();
    let annotated = claim.metadata.annotations.as_ref().and_then(|annotations| annotations.get(CLASS_ANNOTATION));
    let class = annotated.or_else(|| spec?.storage_class_name.as_ref()).filter(|class| !class.is_empty());
    let asked = spec.and_then(|spec| spec.resources.as_ref()).and_then(|resources| resources.requests.as_ref());
    let given = claim.status.as_ref().and_then(|status| status.allocated_resources.as_ref());
    let storage = Amounts::from_api(asked).get("storage").map(|asked| {
        let largest = Amounts::from_api(given).get("storage").map_or(asked, |given| asked.max(given));
        Amount { quantity: Quantity::from_value(largest.quantity.value()), ..largest }
    });
    let names = [("persistentvolumeclaims", Some(Amount::of(1))), ("requests.storage", storage)];
    for (name, amount) in names {
        let Some(amount) = amount else { continue };
        amounts.set(name, amount);
        if let Some(class) = class {
            amounts.set(&format!("{class}{BY_CLASS}{name}"), amount);
        }
    }
}
