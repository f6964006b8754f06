//! ResourceQuota: what a write uses is charged with the write itself, in one transaction, so that the last unit is given once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceQuota;
use skep_admission::quota::{self, Counted, Write};
use skep_registry::{Object, typed_mut};
use skep_store::Revision;
use tokio::sync::OwnedMutexGuard;

use super::{Operation, Request};
use crate::object;
use crate::status::ApiError;
use crate::write::Target;

/// A quota as it must be and as it will be.
pub(crate) struct Charge {
    pub key: Bytes,
    pub expected: Revision,
    pub value: Bytes,
}

/// Namespaces in which a write is being charged. Writes of one server wait for each other there; those of others lose their
/// transaction and try again.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    fn of(&self, namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(namespace).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        turns.insert(namespace.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// Held from the look at a namespace's quotas until they are written.
pub(crate) type Turn = Option<OwnedMutexGuard<()>>;

impl super::Admission {
    /// Waits for the turn of a write that quotas may be charged for.
    pub(crate) async fn turn(&self, request: &Request<'_>) -> Turn {
        let (namespace, _) = concerned(request)?;
        let prefix = format!("{namespace}/");
        let served = self.resource_quotas.as_ref()?;
        if request.writer.cache.list(served, &prefix).items.is_empty() {
            return None;
        }
        Some(self.turns.of(namespace).lock_owned().await)
    }

    /// What the write is charged, after all plugins.
    pub(crate) fn charge(&self, request: &Request<'_>, object: &dyn Object) -> Result<Vec<Charge>, ApiError> {
        let (Some((namespace, resource)), Some(served)) = (concerned(request), &self.resource_quotas) else {
            return Ok(Vec::new());
        };
        let write = Write { resource, new: object, old: request.old, now: Timestamp::now() };
        let mut charges = Vec::new();
        for cached in request.writer.cache.list(served, &format!("{namespace}/")).items {
            let Ok(quota) = serde_json::from_slice::<ResourceQuota>(&cached.bytes) else { continue };
            let Some(used) = quota::charge(&quota, &write).map_err(|why| request.forbidden(&why))? else { continue };
            let name = quota.metadata.name.clone().unwrap_or_default();
            let Some(mut changed) = cached.decode(served) else { continue };
            if let Some(quota) = typed_mut::<ResourceQuota>(&mut *changed) {
                quota.status.get_or_insert_default().used = Some(used.to_api());
            }
            let target = Target { served: served.clone(), namespace: Some(namespace.to_owned()), name };
            let value = object::encode(&*changed);
            charges.push(Charge { key: target.store_key(), expected: cached.revision, value });
        }
        Ok(charges)
    }
}

/// The namespace whose quotas may be charged for a write, and for what.
fn concerned<'a>(request: &Request<'a>) -> Option<(&'a str, Counted<'a>)> {
    let served = &request.target.served;
    let resource = Counted { group: &served.group, plural: &served.plural };
    let creates = request.operation == Operation::Create;
    let namespace = request.target.namespace.as_deref()?;
    resource.is_charged(request.asked.subresource, creates).then_some((namespace, resource))
}
