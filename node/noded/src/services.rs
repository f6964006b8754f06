//! From watches of Services and EndpointSlices to the kernel's tables.

mod view;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use skep_netmodel::NodeIdentity;
use skep_observe::Timing;
use skep_telemetry::{Family, Histogram, Labels, Registry};
use tokio_util::sync::CancellationToken;

use crate::health::HealthPorts;

pub(crate) use self::view::{Input, Step, View};

/// As many events as are there are written at once, up to this many.
const BATCH_MAX: usize = 512;
/// After a refusal by the tables, until everything is offered again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Where services are written: the datapath.
pub(crate) trait Tables: Send + Sync + 'static {
    /// Carries `step` out, and returns how many operations that took. Blocks.
    ///
    /// # Errors
    /// Nothing or a part was written; a [`Step::Full`] later mends it.
    fn carry_out(&self, step: &Step) -> Result<usize>;
}

static PROGRAMMING: LazyLock<Family<Labels, Histogram>> = LazyLock::new(|| {
    let help = "From the change of an endpoint to the write to the kernel";
    Registry::global().durations("skep_network_programming_duration", help)
});
static SYNC: LazyLock<Family<Labels, Histogram>> = LazyLock::new(|| {
    let help = "From the arrival of watch events to the write to the kernel";
    Registry::global().durations("skep_service_sync_duration", help)
});

/// Watches and writes until `stop`. Before both watches have shown everything once, nothing is written, so that what a
/// daemon before this one wrote keeps serving; the first write is of the whole.
pub(crate) async fn run<T: Tables>(
    client: Client,
    identity: NodeIdentity,
    tables: Arc<T>,
    timing: Arc<Timing>,
    stop: CancellationToken,
) {
    let mut inputs = std::pin::pin!(inputs(client).ready_chunks(BATCH_MAX));
    let mut view = View::new(identity);
    let mut health = HealthPorts::default();
    // While the tables refuse, events are only taken in.
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
        for input in batch {
            view.take(input);
        }
        if retry_at.is_none()
            && let Err(error) = write(&mut view, &tables, &timing, arrived).await
        {
            tracing::error!(error = format!("{error:#}"), "services are not written; all are offered again");
            view.distrust();
            retry_at = Some(tokio::time::Instant::now() + RETRY_AFTER);
        }
        // A node is not asked for what its tables do not hold yet.
        if retry_at.is_none() {
            view.health().iter().for_each(|(service, check)| health.set(service, *check));
        }
    }
}

async fn write<T: Tables>(view: &mut View, tables: &Arc<T>, timing: &Timing, arrived: Instant) -> Result<()> {
    for problem in view.problems() {
        tracing::warn!(%problem, "left out");
    }
    let Some(step) = view.step() else { return Ok(()) };
    let (tables, full) = (Arc::clone(tables), matches!(step, Step::Full(_)));
    let count = match &step {
        Step::Full(specs) => specs.len(),
        Step::Changes(changes) => changes.len(),
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

/// Both watches in one stream. Watch errors are logged and tried again with a growing delay, by the stream itself.
fn inputs(client: Client) -> impl Stream<Item = Input> {
    let services = watcher(Api::<Service>::all(client.clone()), watcher::Config::default()).default_backoff();
    let slices = watcher(Api::<EndpointSlice>::all(client), watcher::Config::default()).default_backoff();
    let services = services.filter_map(|event| std::future::ready(log("Service", event).map(Input::Service)));
    let slices = slices.filter_map(|event| std::future::ready(log("EndpointSlice", event).map(Input::Slice)));
    stream::select(services, slices)
}

fn log<T>(kind: &str, event: Result<T, watcher::Error>) -> Option<T> {
    event.inspect_err(|error| tracing::warn!(kind, error = error as &dyn std::error::Error, "watch begins anew")).ok()
}
