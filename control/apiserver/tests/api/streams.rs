//! Connections that leave HTTP: to a node, and as WebSockets. The node is one of the test's own, which says what it was asked.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use skep_apiserver::{ApiServer, Options};
use skep_raft::Store;
use skep_registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::harness::{SOON, config_map};
use crate::pki::Pki;

type Body = Full<bytes::Bytes>;

/// A server with a listener, and a node whose server answers every request: upgrades with an echo, others with what was asked.
struct Site {
    api: ApiServer,
    address: SocketAddr,
    connector: TlsConnector,
    _stop: tokio_util::sync::DropGuard,
    _dir: tempfile::TempDir,
}

impl Site {
    async fn start() -> Self {
        let pki = Pki::new().unwrap();
        let root = Arc::new(pki.client_tls("root", Some("system:masters")).unwrap());
        let node = node(&pki).await;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(skep_raft::Options::new(dir.path(), 1)).await.unwrap();
        // No controller makes service accounts here.
        let disabled_admission = vec!["ServiceAccount".to_owned()];
        let options = Options { kubelet_client: Some(Arc::clone(&root)), disabled_admission, ..Options::new() };
        let api = ApiServer::start(options, Arc::new(Registry::builtin()), store).await.unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn({
            let (api, tls, stop) = (api.clone(), pki.server_tls().unwrap(), stop.clone());
            async move { api.serve(listener, tls, stop).await.unwrap() }
        });
        let site = Self { api, address, connector: TlsConnector::from(root), _stop: stop.drop_guard(), _dir: dir };
        site.fill(node).await;
        site
    }

    fn client(&self) -> kube::Client {
        self.api.client("system:kube-test", &["system:masters"])
    }

    async fn fill(&self, node: SocketAddr) {
        let from = |value: Value| serde_json::from_value(value).unwrap();
        let nodes: Api<Node> = Api::all(self.client());
        let object: Node = serde_json::from_value(json!({"metadata": {"name": "one"}})).unwrap();
        nodes.create(&PostParams::default(), &object).await.unwrap();
        let status = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": node.port()}}}});
        nodes.patch_status("one", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        let pods: Api<Pod> = Api::default_namespaced(self.client());
        let container = |name: &str| json!({"name": name, "image": "a"});
        for (name, node, containers) in [
            ("web", Some("one"), vec![container("main")]),
            ("two", Some("one"), vec![container("a"), container("b")]),
            ("new", None, vec![container("main")]),
        ] {
            let spec = json!({"nodeName": node, "containers": containers});
            let pod: Pod = from(json!({"metadata": {"name": name}, "spec": spec}));
            pods.create(&PostParams::default(), &pod).await.unwrap();
        }
        let loopback = json!({"status": {"podIPs": [{"ip": "127.0.0.1"}]}});
        pods.patch_status("web", &PatchParams::default(), &Patch::Merge(&loopback)).await.unwrap();
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.connector.connect(ServerName::from(self.address.ip()), stream).await.unwrap()
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(path).header("host", "cluster");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::default()).unwrap();
        tokio::time::timeout(SOON, skep_upgrade::send(self.connect().await, request)).await.unwrap().unwrap()
    }

    /// Status, headers and body of an answer that is no upgrade.
    async fn get(&self, method: &str, path: &str) -> (u16, HeaderMap, Value) {
        let answer = self.ask(method, path, &[("authorization", "Bearer secret"), ("x-mine", "1")]).await;
        let (code, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (code, headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn socket(
        &self,
        path: &str,
        protocol: Option<&str>,
    ) -> tokio_tungstenite::WebSocketStream<TlsStream<TcpStream>> {
        use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
        let mut request = format!("wss://{}{path}", self.address).into_client_request().unwrap();
        if let Some(protocol) = protocol {
            request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
        }
        let (socket, answer) = tokio_tungstenite::client_async(request, self.connect().await).await.unwrap();
        let agreed = answer.headers().get("sec-websocket-protocol").and_then(|value| value.to_str().ok());
        assert_eq!(agreed, protocol);
        socket
    }
}

/// The node's server.
async fn node(pki: &Pki) -> SocketAddr {
    let acceptor = TlsAcceptor::from(pki.server_tls().unwrap());
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                assert!(stream.get_ref().1.peer_certificates().is_some());
                let service = service_fn(|request| async { Ok::<_, std::convert::Infallible>(answer(request)) });
                let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                let _ = served.with_upgrades().await;
            });
        }
    });
    address
}

