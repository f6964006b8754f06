//! From watches of Services and EndpointSlices to the kernel's tables.

mod view;

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use anyhow::Result;
use futures::stream::BoxStream;
use kube::Client;
use skep_netmodel::NodeIdentity;
use skep_observe::Timing;
use skep_telemetry::{Family, Histogram, Labels, Registry};
use tokio_util::sync::CancellationToken;

pub(crate) use self::view::{Input, Step, View};
use crate::health::HealthPorts;
use crate::healthz::Freshness;
use crate::inputs::{Inputs, watch};

/// Where services are written: the datapath.
pub(crate) trait Tables: Send + Sync + 'static {
    /// Carries `step` out, and returns how many operations that took. Blocks.
    ///
    /// # Errors
    /// Nothing or a part was written; a [`Step::Full`] later mends it.
    fn carry_out(&self, step: &Step) -> Result<usize>;
}

/// Services of another proxy, and those that none serves, are not even asked for.
const OURS: &str = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless";

static PROGRAMMING: LazyLock<Family<Labels, Histogram>> = LazyLock::new(|| {
    let help = "From the change of an endpoint to the write to the kernel";
    Registry::global().durations("skep_network_programming_duration", help)
});
static SYNC: LazyLock<Family<Labels, Histogram>> = LazyLock::new(|| {
    let help = "From the arrival of watch events to the write to the kernel";
    Registry::global().durations("skep_service_sync_duration", help)
});

/// Watches and writes until `stop`. `host_ports` says first which there are, and again at each change. Before all have shown everything once, nothing is written, so that what a
/// daemon before this one wrote keeps serving; the first write is of the whole.
pub(crate) async fn run<T: Tables>(
    client: Client,
    identity: NodeIdentity,
    host_ports: BoxStream<'static, Input>,
    tables: Arc<T>,
    timing: Arc<Timing>,
    health: Arc<Freshness>,
    stop: CancellationToken,
) {
    let mut inputs =
        Inputs::new([watch(&client, OURS, Input::Service), watch(&client, OURS, Input::Slice), host_ports]);
    let mut view = View::new(identity);
    let mut ports = HealthPorts::default();
    while let Some(batch) = inputs.next(&stop).await {
        let arrived = Instant::now();
        for input in batch {
            view.take(input);
        }
        if !inputs.waits()
            && let Err(error) = write(&mut view, &tables, &timing, arrived).await
        {
            tracing::error!(error = format!("{error:#}"), "services are not written; all are offered again");
            view.distrust();
            inputs.refused();
            health.stale();
        }
        // A node is not asked for what its tables do not hold yet.
        if !inputs.waits() {
            view.health().iter().for_each(|(service, check)| ports.set(service, *check));
            if view.is_complete() {
                health.fresh();
            }
        }
    }
}

async fn write<T: Tables>(view: &mut View, tables: &Arc<T>, timing: &Timing, arrived: Instant) -> Result<()> {
    for problem in view.problems() {
        tracing::warn!(%problem, "left out");
    }
    let Some(step) = view.step() else { return Ok(()) };
    let (tables, full) = (Arc::clone(tables), matches!(step, Step::Full { .. }));
    let count = match &step {
        Step::Full { specs, .. } => specs.len(),
        Step::Changes { changes, .. } => changes.len(),
    };
    let operations = tokio::task::spawn_blocking(move || tables.carry_out(&step)).await??;
    let labels = Labels::new();
    SYNC.get_or_create(&labels).observe(arrived.elapsed().as_secs_f64());
    for delay in view.written() {
        PROGRAMMING.get_or_create(&labels).observe(delay.as_secs_f64());
        timing.observe(delay);
    }
    tracing::debug!(services = count, operations, full, us = arrived.elapsed().as_micros(), "services written");
    Ok(())
}
