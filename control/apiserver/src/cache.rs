//! The watch cache: every object that is served, as of one revision, and the recent changes.
//!
//! One task ([`follow`]) follows the store and applies each transaction under one lock, so that a reader sees all
//! resources as of the same revision. Objects are shared between readers; a reader only clones pointers under the lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use skep_registry::{Claim, Registry};
use skep_store::Revision;
use tokio::sync::{mpsc, watch};

use crate::object::Cached;
use crate::served::Served;

mod definitions;
mod event;
pub(crate) mod follow;
mod fresh;

pub(crate) use self::event::{Event, EventKind};
use self::fresh::Fresh;

/// Changes kept of each resource, for watches that begin in the past.
const RECENT_LEN_MAX: usize = 2_048;

/// Changes that a watcher may be behind before it is dropped.
const WATCHER_QUEUE_LEN_MAX: usize = 1_024;

/// How long a read waits for the cache to have the revision that it needs.
const CATCH_UP: Duration = Duration::from_secs(3);

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

/// A change of one object.
#[derive(Debug)]
pub(crate) struct Change {
    pub kind: ChangeKind,
    /// As it is now; of a removed one the last state, at the revision of its removal.
    pub object: Arc<Cached>,
    /// As it was, where it was there.
    pub before: Option<Arc<Cached>>,
}

/// Keeps what follows from a resource's objects, as of the cache's revision. It is told of a change before readers see it.
pub(crate) trait Follower: Send + Sync {
    /// All is read anew; every object that is there will be told.
    fn reset(&self);
    /// An object is there in this version, or gone.
    fn changed(&self, key: &str, now: Option<&Cached>);
}

/// A resource's objects, what happened to them last, and who wants to know.
#[derive(Default)]
struct Kind {
    items: BTreeMap<Box<str>, Arc<Cached>>,
    recent: VecDeque<Arc<Change>>,
    /// All changes after this revision are in `recent`.
    floor: Revision,
    watchers: Vec<Watcher>,
}

struct Watcher {
    /// `namespace/`, a whole key, or empty.
    prefix: String,
    queue: mpsc::Sender<Arc<Event>>,
}

struct State {
    revision: Revision,
    /// By slot.
    kinds: HashMap<usize, Kind>,
    /// Claim key to the key of the object that holds it.
    claims: HashMap<Bytes, Bytes>,
}

pub(crate) struct Cache {
    /// What is served now. The task that follows the store replaces it, after the objects of what is new are in place.
    registry: ArcSwap<Registry>,
    /// By slot.
    followers: HashMap<usize, Arc<dyn Follower>>,
    state: RwLock<State>,
    /// What writes under way are about to store.
    pub fresh: Fresh,
    revision: watch::Sender<Revision>,
}

/// Objects as of one revision.
pub(crate) struct Snapshot {
    pub revision: Revision,
    /// Whether the resource is served; if not, that there are no objects says nothing.
    pub served: bool,
    pub items: Vec<Arc<Cached>>,
}

/// A watch that has begun.
pub(crate) struct Subscription {
    /// Of the cache when it began.
    pub revision: Revision,
    /// Objects that are there, where they were asked for.
    pub items: Vec<Arc<Cached>>,
    /// What happened between the revision asked for and [`Subscription::revision`].
    pub missed: Vec<Arc<Event>>,
    /// What happens after it; closed when the watcher was too slow or the cache had to start over.
    pub events: mpsc::Receiver<Arc<Event>>,
}

/// The oldest revision that a watch can begin at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooOld(pub Revision);

/// The newest revision that the cache has, which is less than what was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Behind(pub Revision);

pub(crate) const CLAIMS_PREFIX: &str = "/registry/claims/";

pub(crate) fn claim_key(claim: &Claim) -> Bytes {
    format!("{CLAIMS_PREFIX}{}/{}", claim.pool, claim.value).into()
}

impl Cache {
    pub(crate) fn new(registry: Arc<Registry>, followers: Vec<(Served, Arc<dyn Follower>)>) -> Self {
        Self {
            followers: followers.into_iter().map(|(served, follower)| (served.index(), follower)).collect(),
            state: RwLock::new(State { revision: 0, kinds: HashMap::new(), claims: HashMap::new() }),
            fresh: Fresh::default(),
            revision: watch::Sender::new(0),
            registry: ArcSwap::new(registry),
        }
    }

