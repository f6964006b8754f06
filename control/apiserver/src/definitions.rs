//! Keeps the status of definitions of custom resources, and takes their objects away with them.
//!
//! One task looks at each definition that changes, and at others of its group where it gave up names. Each definition
//! that is being deleted has a task of its own until it is gone, since its objects may be held by their finalizers.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionNames,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use skep_registry::{Registry, typed_mut, typed_ref};
use skep_store::{Op, Txn};
use tokio_util::sync::CancellationToken;

use crate::cache::ChangeKind;
use crate::object::Cached;
use crate::served::Served;
use crate::status::ApiError;
use crate::write::{self, Asked, DeleteOptions, Part, Target, Writer, store_error};

/// Wait before a watch that broke begins anew, or what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How often it is looked whether objects that are held are gone.
const LEFT_EVERY: Duration = Duration::from_millis(200);

/// Starts the task.
pub(crate) fn start(writer: &Arc<Writer>, registry: &Registry, stop: &CancellationToken) {
    let Some(served) = Served::find(registry, "apiextensions.k8s.io", "v1", "customresourcedefinitions") else {
        return;
    };
    let keeper = Keeper { writer: Arc::clone(writer), served, stop: stop.clone(), going: Arc::default() };
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            keeper.keep().await;
            tokio::time::sleep(AGAIN).await;
        }
    }));
}

/// Definitions by name.
type All = HashMap<String, CustomResourceDefinition>;

#[derive(Clone)]
struct Keeper {
    writer: Arc<Writer>,
    served: Served,
    stop: CancellationToken,
    /// Definitions that have a task which deletes their objects.
    going: Arc<Mutex<HashSet<String>>>,
}

fn read(object: &Cached) -> Option<CustomResourceDefinition> {
    serde_json::from_slice(&object.bytes).ok()
}

fn names(definition: &CustomResourceDefinition) -> Option<&CustomResourceDefinitionNames> {
    definition.status.as_ref().and_then(|status| status.accepted_names.as_ref())
}

fn now() -> Time {
    Time(Timestamp::now())
}

impl Keeper {
    /// Follows the definitions until the watch ends.
    async fn keep(&self) {
        let Ok(mut subscription) = self.writer.cache.subscribe(&self.served, "", None) else { return };
        let items = std::mem::take(&mut subscription.items);
        let mut all: All = items.iter().filter_map(|item| Some((item.key.to_string(), read(item)?))).collect();
        let first: Vec<String> = all.keys().cloned().collect();
        for name in first {
            self.settle(&mut all, &name).await;
        }
        while let Some(event) = subscription.events.recv().await {
            let change = &event.change;
            let name = change.object.key.to_string();
            let now = (change.kind != ChangeKind::Deleted).then(|| read(&change.object)).flatten();
            let before = match now {
                Some(now) => all.insert(name.clone(), now),
                None => all.remove(&name),
            };
            self.settle(&mut all, &name).await;
            // Names that it gave up may be what others wait for.
            let Some(before) = before else { continue };
            let kept = all.get(&name).and_then(names);
            if names(&before).is_some() && names(&before) != kept {
                let group = &before.spec.group;
                let others = all.iter().filter(|(other, of)| **other != name && of.spec.group == *group);
                let others: Vec<String> = others.map(|(name, _)| name.clone()).collect();
                for other in others {
                    self.settle(&mut all, &other).await;
                }
            }
        }
    }

    /// Puts the status of one definition right, and begins to take its objects away if it is deleted.
    async fn settle(&self, all: &mut All, name: &str) {
        let Some(definition) = all.get(name) else { return };
        if definition.metadata.deletion_timestamp.is_some() {
            return self.begin(name);
        }
        let others: Vec<&CustomResourceDefinition> = all.values().collect();
        if skep_custom::status(definition, &others, &now()).is_none() {
            return;
        }
        let change = |definition: &mut CustomResourceDefinition| {
            if let Some(status) = skep_custom::status(definition, &others, &now()) {
                definition.status = Some(status);
            }
        };
        match self.update(name, &change).await {
            Ok(now) => {
                if let Some(now) = read(&now) {
                    all.insert(name.to_owned(), now);
                }
            }
            Err(error) => tracing::debug!(definition = name, %error, "status is not settled"),
        }
    }

