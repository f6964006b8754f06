//! Which objects a node may touch: its own Node and Lease, the pods that are bound to it, and the configuration and secrets that
//! those name. After upstream's admission plugin NodeRestriction and its node authorizer.

use k8s_openapi::api::core::v1::{Node, Pod};
use skep_registry::{Object, typed_ref};

use crate::authn::Identity;
use crate::object::Cached;
use crate::path::Verb;
use crate::resource::Context;
use crate::served::Served;
use crate::status::ApiError;
use crate::write::Target;

/// Where nodes keep their Leases.
const LEASES: &str = "kube-node-lease";
/// Labels by which operators separate workloads; a node may not give itself one.
const LABELS: &str = "node-restriction.kubernetes.io/";

/// Before an object is created.
pub(crate) fn check_new(who: &Identity, served: &Served, object: &dyn Object) -> Result<(), ApiError> {
    let Some(node) = who.node() else { return Ok(()) };
    let (meta, name) = (object.meta(), object.meta().name.as_deref().unwrap_or_default());
    let refuse = |why: String| Err(ApiError::forbidden(&served.plural, &served.group, name, &why));
    match (&*served.group, &*served.plural) {
        ("", "nodes") if name != node => refuse(format!("node \"{node}\" is not allowed to modify node \"{name}\"")),
        ("", "nodes") => match typed_ref::<Node>(object).and_then(restricted_label) {
            Some(label) => refuse(format!("is not allowed to set the following node labels: {label}")),
            None => Ok(()),
        },
        ("coordination.k8s.io", "leases") => {
            check_lease(node, served, meta.namespace.as_deref().unwrap_or(LEASES), name)
        }
        ("", "pods") => match typed_ref::<Pod>(object) {
            Some(pod) if pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) != Some(node) => {
                refuse(format!("node \"{node}\" can only create pods with spec.nodeName set to itself"))
            }
            Some(pod) if !is_mirror(pod) => refuse(format!(
                "pod does not have \"{MIRROR}\" annotation, node \"{node}\" can only create mirror pods"
            )),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

const MIRROR: &str = "kubernetes.io/config.mirror";

fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(MIRROR))
}

fn restricted_label(node: &Node) -> Option<&str> {
    node.metadata.labels.iter().flatten().map(|(key, _)| key.as_str()).find(|key| key.starts_with(LABELS))
}

/// Before a named object is read or changed.
pub(crate) fn check(context: &Context<'_>, who: &Identity, target: &Target, verb: Verb) -> Result<(), ApiError> {
    let Some(node) = who.node() else { return Ok(()) };
    let (served, name) = (&target.served, target.name.as_str());
    let refuse = |why: String| Err(ApiError::forbidden(&served.plural, &served.group, name, &why));
    match (&*served.group, &*served.plural) {
        ("", "nodes") if !verb.is_read() && name != node => {
            refuse(format!("node \"{node}\" is not allowed to modify node \"{name}\""))
        }
        ("coordination.k8s.io", "leases") => {
            check_lease(node, served, target.namespace.as_deref().unwrap_or_default(), name)
        }
        ("", "pods") if !verb.is_read() => match context.writer.cache.get(served, &target.key()) {
            Some(pod) if !is_on(&pod, node) => {
                refuse(format!("node \"{node}\" can only change pods with spec.nodeName set to itself"))
            }
            _ => Ok(()),
        },
        ("", "configmaps" | "secrets" | "serviceaccounts") if !is_named_by_a_pod(context, node, target) => {
            refuse(format!("no relationship found between node '{node}' and this object"))
        }
        _ => Ok(()),
    }
}

fn check_lease(node: &str, served: &Served, namespace: &str, name: &str) -> Result<(), ApiError> {
    if namespace == LEASES && name == node {
        return Ok(());
    }
    let why = format!("node \"{node}\" can only access the lease \"{node}\" in the \"{LEASES}\" namespace");
    Err(ApiError::forbidden(&served.plural, &served.group, name, &why))
}

fn is_on(pod: &Cached, node: &str) -> bool {
    pod.fields.iter().any(|(field, value)| *field == "spec.nodeName" && value == node)
}

/// Whether a pod of the node names the object anywhere in its spec.
fn is_named_by_a_pod(context: &Context<'_>, node: &str, target: &Target) -> bool {
    let Some(pods) = context.pods else { return false };
    let namespace = format!("{}/", target.namespace.as_deref().unwrap_or_default());
    let pods = context.writer.cache.list(pods, &namespace).items;
    pods.iter().filter(|pod| is_on(pod, node)).any(|pod| {
        let Ok(pod) = serde_json::from_slice::<Pod>(&pod.bytes) else { return false };
        names(&pod, &target.served.plural).iter().any(|name| *name == target.name)
    })
}

/// The names of all objects of a kind that a pod's spec refers to.
fn names<'a>(pod: &'a Pod, plural: &str) -> Vec<&'a str> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    if plural == "serviceaccounts" {
        return vec![spec.service_account_name.as_deref().unwrap_or("default")];
    }
    let secrets = plural == "secrets";
    let mut names: Vec<&str> = Vec::new();
    for volume in spec.volumes.iter().flatten() {
        if secrets {
            names.extend(volume.secret.iter().filter_map(|source| source.secret_name.as_deref()));
        } else {
            names.extend(volume.config_map.iter().map(|source| source.name.as_str()));
        }
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            if secrets {
                names.extend(source.secret.iter().map(|source| source.name.as_str()));
            } else {
                names.extend(source.config_map.iter().map(|source| source.name.as_str()));
            }
        }
    }
    if secrets {
        names.extend(spec.image_pull_secrets.iter().flatten().map(|secret| secret.name.as_str()));
    }
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        for source in container.env_from.iter().flatten() {
            if secrets {
                names.extend(source.secret_ref.iter().map(|secret| secret.name.as_str()));
            } else {
                names.extend(source.config_map_ref.iter().map(|map| map.name.as_str()));
            }
        }
        for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            if secrets {
                names.extend(source.secret_key_ref.iter().map(|key| key.name.as_str()));
            } else {
                names.extend(source.config_map_key_ref.iter().map(|key| key.name.as_str()));
            }
        }
    }
    names
}
