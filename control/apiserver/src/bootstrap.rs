//! What every cluster has from its start.

mod policy;

use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use skep_registry::Registry;

use crate::object::decode;
use crate::options::{Error, Options};
use crate::served::Served;
use crate::status::ApiError;
use crate::write::{self, Asked, Part, Target, Writer};

pub(crate) use self::policy::ensure_policy;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Pods that the cluster itself cannot do without, and how they rank among all others.
const PRIORITIES: [(&str, i32, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// How often what was removed or changed is put right, as upstream does it.
const EVERY: Duration = Duration::from_secs(10);

/// Keeps up what [`ensure`] makes. Does not return.
pub(crate) async fn keep(writer: Arc<Writer>, registry: Arc<Registry>, options: Options) {
    loop {
        tokio::time::sleep(EVERY).await;
        if let Err(error) = ensure(&writer, &registry, &options).await {
            tracing::warn!(%error, "what every cluster has is not put right");
        }
    }
}

/// Creates the system namespaces, priority classes and range of addresses and, if an address is advertised, the Service `kubernetes` with its endpoint.
pub(crate) async fn ensure(writer: &Writer, registry: &Arc<Registry>, options: &Options) -> Result<(), Error> {
    for name in NAMESPACES {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        ensure_object(writer, registry, ("", "namespaces"), &object, false).await?;
    }
    for (name, value, description) in PRIORITIES {
        let object = json!({
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "description": description,
        });
        ensure_object(writer, registry, ("scheduling.k8s.io", "priorityclasses"), &object, false).await?;
    }
    let cidrs: Vec<_> = options.service_cidrs.iter().map(|range| range.trunc().to_string()).collect();
    let range = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": cidrs},
    });
    ensure_object(writer, registry, ("networking.k8s.io", "servicecidrs"), &range, false).await?;
    let Some(address) = options.advertise else { return Ok(()) };
    ensure_object(writer, registry, ("", "services"), &service(options, address), false).await?;
    ensure_object(writer, registry, ("", "endpoints"), &endpoints(address), true).await?;
    ensure_object(writer, registry, ("discovery.k8s.io", "endpointslices"), &endpoint_slice(address), true).await
}

fn service(options: &Options, address: SocketAddr) -> Value {
    // The first address of the range is the API server's, by convention; whatever was asked for first in an older
    // cluster stays.
    let cluster_ip = options.service_cidrs.first().and_then(own_address);
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": cluster_ip,
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": address.port()}],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
    })
}

/// The address of a range that is the API server's: the first that a host may have.
#[must_use]
pub fn own_address(range: &ipnet::IpNet) -> Option<IpAddr> {
    // The first one of IPv6 is its routers'.
    range.hosts().find(|address| *address != range.network() || range.prefix_len() == range.max_prefix_len())
}

fn endpoints(address: SocketAddr) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": address.ip()}],
            "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
        }],
    })
}

fn endpoint_slice(address: SocketAddr) -> Value {
    let family = match address.ip() {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": family,
        "endpoints": [{"addresses": [address.ip()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
    })
}

/// Creates an object unless it is there; then it is replaced if it must say what is so now. A registry without its
/// resource leaves it out.
async fn ensure_object(
    writer: &Writer,
    registry: &Arc<Registry>,
    (group, plural): (&'static str, &'static str),
    object: &Value,
    replace: bool,
) -> Result<(), Error> {
    let Some(served) = Served::find(registry, group, "v1", plural) else { return Ok(()) };
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let target =
        Target { namespace: text("/metadata/namespace"), name: text("/metadata/name").unwrap_or_default(), served };
    let done = ensure_target(writer, &target, object, replace).await;
    done.map_err(|error| Error::Bootstrap { kind: plural, name: target.name.clone(), reason: error.to_string() })
}

async fn ensure_target(writer: &Writer, target: &Target, object: &Value, replace: bool) -> Result<(), ApiError> {
    let bytes = object.to_string();
    let decoded = decode(&target.served, bytes.as_bytes())
        .ok_or_else(|| ApiError::internal(&"it is not of the registered type"))?;
    let asked = Asked::by_server();
    match writer.current(target).await {
        Ok(_) if replace => {
            let mut change = |_: &_, _: &_| Ok(decoded.clone_object());
            write::update(writer, &asked, target, Part::Main, &mut change).await.map(|_| ())
        }
        Ok(_) => Ok(()),
        Err(error) if error.code() == http::StatusCode::NOT_FOUND => {
            let namespace = target.namespace.as_deref();
            match write::create(writer, &asked, &target.served, namespace, decoded).await {
                // Another server was quicker.
                Err(error) if error.code() == http::StatusCode::CONFLICT => Ok(()),
                created => created.map(|_| ()),
            }
        }
        Err(error) => Err(error),
    }
}