    async fn update(
        &self,
        name: &str,
        change: &(dyn Fn(&mut CustomResourceDefinition) + Sync),
    ) -> Result<Arc<Cached>, ApiError> {
        let target = self.target(name);
        let mut changed = |_: &Cached, old: &dyn skep_registry::Object| {
            let mut new = old.clone_object();
            new.meta_mut().resource_version = None;
            if let Some(definition) = typed_mut::<CustomResourceDefinition>(&mut *new) {
                change(definition);
            }
            Ok(new)
        };
        let asked = Asked { subresource: "status", ..Asked::by_server() };
        write::update(&self.writer, &asked, &target, Part::Server, &mut changed).await
    }

    fn target(&self, name: &str) -> Target {
        Target { served: self.served.clone(), namespace: None, name: name.to_owned() }
    }

    /// Starts the task that ends a definition, unless it runs.
    fn begin(&self, name: &str) {
        let new = self.going.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        if !new {
            return;
        }
        let (keeper, name) = (self.clone(), name.to_owned());
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(async move {
            while let Err(error) = keeper.end(&name).await {
                if error.code() == http::StatusCode::NOT_FOUND {
                    break;
                }
                tracing::warn!(definition = name, %error, "objects of a definition are not deleted");
                tokio::time::sleep(AGAIN).await;
            }
            keeper.going.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        }));
    }

    /// Deletes a definition's objects, waits until they are gone, and lets the definition go.
    async fn end(&self, name: &str) -> Result<(), ApiError> {
        let target = self.target(name);
        let current = self.writer.current(&target).await?;
        let decoded = current.decode(&self.served).ok_or_else(|| target.not_found())?;
        let Some(definition) = typed_ref::<CustomResourceDefinition>(&*decoded) else { return Ok(()) };
        let finalizers = definition.metadata.finalizers.as_deref().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == skep_custom::FINALIZER) {
            return Ok(());
        }
        let registry = self.writer.cache.registry();
        let mut namesakes = registry.versions(&definition.spec.group, &definition.spec.names.plural);
        let (reason, message) = if namesakes.any(|resource| resource.definition.is_none()) {
            ("OverlappingBuiltInResource", "instances overlap with built-in resources in storage")
        } else if skep_custom::is_established(definition) {
            let message = "CustomResource deletion is in progress";
            self.say(name, true, "InstanceDeletionInProgress", message).await?;
            self.delete_objects(definition).await?;
            ("InstanceDeletionCompleted", "removed all instances")
        } else {
            ("NeverEstablished", "resource was never established")
        };
        let change = |definition: &mut CustomResourceDefinition| {
            skep_custom::set_terminating(definition, false, reason, message, now());
            if let Some(finalizers) = &mut definition.metadata.finalizers {
                finalizers.retain(|finalizer| finalizer != skep_custom::FINALIZER);
            }
        };
        self.update(name, &change).await.map(|_| ())
    }

    async fn say(&self, name: &str, going_on: bool, reason: &str, message: &str) -> Result<(), ApiError> {
        let change = |definition: &mut CustomResourceDefinition| {
            skep_custom::set_terminating(definition, going_on, reason, message, now());
        };
        self.update(name, &change).await.map(|_| ())
    }

    async fn delete_objects(&self, definition: &CustomResourceDefinition) -> Result<(), ApiError> {
        let name = definition.metadata.name.as_deref().unwrap_or_default();
        loop {
            let registry = self.writer.cache.registry();
            let own = registry.resources().iter().find(|resource| resource.definition.as_deref() == Some(name));
            let served = own.and_then(|own| Served::find(&registry, &own.group, &own.version, &own.plural));
            let Some(served) = served else { return self.erase(definition).await };
            self.writer.catch_up().await?;
            let snapshot = self.writer.cache.list(&served, "");
            if !snapshot.served {
                continue;
            }
            let items = snapshot.items;
            if items.is_empty() {
                return Ok(());
            }
            for item in items {
                let target = Target::of(&served, &item.key);
                match write::delete(&self.writer, &Asked::by_server(), &target, &DeleteOptions::default()).await {
                    Ok(_) => {}
                    Err(error) if error.code() == http::StatusCode::NOT_FOUND => {}
                    Err(error) => return Err(error),
                }
            }
            tokio::time::sleep(LEFT_EVERY).await;
        }
    }

    /// Removes the objects of a definition of which no version is served, so that none is there when its name comes back.
    async fn erase(&self, definition: &CustomResourceDefinition) -> Result<(), ApiError> {
        let (group, plural) = (&definition.spec.group, &definition.spec.names.plural);
        let bound = |end: char| format!("/registry/{group}/{plural}{end}").into();
        // After `/` comes `0`.
        let txn = Txn { success: vec![Op::Delete { start: bound('/'), end: Some(bound('0')) }], ..Txn::default() };
        self.writer.store.txn(txn).await.map(|_| ()).map_err(|error| store_error(&error))
    }
}
