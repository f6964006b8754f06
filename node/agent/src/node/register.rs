//! Registration: the Node is created, or an older one is taken over.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::Facts;
use super::status::addresses;
use crate::Options;

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(7);

/// The range that pods of this node use belongs to another one.
#[derive(Debug, thiserror::Error)]
#[error("the pod range {range} of node {node} belongs to another node by now; started anew, it gets another one")]
pub struct RangeTaken {
    node: String,
    range: String,
}

/// Tries until the API has the Node as it should be, and returns it.
///
/// # Errors
/// The range that the options name is another node's.
pub(crate) async fn run(client: &kube::Client, options: &Options, facts: &Facts) -> Result<Node, RangeTaken> {
    let api = Api::<Node>::all(client.clone());
    let mut retry = RETRY_MIN;
    loop {
        match register(&api, options, facts).await {
            Ok(node) => return Ok(node),
            Err(kube::Error::Api(status)) if is_range_taken(&status) && !options.pod_cidrs.is_empty() => {
                return Err(RangeTaken { node: options.node_name.clone(), range: options.pod_cidrs.join(",") });
            }
            Err(error) => tracing::info!(node = options.node_name, %error, "node not registered yet"),
        }
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(RETRY_MAX);
    }
}

fn is_range_taken(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 422 && causes.into_iter().any(|cause| cause.field.starts_with("spec.podCIDRs"))
}

async fn register(api: &Api<Node>, options: &Options, facts: &Facts) -> Result<Node, kube::Error> {
    match api.get_opt(&options.node_name).await? {
        Some(node) => adopt(api, node, options, facts).await,
        None => api.create(&PostParams::default(), &node(options, facts)).await,
    }
}

fn labels(options: &Options, facts: &Facts) -> BTreeMap<String, String> {
    let mut labels = options.labels.clone();
    for (key, value) in [
        ("kubernetes.io/hostname", options.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", facts.arch),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", facts.arch),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

fn node(options: &Options, facts: &Facts) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(options.node_name.clone()),
            labels: Some(labels(options, facts)),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            pod_cidr: options.pod_cidrs.first().cloned(),
            pod_cidrs: Some(options.pod_cidrs.clone()).filter(|cidrs| !cidrs.is_empty()),
            taints: Some(options.register_taints.clone()).filter(|taints| !taints.is_empty()),
            ..NodeSpec::default()
        }),
        // Before anything else is known of it: others reach it there, and its certificate is for these.
        status: Some(NodeStatus { addresses: Some(addresses(options)), ..NodeStatus::default() }),
    }
}

/// An older Node keeps what others have set; its labels are brought up to date.
async fn adopt(api: &Api<Node>, held: Node, options: &Options, facts: &Facts) -> Result<Node, kube::Error> {
    let wanted = labels(options, facts);
    let own = held.metadata.labels.clone().unwrap_or_default();
    let mut patch = json!({});
    if wanted.iter().any(|(key, value)| own.get(key) != Some(value)) {
        patch["metadata"] = json!({"labels": wanted});
    }
    let has_cidr = held.spec.as_ref().is_some_and(|spec| spec.pod_cidr.is_some());
    if !has_cidr && !options.pod_cidrs.is_empty() {
        patch["spec"] = json!({"podCIDR": options.pod_cidrs.first(), "podCIDRs": options.pod_cidrs});
    }
    if patch == json!({}) {
        return Ok(held);
    }
    api.patch(&options.node_name, &PatchParams::default(), &Patch::Merge(patch)).await
}
