//! `./x demo`: the main job, start to end, with a report.

mod report;
mod traffic;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use skep_testkit::cluster::Cluster;

use crate::build::{self, Profile};
use crate::cluster::{self, manifest};
use crate::shell::say;
use crate::{kubectl, up};
use report::Report;
use traffic::Counts;

const NAME: &str = "demo";
const ROLLOUT_WITHIN: &str = "--timeout=120s";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where this machine's kubectl reaches the API server; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Leave the cluster running when all is done; `./x clean` removes it.
    #[arg(long)]
    keep: bool,
}

/// Builds, starts, sends, reports, takes down. An error if a single request failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut report = Report::default();
    report.step("build", || build::run(Profile::Dev))?;
    report.step("images and kubectl", || {
        kubectl::path()?;
        cluster::parts(Profile::Dev).map(drop)
    })?;
    up::stop_on_signals()?;
    let cluster = report.step("start the cluster", || cluster::start(NAME, args.listen, Profile::Dev))?;
    let outcome = exercise(&cluster, &mut report);
    if args.keep {
        say("the cluster stays; ./x clean removes it");
        cluster.leave();
    } else {
        report.step("take everything down", || cluster.stop())?;
    }
    outcome?;
    report.close()
}

fn exercise(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.ready_ms = cluster.ready_after.as_millis();
    report.step("apply the Deployment and the Services", || {
        cluster.kubectl(&["apply", "-f", &manifest("echo.yaml")])?;
        rollout(cluster)
    })?;
    let counts = report.step("3,000 connections to the ClusterIP from a pod", || traffic::from_pod(cluster))?;
    report.count("ClusterIP from a pod", counts);
    let address = service_address(cluster)?;
    let counts =
        report.step("300 connections to the ClusterIP from the node", || traffic::from_node(cluster, address))?;
    report.count("ClusterIP from the node", counts);
    let counts = report.step("300 connections to the NodePort from outside", || traffic::from_outside(cluster))?;
    report.count("NodePort from outside", counts);

    report.step("start a steady load", || traffic::start_load(cluster))?;
    report.step("delete a pod under load", || delete_a_pod(cluster))?;
    report.step("scale to 5 under load", || {
        cluster.kubectl(&["scale", "deployment/echo", "--replicas=5"])?;
        rollout(cluster)
    })?;
    report.step("roll out v2 under load", || {
        cluster.kubectl(&["set", "image", "deployment/echo", "echo=skep-echo:v2"])?;
        rollout(cluster)
    })?;
    let (http, udp) = report.step("stop the load", || traffic::stop_load(cluster))?;
    report.count("steady HTTP load while pods change", http);
    report.count("steady UDP load while pods change", udp);
    report.observe(cluster)
}

fn rollout(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["rollout", "status", "deployment/echo", ROLLOUT_WITHIN]).map(drop)
}

fn delete_a_pod(cluster: &Cluster) -> Result<()> {
    let pods = cluster.kubectl(&["get", "pods", "-l", "app=echo", "-o", "name"])?;
    let pod = pods.lines().next().context("the Deployment has no pod")?;
    cluster.kubectl(&["delete", pod])?;
    rollout(cluster)
}

fn service_address(cluster: &Cluster) -> Result<SocketAddr> {
    let address =
        cluster.kubectl(&["get", "service", "echo", "-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}"])?;
    address.parse().with_context(|| format!("the Service's address {address}"))
}

/// Asks every 100 ms until `condition` gives a value; ends early when Ctrl-C asks for it.
pub(crate) fn poll<T>(what: &str, bound: Duration, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + bound;
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if up::stopping() {
            bail!("interrupted while waiting for {what}");
        }
        if Instant::now() > deadline {
            bail!("waited {} s in vain for {what}", bound.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Sum of several counts.
pub(crate) fn total<'a>(counts: impl Iterator<Item = &'a Counts>) -> (u64, u64) {
    counts.fold((0, 0), |(requests, failed), counts| (requests + counts.requests, failed + counts.failed))
}