fn answer(mut request: Request<Incoming>) -> Response<Body> {
    let asked = request.uri().to_string();
    if asked.starts_with("/containerLogs") {
        return Response::new(Body::from("line 1\nline 2\n"));
    }
    let Some(upgrade) = skep_upgrade::take(&mut request).filter(|_| skep_upgrade::is_upgrade(request.headers())) else {
        let headers: serde_json::Map<String, Value> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().into()))
            .collect();
        let told = json!({"method": request.method().as_str(), "path": asked, "headers": headers}).to_string();
        let mut response = Response::new(Body::from(told));
        if asked == "/moved" {
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert("location", "/there".parse().unwrap());
        }
        response.headers_mut().insert("access-control-allow-origin", "*".parse().unwrap());
        return response;
    };
    if asked.contains("refuse") {
        let mut response = Response::new(Body::from("container not found (\"main\")"));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    }
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for name in ["connection", "upgrade", "x-stream-protocol-version"] {
        if let Some(value) = request.headers().get(name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrade.await.unwrap());
        stream.write_all(format!("{} {asked}\n", request.method()).as_bytes()).await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    });
    response
}

const SPDY: &[(&str, &str)] =
    &[("connection", "Upgrade"), ("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v4.channel.k8s.io")];

async fn until_newline(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut line = Vec::new();
    let read = async {
        while line.last() != Some(&b'\n') {
            line.push(stream.read_u8().await.unwrap());
        }
    };
    tokio::time::timeout(SOON, read).await.unwrap();
    String::from_utf8(line).unwrap()
}

