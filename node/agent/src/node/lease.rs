//! The node's heartbeat.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Api, PostParams};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::context::Shared;

const NAMESPACE: &str = "kube-node-lease";
const RENEW: Duration = Duration::from_secs(10);
const DURATION_S: i32 = 40;
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(7);

/// Renews the Lease, which the Node of that UID owns, until `stop`.
pub(crate) async fn run(context: Shared, node_uid: watch::Receiver<String>, stop: CancellationToken) {
    let api = Api::<Lease>::namespaced(context.client.clone(), NAMESPACE);
    let mut held: Option<Lease> = None;
    let mut retry = RETRY_MIN;
    loop {
        let uid = node_uid.borrow().clone();
        let wait = match renew(&api, &context.options.node_name, &uid, held.take()).await {
            Ok(lease) => {
                held = Some(lease);
                retry = RETRY_MIN;
                RENEW
            }
            Err(error) => {
                tracing::debug!(%error, "lease not renewed");
                retry = (retry * 2).min(RETRY_MAX);
                retry
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn renew(api: &Api<Lease>, node: &str, node_uid: &str, held: Option<Lease>) -> Result<Lease, kube::Error> {
    let held = match held {
        Some(lease) => Some(lease),
        None => api.get_opt(node).await?,
    };
    let now = Some(MicroTime(Timestamp::now()));
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.to_owned(),
        uid: node_uid.to_owned(),
        ..OwnerReference::default()
    };
    let Some(mut lease) = held else {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(node.to_owned()),
                namespace: Some(NAMESPACE.to_owned()),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(node.to_owned()),
                lease_duration_seconds: Some(DURATION_S),
                renew_time: now,
                ..LeaseSpec::default()
            }),
        };
        return api.create(&PostParams::default(), &lease).await;
    };
    // The Node may have been made anew.
    lease.metadata.owner_references = Some(vec![owner]);
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(node.to_owned());
    spec.lease_duration_seconds = Some(DURATION_S);
    spec.renew_time = now;
    api.replace(node, &PostParams::default(), &lease).await
}
