//! ResourceQuota: what a write uses is charged with the write itself, in one transaction, so that the last unit is given once.
//!
//! Writes under way at the same time build on one another: each expects its quotas as the one before will leave them, so that many
//! share one sync of the store. If one of them fails, those after it lose their transaction, and go on one by one.

mod ledger;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceQuota;
use skep_admission::quota::{self, Counted, Write};
use skep_registry::{Object, typed_mut, typed_ref};
use skep_store::{CompareTarget, Revision};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use self::ledger::{Ledger, Share};
use super::{Operation, Request};
use crate::object;
use crate::status::ApiError;
use crate::write::{Target, Writer};

/// A quota as it must be and as it will be.
pub(crate) struct Charge {
    pub key: Bytes,
    expected: Expected,
    pub value: Bytes,
}

enum Expected {
    /// As it was last read.
    At(Revision),
    /// As another write is about to leave it.
    Left(Bytes),
}

impl Charge {
    /// What the store is to compare.
    pub(crate) fn expected(&self) -> CompareTarget {
        match &self.expected {
            Expected::At(revision) => CompareTarget::ModRevision(*revision),
            Expected::Left(value) => CompareTarget::Value(value.clone()),
        }
    }
}

/// What one write is charged. Dropped unsettled, nobody builds on it any more.
#[derive(Default)]
pub(crate) struct Charges {
    pub list: Vec<Charge>,
    shares: Vec<Share>,
}

impl Charges {
    /// Of a write that no quota is about.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// They are in the store, and the cache knows them.
    pub(crate) fn settle(self) {
        self.shares.into_iter().for_each(Share::settle);
    }
}

/// Namespaces in which a write is being charged. Writes of other servers may overtake.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Weak<RwLock<Ledger>>>>);

impl Turns {
    fn of(&self, namespace: &str) -> Arc<RwLock<Ledger>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(namespace).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(RwLock::new(Ledger::default()));
        turns.insert(namespace.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// Held from the look at a namespace's quotas until they are written.
pub(crate) enum Turn {
    /// No quota is there.
    Free,
    /// With others under way.
    Shared(OwnedRwLockReadGuard<Ledger>, Arc<RwLock<Ledger>>),
    /// With no other of this server.
    Alone(OwnedRwLockWriteGuard<Ledger>),
}

impl Turn {
    /// Waits until no other write of this server is charged there, and for what these left.
    pub(crate) async fn alone(&mut self, writer: &Writer) -> Result<(), ApiError> {
        if let Self::Shared(_, lock) = self {
            let lock = Arc::clone(lock);
            // Gives up the shared turn first: whoever waits for all others to end must have ended itself.
            *self = Self::Free;
            *self = Self::Alone(lock.write_owned().await);
        }
        writer.catch_up().await
    }

    /// What a write is charged, after all plugins.
    pub(crate) async fn charge(&mut self, request: &Request<'_>, object: &dyn Object) -> Result<Charges, ApiError> {
        match self.try_charge(request, object) {
            // What another write takes may yet come free.
            Err(_) if self.ledger().is_some_and(|ledger| !ledger.is_empty()) => {
                self.alone(request.writer).await?;
                self.try_charge(request, object)
            }
            charged => charged,
        }
    }

    fn ledger(&self) -> Option<&Ledger> {
        match self {
            Self::Free => None,
            Self::Shared(ledger, _) => Some(ledger),
            Self::Alone(ledger) => Some(ledger),
        }
    }

    fn try_charge(&self, request: &Request<'_>, object: &dyn Object) -> Result<Charges, ApiError> {
        let served = request.writer.admission.resource_quotas.as_ref();
        let Some(((namespace, resource), served)) = concerned(request).zip(served) else {
            return Ok(Charges::none());
        };
        let write = Write { resource, new: object, old: request.old, now: Timestamp::now() };
        let mut charges = Charges::none();
        // Nobody builds on what comes to nothing.
        let exists = || request.writer.cache.get(&request.target.served, &request.target.key()).is_some();
        let vain = request.asked.dry_run || (request.operation == Operation::Create && exists());
        // Nobody else is charged between what is read here and what is noted.
        let mut book = self.ledger().filter(|_| !vain).map(Ledger::open);
        for cached in request.writer.cache.list(served, &format!("{namespace}/")).items {
            let key = Target::of(served, &cached.key).store_key();
            let left = book.as_ref().and_then(|book| book.find(&key));
            let (expected, mut quota) = match left {
                Some((value, quota)) => (Expected::Left(value), quota),
                None => match cached.decode(served) {
                    Some(quota) => (Expected::At(cached.revision), quota),
                    None => continue,
                },
            };
            let Some(held) = typed_ref::<ResourceQuota>(&*quota) else { continue };
            let Some(used) = quota::charge(held, &write).map_err(|why| request.forbidden(&why))? else { continue };
            if let Some(quota) = typed_mut::<ResourceQuota>(&mut *quota) {
                quota.status.get_or_insert_default().used = Some(used.to_api());
            }
            let value = object::encode(&*quota);
            charges.list.push(Charge { key: key.clone(), expected, value: value.clone() });
            charges.shares.extend(book.as_mut().map(|book| book.note(key, value, quota)));
        }
        Ok(charges)
    }
}

impl super::Admission {
    /// The turn of a write that quotas may be charged for.
    pub(crate) async fn turn(&self, request: &Request<'_>) -> Turn {
        let Some(((namespace, _), served)) = concerned(request).zip(self.resource_quotas.as_ref()) else {
            return Turn::Free;
        };
        if request.writer.cache.list(served, &format!("{namespace}/")).items.is_empty() {
            return Turn::Free;
        }
        let lock = self.turns.of(namespace);
        Turn::Shared(Arc::clone(&lock).read_owned().await, lock)
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
