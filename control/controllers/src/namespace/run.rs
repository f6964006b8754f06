//! The loop over namespaces.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::ApiResource;
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Api, Client};
use serde_json::json;
use skep_reconcile::{Next, Reconciler};

use super::plan::{self, Content, FINALIZER, Observed, Plan};
use crate::context::{Context, now};
use crate::error::Error;
use crate::objects::{ObjectKey, Objects, name, uid};

/// How soon a namespace is looked at again while something is left in it.
const PERIOD: Duration = Duration::from_millis(500);

/// Runs the controller until it is stopped.
pub(crate) async fn run(context: Context) {
    let controller = Controller { client: context.client.clone(), namespaces: Objects::cluster(&context.informers) };
    let queue = context.queue::<Controller>();
    let wake = queue.clone();
    controller.namespaces.informer().on_change(move |change| {
        if let Some(namespace) = change.new.as_ref().filter(|namespace| is_due(namespace)) {
            wake.add(ObjectKey::of(namespace.as_ref()), "Namespace");
        }
    });
    context.run(controller, queue).await;
}

struct Controller {
    client: Client,
    namespaces: Objects<Namespace>,
}

/// Whether the namespace is deleted and waits for this controller.
fn is_due(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some() && finalizers(namespace).any(|name| name == FINALIZER)
}

fn finalizers(namespace: &Namespace) -> impl Iterator<Item = &String> {
    namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten())
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Observed = Observed;
    type Plan = Plan;
    type Applied = ();
    type Error = Error;

    fn kind(&self) -> &'static str {
        "namespace"
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.namespaces.keys()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, Error> {
        let Some(namespace) = self.namespaces.get(key).filter(|namespace| is_due(namespace)) else { return Ok(None) };
        let (contents, failure) = match self.contents(&key.name).await {
            Ok(contents) => (contents, None),
            Err(error) => (Vec::new(), Some(format!("Discovery failed: {error}"))),
        };
        Ok(Some(Observed { namespace, contents, failure, now: now() }))
    }

    fn plan(observed: &Observed) -> Plan {
        plan::plan(observed)
    }

    async fn apply(&self, key: &ObjectKey, observed: &Observed, plan: &Plan) -> Result<(), Error> {
        for resource in &plan.delete {
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &key.name, resource);
            let deleted = api.delete_collection(&DeleteParams::background(), &ListParams::default()).await;
            deleted.map_err(|source| error("delete contents of", key, source))?;
        }
        if plan.finalize { self.finalize(key, &observed.namespace).await } else { Ok(()) }
    }

    async fn report(
        &self,
        _: &ObjectKey,
        observed: &Observed,
        plan: &Plan,
        applied: &Result<(), Error>,
    ) -> Result<Next, Error> {
        if plan.finalize {
            return Ok(Next::Done);
        }
        let namespace = observed.namespace.as_ref();
        let mut conditions = plan.conditions.clone();
        if let Err(error) = applied {
            for condition in conditions.iter_mut().filter(|condition| condition.type_ == "NamespaceContentRemaining") {
                condition.message = Some(format!("Failed to delete all resource types: {}", error.answer()));
            }
        }
        if namespace.status.as_ref().and_then(|status| status.conditions.as_ref()) != Some(&conditions) {
            let patch = json!({"metadata": {"uid": uid(namespace)}, "status": {"conditions": conditions}});
            match self.namespaces.merge_status(namespace, &patch).await {
                Err(error) if error.is_not_found() => return Ok(Next::Done),
                result => result?,
            };
        }
        Ok(Next::After(PERIOD))
    }
}

impl Controller {
    /// What is left in a namespace, of all resources that are served.
    async fn contents(&self, namespace: &str) -> kube::Result<Vec<Content>> {
        let discovery = Discovery::new(self.client.clone()).run().await?;
        let mut contents = Vec::new();
        for group in discovery.groups() {
            for (resource, capabilities) in group.recommended_resources() {
                let deletes = [verbs::LIST, verbs::DELETE].iter().all(|verb| capabilities.supports_operation(verb));
                if capabilities.scope == Scope::Namespaced && deletes {
                    contents.extend(self.content(namespace, resource).await?);
                }
            }
        }
        Ok(contents)
    }

    async fn content(&self, namespace: &str, resource: ApiResource) -> kube::Result<Option<Content>> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let list = match api.list_metadata(&ListParams::default()).await {
            Ok(list) => list,
            // Gone between discovery and now.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.code == 405 => return Ok(None),
            Err(error) => return Err(error),
        };
        if list.items.is_empty() {
            return Ok(None);
        }
        let mut finalizers: BTreeMap<String, usize> = BTreeMap::new();
        for finalizer in list.items.iter().flat_map(|item| item.metadata.finalizers.iter().flatten()) {
            *finalizers.entry(finalizer.clone()).or_default() += 1;
        }
        let untouched = list.items.iter().filter(|item| item.metadata.deletion_timestamp.is_none()).count();
        Ok(Some(Content { resource, untouched, count: list.items.len(), finalizers }))
    }

    async fn finalize(&self, key: &ObjectKey, namespace: &Namespace) -> Result<(), Error> {
        let mut finalized = namespace.clone();
        if let Some(spec) = &mut finalized.spec {
            spec.finalizers = Some(finalizers(namespace).filter(|name| *name != FINALIZER).cloned().collect());
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        match api.replace_subresource("finalize", name(namespace), &PostParams::default(), &finalized).await {
            Ok(_) => Ok(()),
            Err(source) => match error("finalize", key, source) {
                error if error.is_not_found() => Ok(()),
                error => Err(error),
            },
        }
    }
}

fn error(verb: &'static str, key: &ObjectKey, source: kube::Error) -> Error {
    Error::Api { verb, object: format!("Namespace {key}"), source: Box::new(source) }
}
