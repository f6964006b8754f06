//! The skeleton's first figures, all from one cluster per start.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Deserializer, Value, json};
use skep_testkit::cluster::Cluster;

use super::row::Rows;
use crate::build::Profile;
use crate::cluster::{self, manifest};
use crate::demo::poll;
use crate::shell::say;
use crate::up;

const SUBJECT: &str = "skep";
const STARTS: usize = 3;
const PODS: usize = 20;
const WITHIN: Duration = Duration::from_secs(120);

/// Starts three clusters; measures the rest in the last.
pub(crate) fn run(profile: Profile) -> Result<Rows> {
    up::stop_on_signals()?;
    let mut rows = Rows::default();
    let mut ready_ms = Vec::new();
    for start in 1..STARTS {
        say(&format!("start {start} of {STARTS}"));
        let cluster = cluster::start("bench", ([127, 0, 0, 1], 0).into(), profile)?;
        ready_ms.push(cluster.ready_after.as_secs_f64() * 1e3);
        cluster.stop()?;
    }
    say(&format!("start {STARTS} of {STARTS}"));
    let cluster = cluster::start("bench", ([127, 0, 0, 1], 0).into(), profile)?;
    ready_ms.push(cluster.ready_after.as_secs_f64() * 1e3);
    rows.add(SUBJECT, "node_ready", "ms", ready_ms);
    rows.add(SUBJECT, "rss_idle", "MiB", vec![cluster.rss_mib()? as f64]);

    cluster.kubectl(&["apply", "-f", &manifest("echo.yaml")])?;
    cluster.kubectl(&["rollout", "status", "deployment/echo", "--timeout=120s"])?;
    say("time from a pod's creation to Ready");
    rows.add(SUBJECT, "pod_ready", "ms", pod_ready_ms(&cluster)?);
    rows.add(SUBJECT, "rss_20_pods", "MiB", vec![cluster.rss_mib()? as f64]);
    say("connect() through the ClusterIP and straight to a pod");
    connect(&cluster, &mut rows)?;
    say("time from an EndpointSlice's change to the kernel");
    rows.add(SUBJECT, "endpointslice_to_kernel_p50", "ms", programming_ms(&cluster, "p50_ms")?);
    rows.add(SUBJECT, "endpointslice_to_kernel_p99", "ms", programming_ms(&cluster, "p99_ms")?);
    cluster.stop()?;
    Ok(rows)
}

/// Makes the pods at once and follows the watch: from ADDED to Ready, as a client sees them.
fn pod_ready_ms(cluster: &Cluster) -> Result<Vec<f64>> {
    let mut watch =
        cluster.kubectl_command(&["get", "pods", "-l", "bench=pod", "--watch", "--output-watch-events", "-o", "json"]);
    let mut child = watch.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start kubectl")?;
    let events = Deserializer::from_reader(child.stdout.take().context("kubectl has no output")?).into_iter::<Value>();
    let manifests: Vec<String> = (0..PODS).map(|index| pod(index).to_string()).collect();
    let path = std::env::temp_dir().join(format!("skep-bench-{}.yaml", std::process::id()));
    std::fs::write(&path, manifests.join("\n---\n"))?;
    let applied = cluster.kubectl(&["create", "-f", &path.to_string_lossy()]);
    std::fs::remove_file(&path)?;
    applied?;

    let mut added = HashMap::new();
    let mut ready_ms: HashMap<String, f64> = HashMap::new();
    for event in events {
        let event = event.context("read kubectl's watch")?;
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let start = *added.entry(name.clone()).or_insert_with(Instant::now);
        let conditions = event["object"]["status"]["conditions"].as_array();
        if conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")) {
            ready_ms.entry(name).or_insert_with(|| start.elapsed().as_secs_f64() * 1e3);
        }
        if ready_ms.len() == PODS || up::stopping() {
            break;
        }
    }
    child.kill()?;
    child.wait()?;
    Ok(ready_ms.into_values().collect())
}

fn pod(index: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("bench-{index}"), "labels": {"bench": "pod"}},
        "spec": {"containers": [{
            "name": "echo", "image": "skep-echo:v1", "args": ["serve"],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
        }]},
    })
}

#[derive(Deserialize)]
struct Connect {
    p50_us: f64,
}

/// The same socket calls to both, in turn, from one pod.
fn connect(cluster: &Cluster, rows: &mut Rows) -> Result<()> {
    let service: SocketAddr = cluster
        .kubectl(&["get", "service", "echo", "-o", "jsonpath={.spec.clusterIP}:80"])?
        .parse()
        .context("ClusterIP")?;
    // All pods that the Service leads to, so that both ways meet the same servers.
    let pods = cluster.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=echo",
        "-o",
        "jsonpath={range .items[*]}{.status.podIP}:8080 {end}",
    ])?;
    let targets: Vec<String> =
        std::iter::once(service.to_string()).chain(pods.split_whitespace().map(str::to_owned)).collect();
    let (mut through, mut straight, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..5 {
        let name = format!("connect-{round}");
        let mut args = vec!["run", &name, "--image=skep-echo:v1", "--restart=Never", "--", "connect"];
        args.extend(targets.iter().flat_map(|target| ["--target", target]));
        cluster.kubectl(&args)?;
        let text = poll("the connect pod", WITHIN, || {
            let phase = cluster.kubectl(&["get", "pod", &name, "-o", "jsonpath={.status.phase}"])?;
            if phase == "Succeeded" { cluster.kubectl(&["logs", &name]).map(Some) } else { Ok(None) }
        })?;
        let measured: Vec<Connect> = serde_json::from_str(text.trim()).with_context(|| format!("parse {text}"))?;
        let (first, rest) = measured.split_first().context("no target was measured")?;
        let direct = rest.iter().map(|row| row.p50_us).sum::<f64>() / rest.len().max(1) as f64;
        through.push(first.p50_us);
        straight.push(direct);
        ratio.push(first.p50_us / direct);
    }
    rows.add(SUBJECT, "connect_cluster_ip_p50", "us", through);
    rows.add("direct", "connect_pod_p50", "us", straight);
    rows.add(SUBJECT, "connect_p50_over_direct", "ratio", ratio);
    Ok(())
}

/// The daemon's own histogram.
fn programming_ms(cluster: &Cluster, key: &str) -> Result<Vec<f64>> {
    let status: Value = serde_json::from_str(&cluster.skep_net(&["status", "-o", "json"])?)?;
    Ok(status["programming"][key].as_f64().into_iter().collect())
}
