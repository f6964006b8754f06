//! The Node's status.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use skep_cri::v1;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Facts;
use super::facts::pressure;
use super::register::{RangeTaken, run as register};
use crate::Options;
use crate::context::Shared;

const CHECK: Duration = Duration::from_secs(10);
/// While the node is not ready, so that it becomes so at once.
const CHECK_UNREADY: Duration = Duration::from_millis(250);
/// A status that has not changed is written anyhow after this time.
const REPORT: SignedDuration = SignedDuration::from_secs(300);
const IMAGES_MAX: usize = 50;
const MEMORY_RESERVED_BYTES: i64 = 100 << 20;

/// Writes the status until stopped.
pub(crate) struct Reporter {
    pub(crate) context: Shared,
    pub(crate) facts: Facts,
    pub(crate) node: Node,
    pub(crate) port: i32,
    /// Told when the Node was found missing.
    pub(crate) gone: Arc<Notify>,
    /// The Node's UID of the moment, for those who own things in its name.
    pub(crate) uid: watch::Sender<String>,
}

/// What a container can ask for at most, as the node tells it.
pub(crate) fn allocatable(options: &Options, facts: &Facts) -> BTreeMap<String, Quantity> {
    resources(options, facts, (facts.memory_bytes - MEMORY_RESERVED_BYTES).max(0), facts.storage_bytes / 10 * 9)
}

fn resources(options: &Options, facts: &Facts, memory: i64, storage: u64) -> BTreeMap<String, Quantity> {
    [
        ("cpu", facts.cpus.to_string()),
        ("memory", format!("{}Ki", memory / 1024)),
        ("ephemeral-storage", format!("{}Ki", storage / 1024)),
        ("pods", options.pods_max.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), Quantity(value)))
    .collect()
}

/// What the runtime says of itself.
struct Health {
    ready: bool,
    reason: String,
    message: String,
    version: String,
    images: Vec<ContainerImage>,
}

