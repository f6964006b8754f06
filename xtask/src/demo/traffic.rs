//! The demo's connections: from a pod, from the node, from outside, and a steady load.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use skep_testkit::cluster::{Cluster, NODE};

use super::poll;
use crate::cluster::manifest;
use crate::image;
use crate::shell::read;

const NODE_PORT: u16 = 30080;
const CLIENT_WITHIN: Duration = Duration::from_secs(180);
const LOAD_WITHIN: Duration = Duration::from_secs(30);

/// What a client counted.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Counts {
    /// Connections, or datagrams.
    pub(crate) requests: u64,
    /// Those without the right answer in time.
    pub(crate) failed: u64,
    /// Answers by the pod that gave them.
    pub(crate) by_pod: BTreeMap<String, u64>,
    /// What the failures said.
    #[serde(default)]
    pub(crate) errors: BTreeMap<String, u64>,
}

/// 3,000 connections through the ClusterIP, by busybox in a pod of its own.
pub(crate) fn from_pod(cluster: &Cluster) -> Result<Counts> {
    cluster.kubectl(&["apply", "-f", &manifest("client.yaml")])?;
    poll("the client pod to finish", CLIENT_WITHIN, || {
        let phase = cluster.kubectl(&["get", "pod", "client", "-o", "jsonpath={.status.phase}"])?;
        match phase.as_str() {
            "Succeeded" => Ok(Some(())),
            "Failed" => bail!("the client pod failed: {}", cluster.kubectl(&["logs", "client"])?),
            _ => Ok(None),
        }
    })?;
    let counts = decode_uniq(&cluster.kubectl(&["logs", "client"])?)?;
    cluster.kubectl(&["delete", "pod", "client", "--wait=false"])?;
    Ok(counts)
}

/// 300 connections through the ClusterIP by a process of the node.
pub(crate) fn from_node(cluster: &Cluster, address: SocketAddr) -> Result<Counts> {
    let echo = image::static_echo()?;
    let mut command = cluster.on_node(&echo.to_string_lossy())?;
    decode_last(&read(command.args(["load", "--count", "300", "--target", &address.to_string()]))?)
}

/// 300 connections to the NodePort by a host that is not in the cluster.
pub(crate) fn from_outside(cluster: &Cluster) -> Result<Counts> {
    let echo = image::static_echo()?;
    let mut command = cluster.outside.command(&echo.to_string_lossy())?;
    decode_last(&read(command.args(["load", "--count", "300", "--target", &format!("{NODE}:{NODE_PORT}")]))?)
}

/// Starts the load pods, and waits until answers come.
pub(crate) fn start_load(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["apply", "-f", &manifest("load.yaml")])?;
    for pod in ["load-http", "load-udp"] {
        poll("the load to start", LOAD_WITHIN, || {
            Ok(counts_of(cluster, pod).ok().filter(|counts| counts.requests > 0))
        })?;
    }
    Ok(())
}

/// Waits until both loads have counted past what they had when they were asked, so that the last change is in, and ends them.
pub(crate) fn stop_load(cluster: &Cluster) -> Result<(Counts, Counts)> {
    let mut last = Vec::new();
    for pod in ["load-http", "load-udp"] {
        let now = counts_of(cluster, pod)?.requests;
        let settled = poll("the load's last counts", LOAD_WITHIN, || {
            Ok(Some(counts_of(cluster, pod)?).filter(|counts| counts.requests > now))
        })?;
        last.push(settled);
    }
    cluster.kubectl(&["delete", "-f", &manifest("load.yaml"), "--wait=false"])?;
    let udp = last.pop().context("no UDP counts")?;
    let http = last.pop().context("no HTTP counts")?;
    Ok((http, udp))
}

fn counts_of(cluster: &Cluster, pod: &str) -> Result<Counts> {
    decode_last(&cluster.kubectl(&["logs", pod, "--tail=1"])?)
}

/// The last line that a load printed.
fn decode_last(text: &str) -> Result<Counts> {
    let line = text.lines().last().context("the load printed nothing")?;
    serde_json::from_str(line).with_context(|| format!("parse {line}"))
}

/// What `uniq -c` printed: a number and a pod's name on each line.
fn decode_uniq(text: &str) -> Result<Counts> {
    let mut counts = Counts::default();
    for line in text.lines() {
        let (number, pod) = line.trim().split_once(' ').with_context(|| format!("parse {line:?}"))?;
        let number: u64 = number.parse().with_context(|| format!("parse {line:?}"))?;
        counts.requests += number;
        if pod == "FAILED" {
            counts.failed += number;
        } else {
            counts.by_pod.insert(pod.to_owned(), number);
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::{decode_last, decode_uniq};

    #[test]
    fn uniq_counts_pods_and_failures() {
        let counts = decode_uniq("   1490 echo-a\n      2 FAILED\n   1508 echo-b\n").expect("well-formed");
        assert_eq!((counts.requests, counts.failed, counts.by_pod["echo-b"]), (3000, 2, 1508));
    }

    #[test]
    fn last_line_wins() {
        let counts = decode_last(
            "{\"requests\":1,\"failed\":0,\"by_pod\":{}}\n{\"requests\":7,\"failed\":1,\"by_pod\":{\"p\":6}}\n",
        );
        assert_eq!(counts.map(|counts| (counts.requests, counts.failed)).ok(), Some((7, 1)));
    }
}
