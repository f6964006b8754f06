//! Writing a pod's status: only what changed, and only if something did.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Map, Value, json};

use super::conditions::OWNED;

/// Fields of the status that the agent writes, and removes where it has no value for them.
const FIELDS: [&str; 14] = [
    "conditions",
    "containerStatuses",
    "hostIP",
    "hostIPs",
    "initContainerStatuses",
    "message",
    "observedGeneration",
    "phase",
    "podIP",
    "podIPs",
    "qosClass",
    "reason",
    "startTime",
    "ephemeralContainerStatuses",
];

/// Patches the status. Returns the pod as it then is, or `None` if nothing was to be changed.
///
/// # Errors
/// The API's refusal; 404 and 409 mean that this pod no longer exists.
pub(crate) async fn report(client: &kube::Client, pod: &Pod, status: &PodStatus) -> Result<Option<Pod>, kube::Error> {
    let Some(changes) = changes(pod.status.as_ref(), status) else { return Ok(None) };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": changes});
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await.map(Some)
}

/// The strategic merge patch from one status to another; `None` where they say the same.
fn changes(old: Option<&PodStatus>, new: &PodStatus) -> Option<Value> {
    let object = |status: Option<&PodStatus>| match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let (old, new) = (object(old), object(Some(new)));
    let mut patch = Map::new();
    for field in FIELDS {
        let (before, after) = (old.get(field), new.get(field));
        if before == after {
            continue;
        }
        match (field, after) {
            (_, None) => {
                patch.insert(field.to_owned(), Value::Null);
            }
            ("conditions", Some(after)) => {
                let own = changed_conditions(before, after);
                if !own.is_empty() {
                    patch.insert(field.to_owned(), Value::Array(own));
                }
            }
            ("podIPs" | "hostIPs", Some(after)) => {
                patch.insert(field.to_owned(), merged_ips(before, after));
            }
            (_, Some(after)) => {
                patch.insert(field.to_owned(), after.clone());
            }
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Conditions merge by type: others' stay untouched.
fn changed_conditions(before: Option<&Value>, after: &Value) -> Vec<Value> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let before = list(before);
    let own = |condition: &Value| condition["type"].as_str().is_some_and(|type_| OWNED.contains(&type_));
    list(Some(after)).into_iter().filter(|condition| own(condition) && !before.contains(condition)).collect()
}

/// Addresses merge by `ip`: those that are gone must be named.
fn merged_ips(before: Option<&Value>, after: &Value) -> Value {
    let mut list = after.as_array().cloned().unwrap_or_default();
    for old in before.and_then(Value::as_array).into_iter().flatten() {
        if !list.iter().any(|held| held["ip"] == old["ip"]) {
            list.push(json!({"$patch": "delete", "ip": old["ip"]}));
        }
    }
    Value::Array(list)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn patches_only_what_changed() {
        let old = status(json!({
            "phase": "Pending", "reason": "Old", "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "False"}, {"type": "PodScheduled", "status": "True"}]
        }));
        let new = status(json!({
            "phase": "Running", "podIPs": [{"ip": "10.0.0.2"}],
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}]
        }));
        let patch = changes(Some(&old), &new).unwrap();
        assert_eq!(
            patch,
            json!({
                "conditions": [{"type": "Ready", "status": "True"}],
                "phase": "Running",
                "podIPs": [{"ip": "10.0.0.2"}, {"$patch": "delete", "ip": "10.0.0.1"}],
                "reason": null
            })
        );
        assert_eq!(changes(Some(&new), &new), None);
    }
}