#[tokio::test]
async fn streams_are_passed_on_to_the_node_as_bytes() {
    let site = Site::start().await;
    for (method, path, asked) in [
        (
            "POST",
            "/api/v1/namespaces/default/pods/web/exec?command=sh&command=-c&command=a%20b&stdin=true&stdout=true&tty=true",
            "POST /exec/default/web/main?input=1&output=1&tty=1&command=sh&command=%2Dc&command=a%20b\n",
        ),
        (
            "GET",
            "/api/v1/namespaces/default/pods/two/attach?container=b&stdout=1&stderr=1",
            "GET /attach/default/two/b?output=1&error=1\n",
        ),
        ("POST", "/api/v1/namespaces/default/pods/web/portforward", "POST /portForward/default/web\n"),
        (
            "GET",
            "/api/v1/namespaces/default/pods/web/portforward?ports=80&ports=81",
            "GET /portForward/default/web?port=80%2C81\n",
        ),
    ] {
        let mut answer = site.ask(method, path, SPDY).await;
        assert_eq!(answer.status(), 101, "{path}");
        assert_eq!(answer.headers()["upgrade"], "SPDY/3.1");
        assert_eq!(answer.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");
        let mut stream = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
        assert_eq!(until_newline(&mut stream).await, asked);
        stream.write_all(b"\x00\xffbytes\n").await.unwrap();
        let mut echo = [0; 8];
        tokio::time::timeout(SOON, stream.read_exact(&mut echo)).await.unwrap().unwrap();
        assert_eq!(&echo, b"\x00\xffbytes\n");
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn streams_that_cannot_be_say_why() {
    let site = Site::start().await;
    let base = "/api/v1/namespaces/default/pods";
    for (path, code, message) in [
        ("new/exec?command=a", 400, "pod new does not have a host assigned"),
        ("web/exec?command=a&container=x", 400, "container x is not valid for pod web"),
        ("two/attach", 400, "a container name must be specified for pod two, choose one of: [a b]"),
        ("none/portforward", 404, "pods \"none\" not found"),
    ] {
        let answer = site.ask("POST", &format!("{base}/{path}"), SPDY).await;
        assert_eq!(answer.status(), code, "{path}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let status: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status["message"], message);
    }
    let (code, _, status) = site.get("GET", &format!("{base}/web/exec?command=a&stdout=1")).await;
    assert_eq!((code, status["message"].as_str()), (400, Some("Upgrade request required")));
    assert_eq!(site.get("PUT", &format!("{base}/web/exec")).await.0, 405);

    let refused = site.ask("POST", &format!("{base}/web/exec?command=refuse&stdout=1"), SPDY).await;
    assert_eq!(refused.status(), 500);
    let text = refused.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "container not found (\"main\")", "in the node's own words");
}

#[tokio::test]
async fn log_options_are_checked_before_a_node_is_asked() {
    let site = Site::start().await;
    for (query, message) in [
        ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
        ("stream=Both", "stream: Unsupported value: \"Both\": supported values: \"All\", \"Stderr\", \"Stdout\""),
    ] {
        let (code, _, status) = site.get("GET", &format!("/api/v1/namespaces/default/pods/web/log?{query}")).await;
        let message = format!("PodLogOptions \"web\" is invalid: {message}");
        assert_eq!((code, status["message"].as_str()), (422, Some(message.as_str())));
    }
    assert_eq!(site.get("GET", "/api/v1/namespaces/default/pods/new/log").await.0, 204, "no node, no log");
}

#[tokio::test]
async fn requests_are_proxied_to_nodes_with_all_but_credentials() {
    let site = Site::start().await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let (code, headers, told) = site.get(method, "/api/v1/nodes/one/proxy/a%2Fb//c/?x=1&y=%20").await;
        assert_eq!((code, told["method"].as_str()), (200, Some(method)));
        assert_eq!(told["path"], "/a%2Fb//c/?x=1&y=%20");
        assert_eq!(told["headers"]["x-forwarded-uri"], "/api/v1/nodes/one/proxy/a%2Fb//c/");
        assert_eq!((&told["headers"]["x-mine"], &told["headers"]["host"]), (&json!("1"), &json!("cluster")));
        assert!(told["headers"]["authorization"].is_null() && !headers.contains_key("access-control-allow-origin"));
    }
    assert_eq!(site.get("HEAD", "/api/v1/nodes/one/proxy/x").await.0, 200);
    let (code, headers, _) = site.get("GET", "/api/v1/nodes/one/proxy?x=1").await;
    assert_eq!((code, headers["location"].to_str().unwrap()), (301, "/api/v1/nodes/one/proxy/?x=1"));
    let (code, headers, _) = site.get("GET", "/api/v1/nodes/one/proxy/moved").await;
    assert_eq!((code, headers["location"].to_str().unwrap()), (302, "/api/v1/nodes/one/proxy/there"));

    for (path, code, message) in [
        ("namespaces/default/pods/ftp:web:1/proxy/", 400, "invalid pod request \"ftp:web:1\""),
        ("namespaces/default/pods/web:80/proxy/", 400, "address not allowed"),
        ("namespaces/default/services/none/proxy/", 404, "endpoints \"none\" not found"),
        ("nodes/none/proxy/", 404, "nodes \"none\" not found"),
    ] {
        let (got, _, status) = site.get("GET", &format!("/api/v1/{path}")).await;
        assert_eq!((got, status["message"].as_str()), (code, Some(message)), "{path}");
    }
}

#[tokio::test]
async fn a_watch_by_websocket_is_one_text_for_each_event() {
    let site = Site::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(site.client());
    maps.create(&PostParams::default(), &config_map("first", "1")).await.unwrap();
    let path = "/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=0";
    let mut socket = site.socket(path, None).await;
    let mut next = async || {
        let text = loop {
            let message = tokio::time::timeout(SOON, socket.next()).await.unwrap().unwrap().unwrap();
            if let Message::Text(text) = message {
                break text;
            }
        };
        let event: Value = serde_json::from_str(&text).unwrap();
        (event["type"].as_str().unwrap().to_owned(), event["object"]["metadata"]["name"].as_str().unwrap().to_owned())
    };
    assert_eq!(next().await, ("ADDED".to_owned(), "first".to_owned()));
    maps.create(&PostParams::default(), &config_map("second", "1")).await.unwrap();
    assert_eq!(next().await, ("ADDED".to_owned(), "second".to_owned()));

    let mut socket = site.socket("/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1", None).await;
    let closed = async { while !matches!(socket.next().await, Some(Ok(Message::Close(_))) | None) {} };
    tokio::time::timeout(SOON, closed).await.unwrap();
}

/// Pods should support retrieving logs from the container over websockets [NodeConformance]
#[tokio::test]
async fn a_log_by_websocket_is_bytes_or_base64() {
    let site = Site::start().await;
    let path = "/api/v1/namespaces/default/pods/web/log";
    for (protocol, first) in [
        (None, Message::Binary("line 1\nline 2\n".into())),
        (Some("binary.k8s.io"), Message::Binary("line 1\nline 2\n".into())),
        (Some("base64.binary.k8s.io"), Message::text("bGluZSAxCmxpbmUgMgo=")),
    ] {
        let mut socket = site.socket(path, protocol).await;
        let message = tokio::time::timeout(SOON, socket.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(message, first);
        socket.send(Message::Ping("alive".into())).await.unwrap();
        let closed = async { while !matches!(socket.next().await, Some(Ok(Message::Close(_))) | None) {} };
        tokio::time::timeout(Duration::from_secs(10), closed).await.unwrap();
    }
}
