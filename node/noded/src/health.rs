//! What load balancers ask a node: whether a Service that keeps to its own node has backends here (`healthCheckNodePort`).
//!
//! One task and one listener for each port that is asked for; both go with the Service.

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use skep_netmodel::{HealthCheck, ObjectName};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::{CancellationToken, DropGuard};

const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");
const BACKLOG: u32 = 128;

/// The ports that are served, by Service.
#[derive(Default)]
pub(crate) struct HealthPorts {
    served: HashMap<ObjectName, Served>,
}

struct Served {
    port: u16,
    local: Arc<AtomicUsize>,
    _stop: DropGuard,
}

impl HealthPorts {
    /// A Service's answer changed; `None` where nobody asks any more. A port that cannot be had is logged: the load balancer then takes the
    /// node for one without backends.
    pub(crate) fn set(&mut self, service: &ObjectName, check: Option<HealthCheck>) {
        let Some(check) = check else {
            self.served.remove(service);
            return;
        };
        if let Some(served) = self.served.get(service).filter(|served| served.port == check.port) {
            served.local.store(check.local, Ordering::Relaxed);
            return;
        }
        self.served.remove(service);
        let listener = match listen(check.port) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%service, port = check.port, %error, "the health-check node port cannot be served");
                return;
            }
        };
        let local = Arc::new(AtomicUsize::new(check.local));
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, service.clone(), Arc::clone(&local), stop.clone()));
        self.served.insert(service.clone(), Served { port: check.port, local, _stop: stop.drop_guard() });
    }
}

/// At every address of the node, of both families. A listener that has just gone must not keep the port.
fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
    socket.listen(BACKLOG)
}

async fn serve(listener: TcpListener, service: ObjectName, local: Arc<AtomicUsize>, stop: CancellationToken) {
    let answer = move || {
        let (service, local) = (service.clone(), Arc::clone(&local));
        async move { answer(&service, local.load(Ordering::Relaxed)) }
    };
    let served = axum::serve(listener, Router::new().fallback(answer));
    if let Err(error) = served.with_graceful_shutdown(async move { stop.cancelled().await }).await {
        tracing::warn!(%error, "health-check node port");
    }
}

/// The answer that load balancers know from kube-proxy, to any request.
fn answer(service: &ObjectName, local: usize) -> Response {
    let status = if local > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (WEIGHT, local.to_string()),
    ];
    let ObjectName { namespace, name } = service;
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {namespace:?},\n\t\t\"name\": {name:?}\n\t}},\n\t\"localEndpoints\": {local},\n\
         \t\"serviceProxyHealthy\": true\n}}"
    );
    (status, headers, body).into_response()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn ask(port: u16) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    #[tokio::test]
    async fn a_load_balancer_reads_how_many_backends_there_are() {
        let service = ObjectName::new("shop", "web");
        let port = listen(0).unwrap().local_addr().unwrap().port();
        let mut ports = HealthPorts::default();
        for (local, status) in [(2, "200 OK"), (0, "503 Service Unavailable")] {
            ports.set(&service, Some(HealthCheck { port, local }));
            let answer = ask(port).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
            for line in ["content-type: application/json", "x-content-type-options: nosniff"] {
                assert!(head.contains(line), "{head}");
            }
            assert!(head.contains(&format!("x-load-balancing-endpoint-weight: {local}")), "{head}");
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            let expected = serde_json::json!({
                "service": {"namespace": "shop", "name": "web"}, "localEndpoints": local, "serviceProxyHealthy": true,
            });
            assert_eq!(body, expected);
        }
        ports.set(&service, None);
        let gone = async {
            while ask(port).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
    }
}
