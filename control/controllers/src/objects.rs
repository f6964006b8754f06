//! One resource as a controller uses it: reads from the shared cache, writes to the API, and what was written is in the
//! cache before the call returns.

use std::fmt;
use std::sync::Arc;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde_json::Value;
use skep_informer::{Informer, Informers, Watched};
use skep_reconcile::Queue;

use crate::error::Error;

/// A namespace and a name; the namespace is empty for cluster-scoped objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ObjectKey {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(crate) fn of<K: Resource>(object: &K) -> Self {
        Self::new(namespace(object), name(object))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

pub(crate) fn name<K: Resource>(object: &K) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

pub(crate) fn namespace<K: Resource>(object: &K) -> &str {
    object.meta().namespace.as_deref().unwrap_or_default()
}

pub(crate) fn uid<K: Resource>(object: &K) -> &str {
    object.meta().uid.as_deref().unwrap_or_default()
}

/// An object type that is read and written.
pub(crate) trait Written: Watched + Resource<DynamicType = ()> + Serialize {}

impl<K: Watched + Resource<DynamicType = ()> + Serialize> Written for K {}

/// Reads and writes of one resource.
pub(crate) struct Objects<K> {
    client: Client,
    informer: Informer<K>,
    api: fn(Client, &str) -> Api<K>,
}

impl<K> Clone for Objects<K> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), informer: self.informer.clone(), api: self.api }
    }
}

impl<K: Written> Objects<K> {
    pub(crate) fn namespaced(informers: &Informers) -> Self
    where
        K: Resource<Scope = NamespaceResourceScope>,
    {
        Self { client: informers.client().clone(), informer: informers.get(), api: Api::namespaced }
    }

    pub(crate) fn cluster(informers: &Informers) -> Self
    where
        K: Resource<Scope = ClusterResourceScope>,
    {
        Self { client: informers.client().clone(), informer: informers.get(), api: |client, _| Api::all(client) }
    }

    pub(crate) fn informer(&self) -> &Informer<K> {
        &self.informer
    }

    /// Each change of an object, its removal too, puts its own key on the queue.
    pub(crate) fn wake(&self, queue: &Queue<ObjectKey>, cause: &'static str) {
        let queue = queue.clone();
        self.informer.on_change(move |change| {
            if let Some(object) = change.latest() {
                queue.add(ObjectKey::of(object.as_ref()), cause);
            }
        });
    }

    pub(crate) fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.informer.get(&key.namespace, &key.name)
    }

    pub(crate) fn list(&self, namespace: &str) -> Vec<Arc<K>> {
        self.informer.list(namespace)
    }

    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.informer.all()
    }

    /// The keys of all objects.
    pub(crate) fn keys(&self) -> Vec<ObjectKey> {
        self.informer.all().iter().map(|object| ObjectKey::of(object.as_ref())).collect()
    }

    fn api(&self, namespace: &str) -> Api<K> {
        (self.api)(self.client.clone(), namespace)
    }

    pub(crate) async fn create(&self, object: &K) -> Result<K, Error> {
        let created = self.api(namespace(object)).create(&PostParams::default(), object).await;
        self.settle("create", object, created)
    }

    /// Replaces all but the status. Fails with a conflict if the object is not of the newest version.
    pub(crate) async fn replace(&self, object: &K) -> Result<K, Error> {
        let replaced = self.api(namespace(object)).replace(name(object), &PostParams::default(), object).await;
        self.settle("update", object, replaced)
    }

    /// Replaces the status. Fails with a conflict if the object is not of the newest version.
    pub(crate) async fn replace_status(&self, object: &K) -> Result<K, Error> {
        let replaced = self.api(namespace(object)).replace_status(name(object), &PostParams::default(), object).await;
        self.settle("update status of", object, replaced)
    }

    /// A JSON merge patch. Put `resourceVersion` or `uid` into its metadata to guard it.
    pub(crate) async fn merge(&self, object: &K, patch: &Value) -> Result<K, Error> {
        let api = self.api(namespace(object));
        let patched = api.patch(name(object), &PatchParams::default(), &Patch::Merge(patch)).await;
        self.settle("patch", object, patched)
    }

    /// A JSON merge patch of the status.
    pub(crate) async fn merge_status(&self, object: &K, patch: &Value) -> Result<K, Error> {
        let api = self.api(namespace(object));
        let patched = api.patch_status(name(object), &PatchParams::default(), &Patch::Merge(patch)).await;
        self.settle("patch status of", object, patched)
    }

    /// Deletes the object of this UID. One that is gone already is no error.
    pub(crate) async fn delete(&self, object: &K, mut params: DeleteParams) -> Result<(), Error> {
        params.preconditions = Some(Preconditions { uid: object.meta().uid.clone(), resource_version: None });
        match self.api(namespace(object)).delete(name(object), &params).await {
            Ok(answer) => {
                // An object is answered while it stays, for its grace period or its finalizers; else a Status.
                match answer.left().filter(|rest| rest.meta().deletion_timestamp.is_some()) {
                    Some(rest) => self.informer.record(rest),
                    None => self.informer.forget(object),
                }
                Ok(())
            }
            Err(source) => {
                let error = api_error("delete", object, source);
                // A conflict means that another object has the name by now.
                if error.is_not_found() || error.is_conflict() {
                    self.informer.forget(object);
                    return Ok(());
                }
                Err(error)
            }
        }
    }

    fn settle(&self, verb: &'static str, object: &K, answer: kube::Result<K>) -> Result<K, Error> {
        match answer {
            Ok(written) => {
                self.informer.record(written.clone());
                Ok(written)
            }
            Err(source) => {
                let error = api_error(verb, object, source);
                if error.is_not_found() && verb != "create" {
                    self.informer.forget(object);
                }
                Err(error)
            }
        }
    }
}

fn api_error<K: Written>(verb: &'static str, object: &K, source: kube::Error) -> Error {
    let object = format!("{} {}", K::kind(&()), ObjectKey::of(object));
    Error::Api { verb, object, source: Box::new(source) }
}
