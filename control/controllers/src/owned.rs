//! The objects that others control: found by index, and telling their controllers.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use skep_informer::{Index, Informers};
use skep_reconcile::Queue;

use crate::error::Error;
use crate::objects::{ObjectKey, Objects, Written, name, namespace, uid};
use crate::owner::{adopt_patch, controller_of, controller_reference, release_patch};
use crate::selector;

/// A resource whose objects have controllers.
pub(crate) struct Owned<K> {
    pub(crate) objects: Objects<K>,
    by_controller: Index<K>,
}

impl<K: Written> Owned<K> {
    pub(crate) fn new(informers: &Informers) -> Self
    where
        K: Resource<Scope = NamespaceResourceScope>,
    {
        let objects = Objects::namespaced(informers);
        let by_controller = objects.informer().index("controller", |object: &K| match controller_of(object.meta()) {
            Some(owner) => vec![owner.uid.clone()],
            None => vec![orphans(namespace(object))],
        });
        Self { objects, by_controller }
    }

    /// The objects that the owner of that UID controls.
    pub(crate) fn of(&self, uid: &str) -> Vec<Arc<K>> {
        self.by_controller.get(uid)
    }

    /// What `owner` controls, and what of its namespace nobody does, by name.
    pub(crate) fn candidates<O: Written>(&self, owner: &O) -> Vec<Arc<K>> {
        let mut candidates = self.of(uid(owner));
        candidates.extend(self.by_controller.get(&orphans(namespace(owner))));
        candidates.sort_by(|a, b| name(a.as_ref()).cmp(name(b.as_ref())));
        candidates
    }

    /// Each change of an object puts its controller on the queue; of one that has none, whoever selects it.
    pub(crate) fn wake_controllers<O: Written>(
        &self,
        owners: &Objects<O>,
        selector_of: fn(&O) -> &LabelSelector,
        queue: &Queue<ObjectKey>,
        cause: &'static str,
    ) {
        let (owners, queue) = (owners.clone(), queue.clone());
        self.objects.informer().on_change(move |change| {
            for object in change.each() {
                match controller_of(object.meta()) {
                    Some(owner) if owner.kind == O::kind(&()) => {
                        queue.add(ObjectKey::new(namespace(object.as_ref()), &owner.name), cause);
                    }
                    Some(_) => {}
                    None => {
                        let labels = object.meta().labels.as_ref();
                        let selects = |owner: &&Arc<O>| {
                            let selector = selector_of(owner);
                            !selector::is_empty(selector) && selector::matches(selector, labels)
                        };
                        for owner in owners.list(namespace(object.as_ref())).iter().filter(selects) {
                            queue.add(ObjectKey::of(owner.as_ref()), cause);
                        }
                    }
                }
            }
        });
    }

    /// Takes what is `owner`'s by selector, and lets go what is no more.
    pub(crate) async fn settle<O: Written>(
        &self,
        owner: &O,
        adopt: &[Arc<K>],
        release: &[Arc<K>],
    ) -> Result<(), Error> {
        let reference = controller_reference(owner);
        for object in adopt {
            self.objects.merge(object, &adopt_patch(object.meta(), &reference)).await?;
        }
        for object in release {
            self.objects.merge(object, &release_patch(object.meta(), uid(owner))).await?;
        }
        Ok(())
    }
}

/// The key of the objects of a namespace that nobody controls: no UID has a slash.
fn orphans(namespace: &str) -> String {
    format!("{namespace}/")
}