    /// The resources that are served now. Taking it locks nothing.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.registry.load_full()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // A writer that panicked left at worst one event half applied; serving on beats refusing everything.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The revision of the last transaction applied.
    pub(crate) fn revision(&self) -> Revision {
        *self.revision.borrow()
    }

    /// The revision as it moves. All changes up to it have been queued for their watchers.
    pub(crate) fn revisions(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }

    /// Waits until the cache has a revision.
    pub(crate) async fn wait_for(&self, revision: Revision) -> Result<(), Behind> {
        let mut applied = self.revision.subscribe();
        let reached = applied.wait_for(|now| *now >= revision);
        match tokio::time::timeout(CATCH_UP, reached).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Behind(self.revision())),
        }
    }

    pub(crate) fn get(&self, served: &Served, key: &str) -> Option<Arc<Cached>> {
        self.read().kinds.get(&served.index())?.items.get(key).cloned()
    }

    /// Whether a resource is served as it was when the handle was taken.
    pub(crate) fn serves(&self, served: &Served) -> bool {
        self.read().kinds.contains_key(&served.index())
    }

    /// Objects whose key begins with a prefix.
    pub(crate) fn list(&self, served: &Served, prefix: &str) -> Snapshot {
        let state = self.read();
        let items = state.kinds.get(&served.index()).map(|kind| below(&kind.items, prefix));
        Snapshot { revision: state.revision, served: items.is_some(), items: items.unwrap_or_default() }
    }

    /// The key of the object that holds a claim.
    pub(crate) fn holder(&self, claim: &Claim) -> Option<Bytes> {
        self.read().claims.get(&claim_key(claim)).cloned()
    }

    /// Begins a watch: after `from`, or with all objects that are there.
    pub(crate) fn subscribe(
        &self,
        served: &Served,
        prefix: &str,
        from: Option<Revision>,
    ) -> Result<Subscription, TooOld> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let revision = state.revision;
        let (queue, events) = mpsc::channel(WATCHER_QUEUE_LEN_MAX);
        let Some(kind) = state.kinds.get_mut(&served.index()) else {
            // It is not served any more: the watch ends at once.
            return Ok(Subscription { revision, items: Vec::new(), missed: Vec::new(), events });
        };
        let (items, missed) = match from {
            None => (below(&kind.items, prefix), Vec::new()),
            Some(from) if from < kind.floor => return Err(TooOld(kind.floor)),
            Some(from) => {
                let begin = kind.recent.partition_point(|c| c.object.revision <= from);
                let missed = kind.recent.range(begin..).filter(|c| c.object.key.starts_with(prefix));
                (Vec::new(), missed.map(|change| Arc::new(Event::of(Arc::clone(change)))).collect())
            }
        };
        kind.watchers.retain(|w| !w.queue.is_closed());
        kind.watchers.push(Watcher { prefix: prefix.to_owned(), queue });
        Ok(Subscription { revision, items, missed, events })
    }
}

fn below(items: &BTreeMap<Box<str>, Arc<Cached>>, prefix: &str) -> Vec<Arc<Cached>> {
    let from = items.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
    from.take_while(|(key, _)| key.starts_with(prefix)).map(|(_, item)| Arc::clone(item)).collect()
}

impl Kind {
    fn apply(&mut self, key: &str, now: Option<Arc<Cached>>, revision: Revision) {
        let change = match now {
            Some(object) => {
                let before = self.items.insert(key.into(), Arc::clone(&object));
                let kind = if before.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
                Change { kind, object, before }
            }
            None => {
                let Some(before) = self.items.remove(key) else { return };
                let object = Arc::new(before.at(revision));
                Change { kind: ChangeKind::Deleted, object, before: Some(before) }
            }
        };
        let change = Arc::new(change);
        let event = Arc::new(Event::of(Arc::clone(&change)));
        self.watchers.retain(|w| {
            // One that is full is closed by this, and its client starts over where it got to.
            !key.starts_with(&w.prefix) || w.queue.try_send(Arc::clone(&event)).is_ok()
        });
        if self.recent.len() == RECENT_LEN_MAX
            && let Some(oldest) = self.recent.pop_front()
        {
            self.floor = oldest.object.revision;
        }
        self.recent.push_back(change);
    }
}
