//! An API server that has one Service with one EndpointSlice and two pods in a namespace, and nothing else.

use std::net::Ipv4Addr;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio_util::bytes::Bytes;

/// Where the pods are.
const NAMESPACE: &str = "test";

type Answer = Response<BoxBody<Bytes, std::io::Error>>;

/// A client of it.
pub(crate) fn client(cluster_ip: Ipv4Addr, pod_ip: Ipv4Addr) -> kube::Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = answer(&request, cluster_ip, pod_ip);
        async move { Ok::<_, std::io::Error>(answer) }
    });
    kube::Client::new(service, "default")
}

fn answer(request: &Request<Body>, cluster_ip: Ipv4Addr, pod_ip: Ipv4Addr) -> Answer {
    let list = match request.uri().path() {
        "/api/v1/services" => list("v1", "ServiceList", &[service(cluster_ip)]),
        "/api/v1/namespaces" => list("v1", "NamespaceList", &[json!({ "metadata": { "name": NAMESPACE } })]),
        "/api/v1/pods" => list("v1", "PodList", &["a", "b"].map(pod)),
        "/apis/discovery.k8s.io/v1/endpointslices" => {
            list("discovery.k8s.io/v1", "EndpointSliceList", &[slice(pod_ip)])
        }
        "/apis/networking.k8s.io/v1/networkpolicies" => list("networking.k8s.io/v1", "NetworkPolicyList", &[]),
        _ => {
            let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503,
                "reason": "ServiceUnavailable", "message": "not served" });
            return respond(StatusCode::SERVICE_UNAVAILABLE, &status);
        }
    };
    if request.uri().query().is_some_and(|query| query.contains("watch=")) {
        // Nothing ever changes.
        let body = http_body_util::StreamBody::new(futures::stream::pending::<Result<_, std::io::Error>>());
        return Response::new(body.boxed());
    }
    respond(StatusCode::OK, &list)
}

fn respond(status: StatusCode, value: &Value) -> Answer {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed();
    Response::builder().status(status).header("content-type", "application/json").body(body).unwrap()
}

fn list(version: &str, kind: &str, items: &[Value]) -> Value {
    json!({ "apiVersion": version, "kind": kind, "metadata": { "resourceVersion": "7" }, "items": items })
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": NAMESPACE, "resourceVersion": "4" },
        "spec": { "nodeName": "a-node", "containers": [] },
    })
}

fn service(cluster_ip: Ipv4Addr) -> Value {
    json!({
        "metadata": { "name": "web", "namespace": "default", "resourceVersion": "5" },
        "spec": { "type": "ClusterIP", "clusterIP": cluster_ip, "clusterIPs": [cluster_ip],
            "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080 }] },
    })
}

fn slice(pod_ip: Ipv4Addr) -> Value {
    json!({
        "metadata": { "name": "web-x", "namespace": "default", "resourceVersion": "6",
            "labels": { "kubernetes.io/service-name": "web" } },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": [pod_ip], "conditions": { "ready": true, "serving": true, "terminating": false } }],
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
    })
}
