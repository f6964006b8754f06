//! A control plane in this process, with a kubelet that only says that all is well.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::{from_value, json};
use skep_apiserver::ApiServer;
use skep_controllers::CancellationToken;
use tempfile::TempDir;
use tokio::task::JoinSet;

pub(crate) struct Cluster {
    server: ApiServer,
    store: skep_raft::Store,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    _dir: TempDir,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let store = skep_raft::Store::open(skep_raft::Options::new(dir.path(), 1)).await.unwrap();
        let registry = Arc::new(skep_registry::Registry::builtin());
        let server = ApiServer::start(skep_apiserver::Options::new(), registry, store.clone()).await.unwrap();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let client = server.client("system:admin", &["system:masters"]);
        let range = skep_controllers::PodRange::new("10.42.0.0/22".parse().unwrap(), 24).unwrap();
        let options = skep_controllers::Options {
            ca_pem: Some("a certificate".to_owned()),
            pod_ranges: vec![range],
            ..Default::default()
        };
        // As in a cluster: what they may do is what their roles say.
        let (own, token) = (server.client("system:kube-controller-manager", &[]), stop.clone());
        tasks.spawn(async move { skep_controllers::run(own, options, token).await.unwrap() });
        let (own, token) = (server.client("system:kube-scheduler", &[]), stop.clone());
        tasks.spawn(async move { skep_scheduler::run(own, skep_scheduler::Options::default(), token).await.unwrap() });
        tasks.spawn(play_kubelet(client, stop.clone()));
        let cluster = Self { server, store, stop, tasks, _dir: dir };
        cluster.add_node("small", "8").await;
        cluster
    }

    pub(crate) fn client(&self) -> Client {
        self.server.client("system:admin", &["system:masters"])
    }

    pub(crate) async fn add_node(&self, name: &str, cpu: &str) {
        let nodes: Api<Node> = Api::all(self.client());
        let node: Node = from_value(json!({"metadata": {"name": name}})).unwrap();
        nodes.create(&PostParams::default(), &node).await.unwrap();
        let resources = json!({"cpu": cpu, "memory": "8Gi", "pods": "110"});
        let ready = json!([{"type": "Ready", "status": "True", "reason": "KubeletReady"}]);
        let status = json!({"status": {"allocatable": resources, "capacity": resources, "conditions": ready}});
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.server.shutdown();
        self.store.shutdown().await.unwrap();
    }
}

/// Waits until a condition holds, for at most 30 s.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let all = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while !holds().await {
            tick.tick().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), all).await.is_ok(), "not in time: {what}");
}

async fn play_kubelet(client: Client, stop: CancellationToken) {
    let pods: Api<Pod> = Api::all(client.clone());
    let mut events = std::pin::pin!(watcher(pods, watcher::Config::default()).default_backoff().applied_objects());
    let mut number = 1;
    loop {
        let pod = tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => event,
        };
        let Some(Ok(pod)) = pod else { continue };
        let bound = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        let running = pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
        let api: Api<Pod> = Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap());
        let name = pod.metadata.name.as_deref().unwrap();
        // Pods come and go meanwhile; what fails for that reason comes with the next event.
        if pod.metadata.deletion_timestamp.is_some() {
            let _ = api.delete(name, &DeleteParams::default().grace_period(0)).await;
        } else if bound && !running {
            number += 1;
            let ip = format!("10.42.0.{number}");
            let ready = json!([
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ]);
            let status =
                json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": ready}});
            let _ = api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await;
        }
    }
}
