//! From watches of Pods, Namespaces and NetworkPolicies to the kernel's tables.

mod table;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use skep_bpf::Sweep;
use skep_observe::Timing;
use skep_telemetry::{Family, Histogram, Labels, Registry};
use tokio_util::sync::CancellationToken;

pub(crate) use self::table::Policing;

/// As many events as are there are written at once, up to this many.
const BATCH_MAX: usize = 512;
/// After a refusal by the tables, until everything is offered again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Between two rounds of collecting flows, and how many are looked at in one.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const SWEEP_MAX: usize = 16_384;

static SYNC: LazyLock<Family<Labels, Histogram>> = LazyLock::new(|| {
    let help = "From the arrival of a change of policies, pods or namespaces to the write to the kernel";
    Registry::global().durations("skep_policy_sync_duration", help)
});

/// An event of one of the watches.
#[allow(clippy::large_enum_variant, reason = "made once per event and moved at once")]
pub(crate) enum Input {
    Pod(Event<Pod>),
    Namespace(Event<Namespace>),
    Policy(Event<NetworkPolicy>),
}

/// Watches and writes until `stop`. Before all watches have shown everything once, only pods that are new to this node are written:
/// what a daemon before this one wrote stays in force.
pub(crate) async fn run(client: Client, policing: Arc<Policing>, timing: Arc<Timing>, stop: CancellationToken) {
    let mut inputs = std::pin::pin!(inputs(client).ready_chunks(BATCH_MAX));
    let mut retry_at: Option<tokio::time::Instant> = None;
    loop {
        let retry = retry_at.map(tokio::time::sleep_until);
        let batch = tokio::select! {
            () = stop.cancelled() => return,
            () = async { if let Some(retry) = retry { retry.await } }, if retry_at.is_some() => {
                retry_at = None;
                Vec::new()
            }
            batch = inputs.next() => match batch {
                Some(batch) => batch,
                None => return,
            },
        };
        let arrived = Instant::now();
        let (tables, waits) = (Arc::clone(&policing), retry_at.is_some());
        let written = tokio::task::spawn_blocking(move || {
            batch.into_iter().for_each(|input| tables.take(input));
            // While the tables refuse, events are only taken in.
            if waits { Ok(0) } else { tables.write() }
        });
        match written.await {
            Ok(Ok(0)) => {}
            Ok(Ok(operations)) => {
                SYNC.get_or_create(&Labels::new()).observe(arrived.elapsed().as_secs_f64());
                timing.observe(arrived.elapsed());
                tracing::debug!(operations, us = arrived.elapsed().as_micros(), "policy written");
            }
            Ok(Err(error)) => {
                tracing::error!(error = format!("{error:#}"), "policy is not written; all of it is offered again");
                retry_at = Some(tokio::time::Instant::now() + RETRY_AFTER);
            }
            Err(error) => {
                tracing::error!(%error, "policy is no longer written");
                return;
            }
        }
    }
}

/// Forgets silent flows until `stop`, a bounded part at a time.
pub(crate) async fn sweep(policing: Arc<Policing>, stop: CancellationToken) {
    let mut sweep = Sweep::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_INTERVAL) => {}
        }
        let tables = Arc::clone(&policing);
        let round = tokio::task::spawn_blocking(move || {
            let round = tables.datapath().sweep_flows(&mut sweep, SWEEP_MAX);
            (sweep, round)
        });
        let Ok((next, round)) = round.await else { return };
        sweep = next;
        match round {
            Ok(round) if round.deleted > 0 => tracing::debug!(flows = round.deleted, "silent flows forgotten"),
            Ok(_) => {}
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "flows are not collected"),
        }
    }
}

/// All watches in one stream. Watch errors are logged and tried again with a growing delay, by the stream itself.
fn inputs(client: Client) -> impl Stream<Item = Input> {
    let config = watcher::Config::default;
    let pods = watcher(Api::<Pod>::all(client.clone()), config()).default_backoff();
    let namespaces = watcher(Api::<Namespace>::all(client.clone()), config()).default_backoff();
    let policies = watcher(Api::<NetworkPolicy>::all(client), config()).default_backoff();
    let pods = pods.filter_map(|event| std::future::ready(log("Pod", event).map(Input::Pod)));
    let namespaces = namespaces.filter_map(|event| std::future::ready(log("Namespace", event).map(Input::Namespace)));
    let policies = policies.filter_map(|event| std::future::ready(log("NetworkPolicy", event).map(Input::Policy)));
    stream::select(pods, stream::select(namespaces, policies))
}

fn log<T>(kind: &str, event: Result<T, watcher::Error>) -> Option<T> {
    event.inspect_err(|error| tracing::warn!(kind, error = error as &dyn std::error::Error, "watch begins anew")).ok()
}
