//! What clients wrap in WebSocket, unwrapped for the runtime's streaming server: the whole SPDY connection of a port-forward, and a
//! command's streams in the version that can close one of them (KEP-4006). Older versions of the latter the runtime speaks itself.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use skep_upgrade::{CloseCode, CloseFrame, Message, WebSocket, WebSocketOffer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::command;
use super::stream::{Refusal, Streams, internal};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to hear that a stream is over.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const SPDY: HeaderValue = HeaderValue::from_static("SPDY/3.1");
/// Inside SPDY, and as clients offer it.
const PORTS: (HeaderValue, &str) = (HeaderValue::from_static("portforward.k8s.io"), "SPDY/3.1+portforward.k8s.io");
const COMMAND: (HeaderValue, &str) = (HeaderValue::from_static("v4.channel.k8s.io"), "v5.channel.k8s.io");
/// Bytes in one message.
const CHUNK: usize = 32 * 1024;

/// What is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// SPDY, for connections to ports.
    Ports,
    /// A command's streams.
    Command(Streams),
}

impl Kind {
    /// `None` for what the runtime speaks itself.
    pub(super) fn of(offer: &WebSocketOffer, streams: Option<Streams>) -> Option<Self> {
        let offered = |protocol: &str| offer.protocols().iter().any(|one| one == protocol);
        match streams {
            None => offered(PORTS.1).then_some(Self::Ports),
            Some(streams) => offered(COMMAND.1).then_some(Self::Command(streams)),
        }
    }

    fn protocols(self) -> (HeaderValue, &'static str) {
        match self {
            Self::Ports => PORTS,
            Self::Command(_) => COMMAND,
        }
    }
}

/// Opens the connection to the runtime, and joins it with the client's once the client has its answer.
pub(super) async fn open(
    url: &Uri,
    kind: Kind,
    offer: WebSocketOffer,
    client: OnUpgrade,
    stop: CancellationToken,
    slot: OwnedSemaphorePermit,
) -> Result<Response, Refusal> {
    let (inner, outer) = kind.protocols();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, SPDY);
    headers.insert(STREAM_PROTOCOL, inner);
    let mut answer = ask(url, Method::POST, headers).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(Body::new));
    }
    let response = offer.accept(Some(outer)).map(|()| Body::empty());
    let runtime = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        let _slot = slot;
        let joined = async {
            let (client, runtime) = tokio::try_join!(offer.open(client), runtime)?;
            match kind {
                Kind::Ports => carry(client, TokioIo::new(runtime)).await,
                Kind::Command(streams) => command::carry(client, TokioIo::new(runtime), streams).await,
            }
        };
        let ended = tokio::select! {
            ended = joined => ended,
            () = stop.cancelled() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a stream broke");
        }
    });
    Ok(response)
}

/// Asks the runtime's streaming server for another protocol.
pub(super) async fn ask(url: &Uri, method: Method, headers: HeaderMap) -> Result<http::Response<Incoming>, Refusal> {
    let failed = |why: &dyn std::fmt::Display| internal(&format!("the runtime's streaming server at {url}: {why}"));
    let authority = url.authority().ok_or_else(|| failed(&"no address"))?;
    let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| failed(&"time-out"))?.map_err(|error| failed(&error))?;
    skep_upgrade::prepare(&stream);
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.headers_mut() = headers;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|error| failed(&error))?;
    request.headers_mut().insert(header::HOST, host);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|error| failed(&error))?;
    skep_upgrade::send(stream, request).await.map_err(|error| failed(&error))
}

/// Bytes inside messages one way, messages made of bytes the other, until either ends.
async fn carry(client: WebSocket, runtime: impl AsyncRead + AsyncWrite) -> anyhow::Result<()> {
    let (mut sink, mut messages) = client.split();
    let (mut read, mut write) = tokio::io::split(runtime);
    let inward = async {
        while let Some(message) = messages.next().await {
            match message? {
                Message::Binary(bytes) => write.write_all(&bytes).await?,
                Message::Text(_) => anyhow::bail!("a text where bytes belong"),
                Message::Close(_) => break,
                _ => {}
            }
        }
        write.shutdown().await?;
        Ok(())
    };
    let outward = async {
        let mut bytes = BytesMut::with_capacity(CHUNK);
        while read.read_buf(&mut bytes).await? > 0 {
            sink.send(Message::Binary(bytes.split().freeze())).await?;
            bytes.reserve(CHUNK);
        }
        close(&mut sink).await;
        Ok(())
    };
    skep_upgrade::both(inward, outward).await
}

/// Tells a client that this is the end, if it is still there.
pub(super) async fn close(sink: &mut (impl futures::Sink<Message> + Unpin)) {
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _told = tokio::time::timeout(CLOSE_TIMEOUT, sink.send(Message::Close(Some(frame)))).await;
}
