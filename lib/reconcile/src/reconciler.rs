//! What a controller implements.

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::time::Duration;

/// What a loop is told: an identity and nothing else.
pub trait Key: Clone + Debug + Display + Eq + Hash + Send + Sync + 'static {}

impl<T: Clone + Debug + Display + Eq + Hash + Send + Sync + 'static> Key for T {}

/// When a key that was reconciled is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When something wakes it.
    Done,
    /// Then, or when something wakes it earlier.
    After(Duration),
    /// After the back-off, for a reason that is nobody's fault, e.g. a write that lost a race.
    Retry(&'static str),
}

/// Why a reconcile failed.
pub trait Fault: std::error::Error + Send + Sync + 'static {
    /// Whether it is nobody's fault and passes, e.g. a write that lost a race: it is not worth a warning.
    fn is_transient(&self) -> bool;
}

/// A controller: four functions, called in this order for one key.
pub trait Reconciler: Send + Sync + 'static {
    /// Identity of what is reconciled, e.g. a namespace and a name.
    type Key: Key;
    /// All that a decision depends on, the time included.
    type Observed: Send + Sync;
    /// What to change.
    type Plan: Send + Sync;
    /// What came of it.
    type Applied: Send + Sync;
    /// Why it failed.
    type Error: Fault;

    /// Name of the loop in spans and metrics, e.g. `deployment`.
    fn kind(&self) -> &'static str;

    /// Every key there is, for a resync. Includes keys of which only leavings exist, if those are this loop's to remove.
    fn keys(&self) -> Vec<Self::Key>;

    /// Reads the world. `None` ends the reconcile: there is nothing to look after.
    fn observe(&self, key: &Self::Key) -> impl Future<Output = Result<Option<Self::Observed>, Self::Error>> + Send;

    /// Decides. Pure: it has no `self`, so that nothing can reach it but through `observed`.
    fn plan(observed: &Self::Observed) -> Self::Plan;

    /// Changes the world.
    fn apply(
        &self,
        key: &Self::Key,
        observed: &Self::Observed,
        plan: &Self::Plan,
    ) -> impl Future<Output = Result<Self::Applied, Self::Error>> + Send;

    /// Tells people and other loops: status, conditions. Runs after a failed `apply` as well; that failure stands
    /// whatever this returns. Nothing to tell, where it is left out.
    fn report(
        &self,
        _key: &Self::Key,
        _observed: &Self::Observed,
        _plan: &Self::Plan,
        _applied: &Result<Self::Applied, Self::Error>,
    ) -> impl Future<Output = Result<Next, Self::Error>> + Send {
        std::future::ready(Ok(Next::Done))
    }
}
