//! The loop: takes pods off the queue, decides, and hands them to binding cycles.

mod bind;
mod feed;
mod refuse;

use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use skep_informer::{Informer, Informers, Recorder};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info_span};

use crate::cache::Cache;
use crate::framework::Profile;
use crate::plan::{Hints, plan};
use crate::pod_info::PodInfo;
use crate::queue::Queue;

/// Binding cycles in flight at most.
const BINDINGS_MAX: usize = 64;

/// How to schedule.
#[derive(Default)]
pub struct Options {
    /// Which plugins, for the pods of which `schedulerName`.
    pub profile: Profile,
    /// Work is only done while this is true, e.g. while leading. `None` is always.
    pub gate: Option<watch::Receiver<bool>>,
}

/// What the loop, the informers' handlers and the binding cycles share.
struct Shared {
    client: Client,
    profile: Arc<Profile>,
    pods: Informer<Pod>,
    recorder: Recorder,
    state: Mutex<State>,
    changed: Notify,
    bindings: Arc<Semaphore>,
}

struct State {
    cache: Cache,
    queue: Queue,
}

impl Shared {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Like [`Shared::with`], and lets the loop look again.
    fn change<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let result = self.with(f);
        self.changed.notify_one();
        result
    }
}

/// Schedules pods until `stop` is cancelled. Waits for an API that is not there yet.
///
/// # Errors
/// None at present; what fails is tried again.
pub async fn run(client: Client, options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let informers = Informers::new(client.clone(), stop.clone());
    let profile = Arc::new(options.profile);
    let shared = Arc::new(Shared {
        recorder: Recorder::spawn(client.clone(), "default-scheduler", stop.clone()),
        pods: informers.get(),
        state: Mutex::new(State { cache: Cache::default(), queue: Queue::new(Arc::clone(&profile)) }),
        changed: Notify::new(),
        bindings: Arc::new(Semaphore::new(BINDINGS_MAX)),
        client,
        profile,
    });
    feed::feed(&shared, &informers);
    if !informers.synced().await {
        return Ok(());
    }
    let mut gate = options.gate;
    let mut cycle: u64 = 0;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = wait_open(&mut gate) => {}
        }
        // A free slot comes first, so that the decision is made on what is known last.
        let slot = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            slot = Arc::clone(&shared.bindings).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { return Ok(()) };
        if let Some((uid, pod)) = shared.with(|state| state.queue.pop(Instant::now())) {
            cycle = cycle.wrapping_add(1);
            schedule(&shared, &uid, pod, cycle, slot).await;
            continue;
        }
        drop(slot);
        let due = shared.with(|state| state.queue.next_due());
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = shared.changed.notified() => {}
            () = sleep_until(due) => {}
        }
    }
}

/// One scheduling cycle.
async fn schedule(shared: &Arc<Shared>, uid: &str, pod: Arc<Pod>, cycle: u64, slot: tokio::sync::OwnedSemaphorePermit) {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap_or_default();
    let span = info_span!("schedule", pod = %format_args!("{namespace}/{name}"), cycle);
    if pod.metadata.deletion_timestamp.is_some() || shared.with(|state| state.cache.is_assumed(uid)) {
        shared.with(|state| state.queue.remove(uid));
        return;
    }
    let info = PodInfo::new(pod);
    let decision = span.in_scope(|| {
        let snapshot = shared.with(|state| state.cache.snapshot());
        let hints = Hints { start: usize::try_from(cycle).unwrap_or(0), seed: mix(cycle) };
        plan(&shared.profile, &snapshot, &info, hints).map_err(|refusal| {
            let mut post = shared.profile.plugins.iter().filter_map(|plugin| plugin.post_filter);
            let nominated = post.find_map(|post_filter| post_filter(&info, &snapshot, &refusal));
            (refusal, nominated)
        })
    });
    match decision {
        Ok(placement) => {
            let reserved = bind::reserve(shared, &info, &placement.node);
            if let Err(reason) = reserved {
                debug!(parent: &span, reason, "reserve failed");
                shared.with(|state| state.queue.retry(uid, Instant::now()));
                return;
            }
            shared.with(|state| state.cache.assume(&info, &placement.node));
            let shared = Arc::clone(shared);
            let bound = async move {
                bind::bind(&shared, &info, &placement).await;
                drop(slot);
            };
            tokio::spawn(tracing::Instrument::instrument(bound, span));
        }
        Err((refusal, nominated)) => {
            let message = refusal.to_string();
            shared.with(|state| state.queue.unschedulable(uid, refusal.plugins, Instant::now()));
            tracing::Instrument::instrument(refuse::refuse(shared, &info, &message, nominated), span).await;
        }
    }
}

/// Spreads consecutive numbers, so that nodes of equal score take turns in no fixed order.
fn mix(number: u64) -> u64 {
    let mut x = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 32;
    x = x.wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^ (x >> 32)
}

async fn wait_open(gate: &mut Option<watch::Receiver<bool>>) {
    if let Some(receiver) = gate
        && receiver.wait_for(|open| *open).await.is_err()
    {
        // Its owner is gone while it was shut: there is nothing left to lead.
        std::future::pending::<()>().await;
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
