//! Controller references: who owns what, and which objects a controller takes or lets go.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use serde_json::{Value, json};

use crate::selector::matches;

/// The reference to the controller of an object, if it has one.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether the owner of that UID controls the object.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == uid)
}

/// The reference by which `owner` controls something.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// A controller's view of the objects that it may own.
pub(crate) struct Claims<K> {
    /// Its own, those it is about to adopt included.
    pub(crate) owned: Vec<Arc<K>>,
    /// Its own by selector, with no controller yet.
    pub(crate) adopt: Vec<Arc<K>>,
    /// Its own by reference, but not selected any more.
    pub(crate) release: Vec<Arc<K>>,
}

/// Sorts out which of `candidates` (of one namespace) belong to `owner`.
pub(crate) fn claim<K: Resource>(owner: &ObjectMeta, selector: &LabelSelector, candidates: &[Arc<K>]) -> Claims<K> {
    let mut claims = Claims { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    let owner_uid = owner.uid.as_deref().unwrap_or_default();
    let going = owner.deletion_timestamp.is_some();
    for object in candidates {
        let meta = object.meta();
        let selected = matches(selector, meta.labels.as_ref());
        match controller_of(meta) {
            Some(controller) if controller.uid != owner_uid => {}
            Some(_) if selected || going => claims.owned.push(Arc::clone(object)),
            Some(_) => claims.release.push(Arc::clone(object)),
            None if selected && !going && meta.deletion_timestamp.is_none() => {
                claims.adopt.push(Arc::clone(object));
                claims.owned.push(Arc::clone(object));
            }
            None => {}
        }
    }
    claims
}

/// The merge patch that makes `owner` the controller. Guarded by the version: a race is a conflict.
pub(crate) fn adopt_patch(meta: &ObjectMeta, owner: &OwnerReference) -> Value {
    let mut owners = meta.owner_references.clone().unwrap_or_default();
    owners.retain(|reference| reference.uid != owner.uid);
    owners.push(owner.clone());
    owners_patch(meta, &owners)
}

/// The merge patch that takes away the reference to the owner of that UID.
pub(crate) fn release_patch(meta: &ObjectMeta, owner_uid: &str) -> Value {
    let mut owners = meta.owner_references.clone().unwrap_or_default();
    owners.retain(|reference| reference.uid != owner_uid);
    owners_patch(meta, &owners)
}

fn owners_patch(meta: &ObjectMeta, owners: &[OwnerReference]) -> Value {
    let owners = if owners.is_empty() { Value::Null } else { json!(owners) };
    json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "ownerReferences": owners}})
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::from_value;

    use super::*;

    fn pod(name: &str, label: &str, controller: Option<&str>) -> Arc<Pod> {
        let owners = controller.map(
            |uid| json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": uid, "controller": true}]),
        );
        Arc::new(
            from_value(json!({"metadata": {"name": name, "labels": {"app": label}, "ownerReferences": owners}}))
                .unwrap(),
        )
    }

    #[test]
    fn claims_follow_reference_first_and_selector_second() {
        let owner: ReplicaSet = from_value(json!({
            "metadata": {"name": "rs", "uid": "me"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
        }))
        .unwrap();
        let pods = [
            pod("mine", "web", Some("me")),
            pod("strayed", "db", Some("me")),
            pod("orphan", "web", None),
            pod("foreign", "web", Some("other")),
            pod("unrelated", "db", None),
        ];
        let claims = claim(&owner.metadata, &owner.spec.selector, &pods);
        let names = |pods: &[Arc<Pod>]| pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&claims.owned), ["mine", "orphan"]);
        assert_eq!(names(&claims.adopt), ["orphan"]);
        assert_eq!(names(&claims.release), ["strayed"]);
    }
}
