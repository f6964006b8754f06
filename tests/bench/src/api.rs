//! What is measured, in order.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::report::row;
use crate::server::Server;
use crate::{Args, baseline, fanout, load, store};

const MIB: f64 = 1024.0 * 1024.0;
const LISTS: usize = 5;
/// Reads that are not counted, before those that are.
const WARM_UP: usize = 500;
/// Time for what a start or many writes leave to be done.
const SETTLE: Duration = Duration::from_secs(3);
const WITHIN: Duration = Duration::from_secs(30);
const QUOTA_CREATES: usize = 2_000;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// A kind whose objects are made, read, changed and listed.
#[derive(Clone, Copy)]
struct Kind {
    subject: &'static str,
    path: &'static str,
    body: fn(usize, &str) -> Value,
}

impl Kind {
    fn one(self, number: usize) -> String {
        format!("{}/bench-{number}", self.path)
    }

    fn write(self, method: Method, number: usize, round: &str) -> (Method, String, Bytes) {
        let path = if method == Method::POST { self.path.to_owned() } else { self.one(number) };
        (method, path, (self.body)(number, round).to_string().into())
    }
}

/// The store, a server's start, requests, watches, memory.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let server = Server::start(&args.skep).await?;
    let endpoint = server.endpoint()?;
    let mut connections = endpoint.connect_all(args.connections).await?;
    settle(&mut connections[0]).await?;
    row("server", "rss_idle", "MiB", &[server.rss()? / MIB]);

    let maps = Kind { subject: "configmaps", path: MAPS, body: config_map };
    let pods = Kind { subject: "pods", path: PODS, body: pod };
    for kind in [maps, pods] {
        all_verbs(args, &server, &mut connections, kind).await?;
    }
    by_token(args, &server, &mut connections[0], maps).await?;
    with_quota(&server, &mut connections).await?;
    let change = move |number: usize| maps.write(Method::PUT, 0, &format!("event-{number}"));
    let watch = format!("{MAPS}?watch=true&resourceVersion={}", version(&mut connections[0]).await?);
    fanout::run(&server, &mut connections, args.watchers, args.events, &watch, change).await?;
    drop(connections);

    let mut connections = endpoint.connect_all(args.connections).await?;
    memory(args, &server, &mut connections, pods).await
}

/// Waits until the namespace can take pods, and for what else a start does.
async fn settle(connection: &mut Connection) -> Result<()> {
    let began = Instant::now();
    while connection.read("/api/v1/namespaces/default/serviceaccounts/default").await.is_err() {
        anyhow::ensure!(began.elapsed() < WITHIN, "no default service account");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

async fn all_verbs(args: &Args, server: &Server, connections: &mut [Connection], kind: Kind) -> Result<()> {
    let Kind { subject, path, .. } = kind;
    let all = (0, args.objects);
    let created = load::run(server, connections, all, move |n| kind.write(Method::POST, n, "")).await?;
    let creates = created.rate();
    created.report(subject, "create");
    let stored = connections[0].read(&kind.one(0)).await?;
    let puts = store::put_rate(args.connections, args.objects, stored).await?;
    row("store", &format!("put_rate_{stored}_bytes"), "1/s", &[puts]);
    row(subject, "create_over_put", "ratio", &[creates / puts]);

    let get = move |n: usize| (Method::GET, kind.one(n), Bytes::new());
    load::run(server, connections, (0, WARM_UP.min(args.objects)), get).await?;
    load::run(server, connections, all, get).await?.report(subject, "get");
    load::run(server, connections, all, move |n| kind.write(Method::PUT, n, "again")).await?.report(subject, "update");

    let (len, listed) = lists(&mut connections[0], path).await?;
    let (_, sent) = lists(&mut baseline::start(len).await?.connect().await?, "/").await?;
    let ratios: Vec<f64> = listed.iter().zip(&sent).map(|(list, send)| list / send).collect();
    row(subject, &format!("list_{}", args.objects), "ms", &listed);
    row("send", &format!("{subject}_bytes"), "ms", &sent);
    row(subject, "list_over_send", "ratio", &ratios);
    row(subject, "list_size", "MiB", &[len as f64 / MIB]);
    Ok(())
}

/// Bytes of an answer, and the time that it took each time.
async fn lists(connection: &mut Connection, path: &str) -> Result<(usize, Vec<f64>)> {
    // The first one finds caches cold and windows small.
    let mut len = connection.read(path).await?;
    let mut times = Vec::new();
    for _ in 0..LISTS {
        let began = Instant::now();
        len = connection.read(path).await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok((len, times))
}

/// Reads as a service account, whose token says who asks.
async fn by_token(args: &Args, server: &Server, admin: &mut Connection, kind: Kind) -> Result<()> {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "bench"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    });
    admin.json(Method::POST, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await?;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let answer = admin.json(Method::POST, path, &request).await?;
    let token = answer["status"]["token"].as_str().context("no token")?;
    let connections = server.endpoint_with(token)?.connect_all(args.connections).await?;
    let get = move |n: usize| (Method::GET, kind.one(n), Bytes::new());
    load::run(server, &connections, (0, args.objects), get).await?.report(kind.subject, "get_by_token");
    Ok(())
}

/// Creates where each is charged.
async fn with_quota(server: &Server, connections: &mut [Connection]) -> Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "charged"}});
    connections[0].json(Method::POST, "/api/v1/namespaces", &namespace).await?;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "bench"},
        "spec": {"hard": {"count/secrets": "1000000"}},
    });
    let path = "/api/v1/namespaces/charged/resourcequotas";
    connections[0].json(Method::POST, path, &quota).await?;
    let one = format!("{path}/bench");
    let began = Instant::now();
    while connections[0].json(Method::GET, &one, &Value::Null).await?["status"]["hard"].is_null() {
        anyhow::ensure!(began.elapsed() < WITHIN, "the quota has no status");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let create = |number: usize| {
        let name = format!("bench-{number}");
        let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"a": "YQ=="}});
        (Method::POST, "/api/v1/namespaces/charged/secrets".to_owned(), Bytes::from(body.to_string()))
    };
    load::run(server, connections, (0, QUOTA_CREATES), create).await?.report("secrets", "create_with_quota");
    Ok(())
}

