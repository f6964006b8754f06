//! Writes: from an object that a client wants to one transaction in the store.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use skep_registry::{Claim, FieldError, Object};
use skep_store::{Compare, CompareOp, CompareTarget, Op, OpResult, Range, Revision, Txn};

use crate::admission::{Admission, Charges};
use crate::authn::Identity;
use crate::authz::Authorizers;
use crate::cache::{Cache, claim_key};
use crate::metrics;
use crate::object::{self, Cached, Facts};
use crate::pools::{PoolsView, Ranges};
use crate::served::Served;
use crate::status::ApiError;
use crate::warning::Warnings;

mod create;
mod delete;
mod ownership;
mod update;

pub(crate) use create::{create, generate, own_namespace};
pub(crate) use delete::{DeleteOptions, Deletion, delete};
pub(crate) use ownership::{Owner, bare, encoded, with_kind};
pub(crate) use update::{Part, update};

/// How often a write is tried again that lost against another one.
const ATTEMPTS_MAX: usize = 32;

/// How often values are allocated again that another write took first, or quotas charged again.
const ALLOCATIONS_MAX: usize = 32;

/// What writes need of the server.
pub(crate) struct Writer {
    pub store: skep_raft::Store,
    pub cache: Arc<Cache>,
    pub ranges: Ranges,
    pub admission: Admission,
    pub authorizers: Arc<Authorizers>,
}

/// Who asks for a write, and how.
#[derive(Clone)]
pub(crate) struct Asked {
    pub who: Arc<Identity>,
    /// `status`, `scale`; empty for the object itself.
    pub subresource: &'static str,
    /// Nothing is written.
    pub dry_run: bool,
    /// Who is to own what changes.
    pub owner: Owner,
    /// What the client is told besides the answer.
    pub warnings: Warnings,
}

impl Asked {
    /// The server on its own behalf.
    pub(crate) fn by_server() -> Self {
        let who = Arc::new(Identity::authenticated("system:apiserver", &["system:masters"]));
        let owner = Owner::Manager("kube-apiserver".to_owned());
        Self { who, subresource: "", dry_run: false, owner, warnings: Warnings::default() }
    }
}

/// An object's place.
#[derive(Clone)]
pub(crate) struct Target {
    pub served: Served,
    pub namespace: Option<String>,
    pub name: String,
}

impl Target {
    /// By its key below the resource's prefix.
    pub(crate) fn of(served: &Served, key: &str) -> Self {
        let (namespace, name) = match key.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, key),
        };
        Self { served: served.clone(), namespace, name: name.to_owned() }
    }

    /// Below the resource's prefix.
    pub(crate) fn key(&self) -> String {
        object::relative_key(self.namespace.as_deref(), &self.name).into_owned()
    }

    pub(crate) fn store_key(&self) -> Bytes {
        format!("{}{}", object::prefix(&self.served), self.key()).into()
    }

    pub(crate) fn not_found(&self) -> ApiError {
        ApiError::object_not_found(&self.served, &self.name)
    }

    pub(crate) fn modified(&self) -> ApiError {
        ApiError::modified(&self.served, &self.name)
    }
}

/// What became of a transaction.
enum Outcome {
    Done(Revision),
    /// The object is not at the revision that was expected.
    Lost,
    /// Another object holds these.
    Taken(Vec<Claim>),
    /// Another write was charged first.
    Overtaken,
}

/// Claims that a write adds and gives up.
#[derive(Default)]
struct ClaimChange {
    add: Vec<Claim>,
    remove: Vec<Claim>,
}

impl ClaimChange {
    fn between(old: Vec<Claim>, new: Vec<Claim>) -> Self {
        let mut add: Vec<Claim> = new.iter().filter(|c| !old.contains(c)).cloned().collect();
        add.sort();
        add.dedup();
        let mut remove: Vec<Claim> = old.into_iter().filter(|c| !new.contains(c)).collect();
        remove.sort();
        remove.dedup();
        Self { add, remove }
    }
}

impl Writer {
    /// Waits until the cache has everything that was written before now.
    pub(crate) async fn catch_up(&self) -> Result<(), ApiError> {
        let revision = self.store.read_index().await.map_err(|e| store_error(&e))?;
        self.cache.wait_for(revision).await.map_err(|_| ApiError::timeout("the watch cache is behind the store"))
    }

    /// The object as it is now.
    pub(crate) async fn current(&self, target: &Target) -> Result<Arc<Cached>, ApiError> {
        self.catch_up().await?;
        self.cache.get(&target.served, &target.key()).ok_or_else(|| self.missing(target))
    }

    /// Why an object is not there. While the definition of its resource changes, that says nothing of the object.
    pub(crate) fn missing(&self, target: &Target) -> ApiError {
        if self.cache.serves(&target.served) { target.not_found() } else { changed(&target.served) }
    }

    fn decoded(&self, target: &Target, cached: &Cached) -> Result<Box<dyn Object>, ApiError> {
        let why = || ApiError::internal(&format!("{} \"{}\" cannot be decoded", target.served.plural, target.name));
        cached.decode(&target.served).ok_or_else(why)
    }

