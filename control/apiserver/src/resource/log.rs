//! A container's log, streamed from the node that runs it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Context;
use crate::call::Call;
use crate::object::Cached;
use crate::response::{self, Body, BoxError};
use crate::status::ApiError;
use crate::write::Target;

/// What of `PodLogOptions` the node is asked for.
const OPTIONS: [&str; 7] = ["follow", "tailLines", "sinceSeconds", "sinceTime", "timestamps", "previous", "limitBytes"];

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A way to nodes: TLS with a client certificate that they trust.
#[derive(Clone)]
pub(crate) struct KubeletClient {
    connector: TlsConnector,
}

impl KubeletClient {
    pub(crate) fn new(tls: Arc<rustls::ClientConfig>) -> Self {
        Self { connector: TlsConnector::from(tls) }
    }

    async fn get(&self, address: IpAddr, port: u16, path: &str) -> Result<Response<Incoming>, BoxError> {
        let stream = TcpStream::connect((address, port)).await?;
        let stream = self.connector.connect(ServerName::from(address), stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the answer's body ends or is dropped.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to a node broke");
            }
        });
        let host = std::net::SocketAddr::new(address, port).to_string();
        let request = Request::get(path).header(header::HOST, host).body(Empty::<bytes::Bytes>::new())?;
        Ok(sender.send_request(request).await?)
    }
}

pub(super) async fn stream(context: &Context<'_>, target: &Target, call: Call) -> Result<Response<Body>, ApiError> {
    let pod = context.writer.current(target).await?.value();
    let container = container(target, &pod, call.query.get("container"))?;
    let Some(node) = text(&pod, "/spec/nodeName") else {
        let why = format!("pod {} does not have a host assigned", target.name);
        return Err(ApiError::bad_request(why));
    };
    let (Some(kubelet), Some(nodes)) = (context.kubelet, context.nodes) else {
        return Err(ApiError::unavailable("this server has no credentials for nodes, which keep the logs"));
    };
    let node = Target { served: nodes.clone(), namespace: None, name: node };
    let (address, port) = endpoint(&node, &*context.writer.current(&node).await?)?;
    let path = path(target, &container, &call);
    let asked = tokio::time::timeout(CONNECT_TIMEOUT, kubelet.get(address, port, &path)).await;
    let cannot =
        |why: &dyn std::fmt::Display| ApiError::internal(&format!("Get \"https://{address}:{port}{path}\": {why}"));
    let answer = asked.map_err(|_| cannot(&"the node does not answer"))?.map_err(|error| cannot(&error))?;
    if answer.status() != StatusCode::OK {
        return Err(refused(answer).await);
    }
    let stop = call.stop.clone();
    let body = answer.into_body().map_err(BoxError::from);
    let chunks = futures::StreamExt::take_until(http_body_util::BodyDataStream::new(body), async move {
        stop.cancelled().await;
    });
    Ok(response::with_type(StatusCode::OK, "text/plain", response::streamed(chunks)))
}

/// What the node says went wrong.
async fn refused(answer: Response<Incoming>) -> ApiError {
    const MESSAGE_BYTES_MAX: usize = 4_096;
    let code = answer.status();
    let body = http_body_util::Limited::new(answer.into_body(), MESSAGE_BYTES_MAX).collect().await;
    let text = body.map(|b| String::from_utf8_lossy(&b.to_bytes()).trim().to_owned()).unwrap_or_default();
    match code {
        StatusCode::BAD_REQUEST => ApiError::bad_request(text),
        StatusCode::NOT_FOUND => ApiError::new(code, "NotFound", text),
        _ => ApiError::internal(&format!("the node answered {code}: {text}")),
    }
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned)
}

fn names<'a>(pod: &'a Value, field: &str) -> Vec<&'a str> {
    let list = pod.pointer(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|c| c.get("name").and_then(Value::as_str)).collect()
}

/// The container asked for, or the only one.
fn container(target: &Target, pod: &Value, asked: Option<&str>) -> Result<String, ApiError> {
    let containers = names(pod, "/spec/containers");
    let inits = names(pod, "/spec/initContainers");
    let ephemeral = names(pod, "/spec/ephemeralContainers");
    let name = &target.name;
    match asked {
        Some(asked) if containers.iter().chain(&inits).chain(&ephemeral).any(|c| *c == asked) => Ok(asked.to_owned()),
        Some(asked) => Err(ApiError::bad_request(format!("container {asked} is not valid for pod {name}"))),
        None => match (containers.as_slice(), inits.is_empty()) {
            ([only], _) => Ok((*only).to_owned()),
            ([], _) => Err(ApiError::bad_request(format!("a container name must be specified for pod {name}"))),
            (many, none) => {
                let mut message =
                    format!("a container name must be specified for pod {name}, choose one of: [{}]", many.join(" "));
                if !none {
                    message.push_str(&format!(" or one of the init containers: [{}]", inits.join(" ")));
                }
                Err(ApiError::bad_request(message))
            }
        },
    }
}

/// Where the node's kubelet listens.
fn endpoint(node: &Target, object: &Cached) -> Result<(IpAddr, u16), ApiError> {
    let value = object.value();
    let addresses = value.pointer("/status/addresses").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let internal = addresses.iter().find(|a| a.get("type").and_then(Value::as_str) == Some("InternalIP"));
    let address = internal.and_then(|a| a.get("address")).and_then(Value::as_str).and_then(|a| a.parse().ok());
    let port = value.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    match (address, port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0)) {
        (Some(address), Some(port)) => Ok((address, port)),
        _ => Err(ApiError::internal(&format!(
            "node \"{}\" has no InternalIP or no kubelet port in its status",
            node.name
        ))),
    }
}

fn path(target: &Target, container: &str, call: &Call) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let namespace = target.namespace.as_deref().unwrap_or_default();
    // Names of namespaces, pods and containers need no encoding in a path.
    let mut path = format!("/containerLogs/{namespace}/{}/{container}", target.name);
    let mut separator = '?';
    for option in OPTIONS {
        if let Some(value) = call.query.get(option) {
            path.push_str(&format!("{separator}{option}={}", encode(value)));
            separator = '&';
        }
    }
    path
}
