//! Claims and volumes stay while they are used: a finalizer holds each, and goes when it is deleted and used no more.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use serde_json::{Value, json};
use skep_reconcile::Reconciler;

use crate::context::Context;
use crate::error::Error;
use crate::objects::{ObjectKey, Objects, Written, name, namespace};
use crate::pod;

/// What can be in use.
pub(crate) trait Used: Written + Debug {
    const LOOP: &'static str;
    const FINALIZER: &'static str;

    /// Whether one of the pods in its namespace uses it, or what is bound to it.
    fn is_used(&self, pods: &[Arc<Pod>]) -> bool;
}

impl Used for PersistentVolumeClaim {
    const LOOP: &'static str = "pvcprotection";
    const FINALIZER: &'static str = "kubernetes.io/pvc-protection";

    // A pod without a node is not started any more with a claim that goes.
    fn is_used(&self, pods: &[Arc<Pod>]) -> bool {
        pods.iter().filter(|pod| pod::node_name(pod).is_some()).any(|pod| claims(pod).any(|claim| claim == name(self)))
    }
}

impl Used for PersistentVolume {
    const LOOP: &'static str = "pvprotection";
    const FINALIZER: &'static str = "kubernetes.io/pv-protection";

    fn is_used(&self, _: &[Arc<Pod>]) -> bool {
        self.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
    }
}

/// The names of all claims that a pod uses, those made for it included.
fn claims(pod: &Pod) -> impl Iterator<Item = String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some(source.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", name(pod), volume.name)),
        (None, None) => None,
    })
}

/// Runs the controller of claims until it is stopped.
pub(crate) async fn run_claims(context: Context) {
    let pods = Objects::<Pod>::namespaced(&context.informers);
    let queue = context.queue::<Controller<PersistentVolumeClaim>>();
    let wake = queue.clone();
    pods.informer().on_change(move |change| {
        if let Some(gone) = change.old.as_ref().filter(|_| change.new.is_none()) {
            for claim in claims(gone) {
                wake.add(ObjectKey::new(namespace(gone.as_ref()), &claim), "Pod");
            }
        }
    });
    let objects = Objects::<PersistentVolumeClaim>::namespaced(&context.informers);
    objects.wake(&queue, "PersistentVolumeClaim");
    context.run(Controller { objects, pods: Some(pods) }, queue).await;
}

/// Runs the controller of volumes until it is stopped.
pub(crate) async fn run_volumes(context: Context) {
    let queue = context.queue::<Controller<PersistentVolume>>();
    let objects = Objects::<PersistentVolume>::cluster(&context.informers);
    objects.wake(&queue, "PersistentVolume");
    context.run(Controller { objects, pods: None }, queue).await;
}

struct Controller<K> {
    objects: Objects<K>,
    pods: Option<Objects<Pod>>,
}

struct Observed<K> {
    object: Arc<K>,
    pods: Vec<Arc<Pod>>,
}

/// The finalizers that it must have; `None` where it has them.
fn plan<K: Used>(observed: &Observed<K>) -> Option<Vec<String>> {
    let meta = observed.object.meta();
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    let held = finalizers.iter().any(|finalizer| finalizer == K::FINALIZER);
    match meta.deletion_timestamp.is_some() {
        false if !held => finalizers.push(K::FINALIZER.to_owned()),
        true if held && !observed.object.is_used(&observed.pods) => finalizers.retain(|own| own != K::FINALIZER),
        _ => return None,
    }
    Some(finalizers)
}

fn patch<K: Used>(object: &K, finalizers: &[String]) -> Value {
    json!({"metadata": {"resourceVersion": object.meta().resource_version, "finalizers": finalizers}})
}

impl<K: Used> Reconciler for Controller<K> {
    type Key = ObjectKey;
    type Observed = Observed<K>;
    type Plan = Option<Vec<String>>;
    type Applied = ();
    type Error = Error;

    fn kind(&self) -> &'static str {
        K::LOOP
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.objects.keys()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed<K>>, Error> {
        let Some(object) = self.objects.get(key) else { return Ok(None) };
        let goes = object.meta().deletion_timestamp.is_some();
        let pods = self.pods.as_ref().filter(|_| goes).map(|pods| pods.list(&key.namespace)).unwrap_or_default();
        Ok(Some(Observed { object, pods }))
    }

    fn plan(observed: &Observed<K>) -> Option<Vec<String>> {
        plan(observed)
    }

    async fn apply(&self, _: &ObjectKey, observed: &Observed<K>, plan: &Self::Plan) -> Result<(), Error> {
        let Some(finalizers) = plan else { return Ok(()) };
        let object = observed.object.as_ref();
        match self.objects.merge(object, &patch(object, finalizers)).await {
            Err(error) if error.is_not_found() => Ok(()),
            result => result.map(|_| ()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::from_value;

    use super::*;

    fn claim(meta: Value) -> Arc<PersistentVolumeClaim> {
        let mut claim = json!({"metadata": {"name": "data", "namespace": "a"}});
        for (key, value) in meta.as_object().unwrap() {
            claim["metadata"][key] = value.clone();
        }
        Arc::new(from_value(claim).unwrap())
    }

    fn pod(node: &str) -> Arc<Pod> {
        let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]);
        let spec = json!({"containers": [], "nodeName": node, "volumes": volumes});
        Arc::new(from_value(json!({"metadata": {"name": "p", "namespace": "a"}, "spec": spec})).unwrap())
    }

    #[test]
    fn a_claim_is_held_until_it_is_used_no_more() {
        let planned = |object: &Arc<PersistentVolumeClaim>, pods: Vec<Arc<Pod>>| {
            plan(&Observed { object: Arc::clone(object), pods })
        };
        let own = "kubernetes.io/pvc-protection".to_owned();
        assert_eq!(planned(&claim(json!({})), Vec::new()), Some(vec![own.clone()]));
        let held = json!({"finalizers": ["x/y", own]});
        assert_eq!(planned(&claim(held.clone()), Vec::new()), None);
        let mut going = held;
        going["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let going = claim(going);
        assert_eq!(planned(&going, vec![pod("n")]), None);
        assert_eq!(planned(&going, vec![pod("")]), Some(vec!["x/y".to_owned()]));
        assert_eq!(planned(&going, Vec::new()), Some(vec!["x/y".to_owned()]));
    }

    #[test]
    fn a_volume_is_held_while_it_is_bound() {
        let volume = |phase: &str| -> Arc<PersistentVolume> {
            let meta = json!({
                "name": "v", "finalizers": ["kubernetes.io/pv-protection"], "deletionTimestamp": "2026-01-01T00:00:00Z",
            });
            Arc::new(from_value(json!({"metadata": meta, "status": {"phase": phase}})).unwrap())
        };
        assert_eq!(plan(&Observed { object: volume("Bound"), pods: Vec::new() }), None);
        assert_eq!(plan(&Observed { object: volume("Released"), pods: Vec::new() }), Some(Vec::new()));
    }
}
