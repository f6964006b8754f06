//! One HTTP/2 connection over TLS, as client-go has them.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What a client takes in before it says that it has read, as client-go has it.
const WINDOW_BYTES: u32 = 4 << 20;

/// Where and how to connect.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// `127.0.0.1:6443`.
    pub address: String,
    pub tls: Arc<ClientConfig>,
    /// A bearer token to show.
    pub token: Option<String>,
}

impl Endpoint {
    pub(crate) fn new(address: String, mut tls: ClientConfig) -> Self {
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self { address, tls: Arc::new(tls), token: None }
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(&self.address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(ServerName::try_from("localhost")?, stream)
            .await
            .context("TLS")?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.context("HTTP/2")?;
        tokio::spawn(connection);
        Ok(Connection { sender, endpoint: self.clone() })
    }

    /// Several connections.
    pub(crate) async fn connect_all(&self, count: usize) -> Result<Vec<Connection>> {
        futures::future::try_join_all((0..count).map(|_| self.connect())).await
    }
}

/// An open connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    endpoint: Endpoint,
}

impl Connection {
    /// An answer whose body is still to come.
    pub(crate) async fn open(&mut self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        let uri = format!("https://{}{path}", self.endpoint.address);
        let mut request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
        if let Some(token) = &self.endpoint.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.sender.ready().await?;
        Ok(self.sender.send_request(request.body(Full::new(body))?).await?)
    }

    /// A whole answer, which must be one of success.
    pub(crate) async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let answer = self.open(method, path, body).await?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&bytes));
        Ok(bytes)
    }

    /// As [`Connection::send`], with JSON both ways.
    pub(crate) async fn json(&mut self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() { Bytes::new() } else { serde_json::to_vec(body)?.into() };
        serde_json::from_slice(&self.send(method, path, body).await?).context("read the answer")
    }

    /// How many bytes the answer to a GET has; they are not kept.
    pub(crate) async fn read(&mut self, path: &str) -> Result<usize> {
        let answer = self.open(Method::GET, path, Bytes::new()).await?;
        ensure!(answer.status() == StatusCode::OK, "{path}: {}", answer.status());
        let mut body = answer.into_body();
        let mut len = 0;
        while let Some(frame) = body.frame().await {
            len += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(len)
    }
}