/// The version of the collection now.
async fn version(connection: &mut Connection) -> Result<String> {
    let list = connection.json(Method::GET, &format!("{MAPS}?limit=1"), &Value::Null).await?;
    list["metadata"]["resourceVersion"].as_str().map(str::to_owned).context("a list without a version")
}

/// Memory with as many pods as there are, and with many more, over the bytes that a list of them has.
async fn memory(args: &Args, server: &Server, connections: &mut [Connection], kind: Kind) -> Result<()> {
    tokio::time::sleep(SETTLE).await;
    let (at_first, bytes_at_first) = (server.rss()?, connections[0].read(kind.path).await? as f64);
    row("server", &format!("rss_{}_of_each", args.objects), "MiB", &[at_first / MIB]);
    if args.pods <= args.objects {
        return Ok(());
    }
    let create = move |number| kind.write(Method::POST, number, "again");
    load::run(server, connections, (args.objects, args.pods), create).await?.report(kind.subject, "create_many");
    tokio::time::sleep(SETTLE).await;
    let rss = server.rss()?;
    let bytes = connections[0].read(kind.path).await? as f64;
    row("server", &format!("rss_{}_pods", args.pods), "MiB", &[rss / MIB]);
    row("pods", &format!("list_{}_size", args.pods), "MiB", &[bytes / MIB]);
    row("pods", "memory_over_encoded", "ratio", &[(rss - at_first) / (bytes - bytes_at_first)]);
    Ok(())
}

fn config_map(number: usize, round: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("bench-{number}"), "labels": {"app": "bench"}},
        "data": {"round": round, "text": "x".repeat(256)},
    })
}

/// As a Deployment would make it. No scheduler looks at it, so that none is measured.
fn pod(number: usize, round: &str) -> Value {
    let resources = json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("bench-{number}"),
            "labels": {"app": "bench", "pod-template-hash": "5d9c8b7f66"},
            "annotations": {"example.com/round": round},
        },
        "spec": {
            "schedulerName": "bench", "serviceAccountName": "default", "automountServiceAccountToken": false,
            "containers": [{
                "name": "app", "image": "registry.example.com/app:v1", "args": ["serve", "--port=8080"],
                "ports": [{"name": "http", "containerPort": 8080}],
                "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
                "resources": resources,
            }],
        },
    })
}
