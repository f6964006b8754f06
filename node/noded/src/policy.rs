//! From watches of Pods, Namespaces and NetworkPolicies to the kernel's tables.

mod table;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Client;
use kube::runtime::watcher::Event;
use skep_bpf::Sweep;
use skep_observe::Timing;
use skep_telemetry::{Family, Histogram, Labels, Registry};
use tokio_util::sync::CancellationToken;

pub(crate) use self::table::Policing;
use crate::inputs::{ALL, Inputs, watch};

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
    let watches =
        [watch(&client, ALL, Input::Pod), watch(&client, ALL, Input::Namespace), watch(&client, ALL, Input::Policy)];
    let mut inputs = Inputs::new(watches);
    while let Some(batch) = inputs.next(&stop).await {
        let arrived = Instant::now();
        let (tables, waits) = (Arc::clone(&policing), inputs.waits());
        let written = tokio::task::spawn_blocking(move || {
            batch.into_iter().for_each(|input| tables.take(input));
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
                inputs.refused();
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