    /// All objects below a prefix, as their type.
    pub(crate) fn objects<T: DeserializeOwned>(&self, served: Option<&Served>, prefix: &str) -> Vec<T> {
        let cached = served.map(|served| self.cache.list(served, prefix).items).unwrap_or_default();
        cached.iter().filter_map(|object| serde_json::from_slice(&object.bytes).ok()).collect()
    }

    fn pools<'a>(&'a self, owner: &'a [u8], refused: &'a [Claim]) -> PoolsView<'a> {
        PoolsView { cache: &self.cache, ranges: &self.ranges, owner, refused }
    }

    /// Writes an object, encoded, (`None` removes it) that is now at `expected`; 0 is "not there". What it is charged goes with it.
    async fn commit(
        &self,
        target: &Target,
        expected: Revision,
        value: Option<(&dyn Object, Bytes)>,
        claims: &ClaimChange,
        charges: Charges,
    ) -> Result<Outcome, ApiError> {
        let key = target.store_key();
        let compare =
            |key: Bytes, revision| Compare { key, target: CompareTarget::ModRevision(revision), op: CompareOp::Equal };
        let look = |start: Bytes| Op::Range(Range { start, keys_only: true, ..Range::default() });
        let mut txn = Txn::default();
        txn.compare.push(compare(key.clone(), expected));
        txn.failure.push(look(key.clone()));
        let mut note = None;
        let operation = if value.is_some() { "update" } else { "delete" };
        txn.success.push(match value {
            Some((object, value)) => {
                let value = object::to_stored(&target.served, value);
                // What is stored as it is served, and in no other version.
                if target.served.strategy.stored_api_version().is_none() {
                    let facts = Facts::of(&target.served, object);
                    note = Some(self.cache.fresh.note(key.clone(), value.clone(), target.served.index(), facts));
                }
                Op::Put { key: key.clone(), value, lease: 0 }
            }
            None => Op::Delete { start: key.clone(), end: None },
        });
        for claim in &claims.add {
            let claim = claim_key(claim);
            txn.compare.push(compare(claim.clone(), 0));
            txn.failure.push(look(claim.clone()));
            txn.success.push(Op::Put { key: claim, value: key.clone(), lease: 0 });
        }
        for charge in &charges.list {
            let (key, target) = (charge.key.clone(), charge.expected());
            txn.compare.push(Compare { key, target, op: CompareOp::Equal });
            txn.success.push(Op::Put { key: charge.key.clone(), value: charge.value.clone(), lease: 0 });
        }
        for claim in &claims.remove {
            txn.success.push(Op::Delete { start: claim_key(claim), end: None });
        }
        let (began, operation) = (Instant::now(), if expected == 0 { "create" } else { operation });
        let done = self.store.txn(txn).await.map_err(|e| store_error(&e))?;
        metrics::stored(operation, &target.served, began.elapsed());
        if done.succeeded {
            if let Some(note) = note {
                note.keep();
            }
            // Whoever is charged next must see this, here or in the cache.
            if !charges.list.is_empty() && self.cache.wait_for(done.revision).await.is_ok() {
                charges.settle();
            }
            return Ok(Outcome::Done(done.revision));
        }
        let found = |result: &OpResult| match result {
            OpResult::Range(range) => range.kvs.first().map_or(0, |kv| kv.mod_revision),
            _ => 0,
        };
        if done.results.first().map_or(0, found) != expected {
            return Ok(Outcome::Lost);
        }
        let results = done.results.iter().skip(1);
        let taken = claims.add.iter().zip(results).filter(|(_, result)| found(result) != 0);
        let taken: Vec<Claim> = taken.map(|(claim, _)| claim.clone()).collect();
        if taken.is_empty() && !charges.list.is_empty() {
            return Ok(Outcome::Overtaken);
        }
        Ok(Outcome::Taken(taken))
    }
}

/// The object that was written, as a reader would find it.
fn written(target: &Target, object: &dyn Object, stored: &[u8], revision: Revision) -> Arc<Cached> {
    let bytes = object::splice(stored, revision).unwrap_or_else(|| Bytes::copy_from_slice(stored));
    Arc::new(Cached::new(&target.served, target.key(), revision, bytes, object))
}

/// A request that began before the definition of its resource changed.
pub(crate) fn changed(served: &Served) -> ApiError {
    ApiError::unavailable(format!("the definition of {} has changed, please try again", served.plural))
}

/// The error for what validation found, if it found anything.
fn refuse(target: &Target, name: &str, errors: &[FieldError]) -> Result<(), ApiError> {
    refuse_fields(&target.served, name, errors)
}

/// The same, of an object that is not to be stored.
pub(crate) fn refuse_fields(served: &Served, name: &str, errors: &[FieldError]) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(&served.kind, &served.group, name, errors))
}

/// A refusal because allocation never got the values that it chose.
fn exhausted(target: &Target) -> ApiError {
    ApiError::internal(&format!("no free values could be allocated for {} \"{}\"", target.served.plural, target.name))
}

pub(crate) fn store_error(error: &skep_raft::StoreError) -> ApiError {
    tracing::warn!(%error, "the store failed");
    ApiError::unavailable(format!("the store cannot answer: {error}"))
}
