//! The way to nodes: each has a server as the kubelet's, which asks for this server's certificate.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use hyper::body::Incoming;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Context;
use crate::object::Cached;
use crate::response::{Body, BoxError};
use crate::status::ApiError;
use crate::write::Target;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of nodes' servers: TLS with a certificate that they trust.
#[derive(Clone)]
pub(crate) struct KubeletClient {
    connector: TlsConnector,
}

impl KubeletClient {
    pub(crate) fn new(tls: Arc<rustls::ClientConfig>) -> Self {
        Self { connector: TlsConnector::from(tls) }
    }

    async fn send(&self, address: SocketAddr, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            skep_upgrade::prepare(&stream);
            self.connector.connect(ServerName::from(address.ip()), stream).await
        };
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect).await;
        let stream = connected.map_err(|_| format!("dial tcp {address}: i/o timeout"))??;
        Ok(skep_upgrade::send(stream, request).await?)
    }
}

/// One node's server.
pub(super) struct Kubelet<'a> {
    client: &'a KubeletClient,
    address: SocketAddr,
}

impl<'a> Kubelet<'a> {
    /// That of the node of a name.
    pub(super) async fn of_node(context: &Context<'a>, name: &str) -> Result<Kubelet<'a>, ApiError> {
        let (Some(client), Some(nodes)) = (context.kubelet, context.nodes) else {
            return Err(ApiError::unavailable("this server has no credentials for nodes"));
        };
        let node = Target { served: nodes.clone(), namespace: None, name: name.to_owned() };
        let address = endpoint(&node, &*context.writer.current(&node).await?)?;
        Ok(Kubelet { client, address })
    }

    /// That of the node on which a pod is.
    pub(super) async fn of_pod(context: &Context<'a>, name: &str, pod: &Value) -> Result<Kubelet<'a>, ApiError> {
        match pod.pointer("/spec/nodeName").and_then(Value::as_str) {
            Some(node) if !node.is_empty() => Self::of_node(context, node).await,
            _ => Err(ApiError::bad_request(format!("pod {name} does not have a host assigned"))),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a request, to a path with its query.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response<Incoming>, BoxError> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path.parse()?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(&self.address.to_string())?);
        self.send(request).await
    }

    /// Makes a request as it is.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        self.client.send(self.address, request).await
    }

    /// A request that got no answer.
    pub(super) fn unreachable(&self, method: &str, path: &str, why: &dyn Display) -> ApiError {
        ApiError::internal(&format!("{method} \"https://{}{path}\": {why}", self.address))
    }
}

/// The container asked for, or the only one of a pod.
pub(super) fn container(name: &str, pod: &Value, asked: Option<&str>) -> Result<String, ApiError> {
    let names = |field: &str| -> Vec<&str> {
        let list = pod.pointer(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|c| c.get("name").and_then(Value::as_str)).collect()
    };
    let containers = names("/spec/containers");
    let all = [names("/spec/initContainers"), containers.clone(), names("/spec/ephemeralContainers")].concat();
    match (asked, containers.as_slice()) {
        (Some(asked), _) if all.contains(&asked) => Ok(asked.to_owned()),
        (Some(asked), _) => Err(ApiError::bad_request(format!("container {asked} is not valid for pod {name}"))),
        (None, [only]) => Ok((*only).to_owned()),
        (None, []) => Err(ApiError::bad_request(format!("a container name must be specified for pod {name}"))),
        (None, _) => {
            let names = all.join(" ");
            let message = format!("a container name must be specified for pod {name}, choose one of: [{names}]");
            Err(ApiError::bad_request(message))
        }
    }
}

/// Where the node's kubelet listens.
fn endpoint(node: &Target, object: &Cached) -> Result<SocketAddr, ApiError> {
    let value = object.value();
    let addresses = value.pointer("/status/addresses").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let internal = addresses.iter().find(|a| a.get("type").and_then(Value::as_str) == Some("InternalIP"));
    let address = internal.and_then(|a| a.get("address")).and_then(Value::as_str);
    let address = address.and_then(|a| a.parse::<IpAddr>().ok());
    let port = value.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    match (address, port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0)) {
        (Some(address), Some(port)) => Ok(SocketAddr::new(address, port)),
        _ => Err(ApiError::internal(&format!(
            "node \"{}\" has no InternalIP or no kubelet port in its status",
            node.name
        ))),
    }
}