impl Reporter {
    ///
    /// # Errors
    /// The Node was deleted, and its range is another's by now.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), RangeTaken> {
        let mut written = Timestamp::UNIX_EPOCH;
        let mut was_ready = false;
        loop {
            let health = self.observe().await;
            let now = Timestamp::now();
            let status = self.status(&health, now);
            if !same(self.node.status.as_ref(), &status) || now.duration_since(written) >= REPORT {
                match self.write(&status).await {
                    Ok(node) => {
                        self.node = node;
                        written = now;
                        self.tell(was_ready, health.ready);
                        was_ready = health.ready;
                    }
                    Err(error) => tracing::warn!(%error, "node status not written"),
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(if was_ready { CHECK } else { CHECK_UNREADY }) => {}
                () = self.gone.notified() => {
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        registered = self.register() => registered?,
                    }
                    (written, was_ready) = (Timestamp::UNIX_EPOCH, false);
                }
            }
        }
    }

    async fn register(&mut self) -> Result<(), RangeTaken> {
        let options = &self.context.options;
        self.node = register(&self.context.client, options, &self.facts).await?;
        tracing::info!(node = options.node_name, "the Node was deleted; it is registered again");
        self.uid.send_replace(self.node.metadata.uid.clone().unwrap_or_default());
        Ok(())
    }

    fn tell(&self, before: bool, now: bool) {
        if before != now {
            let name = &self.context.options.node_name;
            let reason = if now { "NodeReady" } else { "NodeNotReady" };
            self.context.recorder.node(name, reason, format!("Node {name} status is now: {reason}"));
            tracing::info!(node = name, ready = now, "node status");
        }
    }

    async fn observe(&self) -> Health {
        let cri = &self.context.cri;
        let mut health = Health {
            ready: false,
            reason: "KubeletNotReady".to_owned(),
            message: String::new(),
            version: String::new(),
            images: Vec::new(),
        };
        match cri.status(v1::StatusRequest::default()).await {
            Ok(answer) => {
                let conditions = answer.status.unwrap_or_default().conditions;
                let bad: Vec<String> = conditions
                    .iter()
                    .filter(|condition| !condition.status)
                    .map(|condition| {
                        let (reason, message) = (&condition.reason, &condition.message);
                        let what = if condition.r#type == "NetworkReady" {
                            "container runtime network not ready"
                        } else {
                            "container runtime not ready"
                        };
                        format!("{what}: {}=false reason:{reason} message:{message}", condition.r#type)
                    })
                    .collect();
                health.ready = bad.is_empty() && !conditions.is_empty();
                health.message = bad.join(", ");
            }
            Err(error) => health.message = format!("container runtime is down: {error}"),
        }
        if health.ready {
            health.reason = "KubeletReady".to_owned();
            health.message = "kubelet is posting ready status".to_owned();
        }
        if let Ok(version) = cri.version(v1::VersionRequest { version: "v1".to_owned() }).await {
            health.version = format!("{}://{}", version.runtime_name, version.runtime_version.trim_start_matches('v'));
        }
        if let Ok(listed) = cri.list_images(v1::ListImagesRequest::default()).await {
            let mut images: Vec<_> = listed.images.into_iter().map(image).collect();
            images.sort_by_key(|image| std::cmp::Reverse(image.size_bytes));
            images.truncate(IMAGES_MAX);
            health.images = images;
        }
        health
    }

    fn status(&self, health: &Health, now: Timestamp) -> NodeStatus {
        let options = &self.context.options;
        let facts = &self.facts;
        let pressure = pressure(&options.root_dir);
        let held = self.node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        let condition = |type_: &str, status: bool, reason: &str, message: &str| {
            let status = if status { "True" } else { "False" };
            let before = held.iter().find(|condition| condition.type_ == type_ && condition.status == status);
            NodeCondition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message.to_owned()),
                last_heartbeat_time: Some(Time(now)),
                last_transition_time: before
                    .and_then(|condition| condition.last_transition_time.clone())
                    .or(Some(Time(now))),
            }
        };
        let pressed = |type_: &str, low: bool, what: [&str; 2], text: [&str; 2]| {
            let index = usize::from(low);
            condition(type_, low, what[index], &format!("kubelet has {}", text[index]))
        };
        NodeStatus {
            // Servers of other makes wrap the streams themselves for nodes that do not say so.
            declared_features: Some(vec!["ExtendWebSocketsToKubelet".to_owned()]),
            addresses: Some(addresses(options)),
            capacity: Some(resources(options, facts, facts.memory_bytes, facts.storage_bytes)),
            allocatable: Some(allocatable(options, facts)),
            conditions: Some(vec![
                pressed(
                    "MemoryPressure",
                    pressure.memory,
                    ["KubeletHasSufficientMemory", "KubeletHasInsufficientMemory"],
                    ["sufficient memory available", "insufficient memory available"],
                ),
                pressed(
                    "DiskPressure",
                    pressure.disk,
                    ["KubeletHasNoDiskPressure", "KubeletHasDiskPressure"],
                    ["no disk pressure", "disk pressure"],
                ),
                pressed(
                    "PIDPressure",
                    pressure.pids,
                    ["KubeletHasSufficientPID", "KubeletHasInsufficientPID"],
                    ["sufficient PID available", "insufficient PID available"],
                ),
                condition("Ready", health.ready, &health.reason, &health.message),
            ]),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: (self.port > 0).then_some(DaemonEndpoint { port: self.port }),
            }),
            images: Some(health.images.clone()),
            node_info: Some(NodeSystemInfo {
                machine_id: facts.machine_id.clone(),
                system_uuid: facts.system_uuid.clone(),
                boot_id: facts.boot_id.clone(),
                kernel_version: facts.kernel.clone(),
                os_image: facts.os_image.clone(),
                container_runtime_version: health.version.clone(),
                kubelet_version: options.version.clone(),
                kube_proxy_version: String::new(),
                operating_system: "linux".to_owned(),
                architecture: facts.arch.to_owned(),
                ..NodeSystemInfo::default()
            }),
            ..NodeStatus::default()
        }
    }

    async fn write(&self, status: &NodeStatus) -> Result<Node, kube::Error> {
        let api = Api::<Node>::all(self.context.client.clone());
        let mut patch = json!({"status": status});
        // They merge by type, of which a node with addresses of both families has two alike.
        if let Some(addresses) = patch.pointer_mut("/status/addresses").and_then(|list| list.as_array_mut()) {
            addresses.push(json!({"$patch": "replace"}));
        }
        let patch = Patch::Strategic(patch);
        api.patch_status(&self.context.options.node_name, &PatchParams::default(), &patch).await
    }
}

/// Where the node is reached.
pub(crate) fn addresses(options: &Options) -> Vec<NodeAddress> {
    let own = options.node_ips();
    let own = own.iter().map(|ip| address("InternalIP", ip.to_string()));
    own.chain([address("Hostname", options.node_name.clone())]).collect()
}

fn address(type_: &str, address: String) -> NodeAddress {
    NodeAddress { type_: type_.to_owned(), address }
}

fn image(image: v1::Image) -> ContainerImage {
    ContainerImage {
        names: Some(image.repo_digests.into_iter().chain(image.repo_tags).collect()),
        size_bytes: i64::try_from(image.size).ok(),
    }
}

/// Whether two statuses say the same, the time of the last heartbeat aside.
fn same(held: Option<&NodeStatus>, new: &NodeStatus) -> bool {
    let Some(held) = held else { return false };
    let plain = |status: &NodeStatus| {
        let mut conditions = status.conditions.clone().unwrap_or_default();
        conditions.retain(|condition| OWNED.contains(&condition.type_.as_str()));
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        conditions.iter_mut().for_each(|condition| condition.last_heartbeat_time = None);
        let status = NodeStatus { conditions: None, ..status.clone() };
        (serde_json::to_value(&status).ok(), serde_json::to_value(&conditions).ok())
    };
    // What others have added to the status is theirs.
    let own = NodeStatus {
        conditions: held.conditions.clone(),
        addresses: held.addresses.clone(),
        capacity: held.capacity.clone(),
        allocatable: held.allocatable.clone(),
        daemon_endpoints: held.daemon_endpoints.clone(),
        images: held.images.clone(),
        node_info: held.node_info.clone(),
        ..NodeStatus::default()
    };
    plain(&own) == plain(new)
}

const OWNED: [&str; 4] = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"];
