//! Requests for another protocol, as they come in and as they go out again.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Versions of the protocol inside SPDY, as Kubernetes' clients name them.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// Browsers put a bearer token among the subprotocols, since they have no other place for it.
const BEARER_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// What belongs to the request for a protocol, besides `Sec-WebSocket-Protocol`.
const PASSED: [HeaderName; 6] = [
    header::UPGRADE,
    STREAM_PROTOCOL,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::USER_AGENT,
];

/// Whether a request asks for another protocol.
#[must_use]
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE) && connection_tokens(headers).any(|token| token.contains("upgrade"))
}

/// Upstream looks for the word anywhere in the header, so that odd proxies do not break it.
fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = String> + '_ {
    headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok()).map(str::to_lowercase)
}

/// What a connection becomes once the request was answered with 101. `None` where it cannot become anything else, as in HTTP/2.
pub fn take<B>(request: &mut Request<B>) -> Option<OnUpgrade> {
    request.extensions_mut().remove::<OnUpgrade>()
}

/// The headers with which a request for another protocol is made again elsewhere. A bearer token that is hidden among the
/// subprotocols is left out.
#[must_use]
pub fn headers_to_pass(from: &HeaderMap) -> HeaderMap {
    let mut to = HeaderMap::new();
    to.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    for name in PASSED {
        for value in from.get_all(&name) {
            to.append(name.clone(), value.clone());
        }
    }
    let protocols = protocols(from);
    let joined = Some(protocols.join(", ")).filter(|joined| !joined.is_empty());
    if let Some(Ok(value)) = joined.map(|joined| HeaderValue::from_str(&joined)) {
        to.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    to
}

/// The WebSocket subprotocols that a client offers, the best first, without a token.
pub(crate) fn protocols(headers: &HeaderMap) -> Vec<String> {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let all = lists.flat_map(|list| list.split(',')).map(str::trim);
    all.filter(|one| !one.is_empty() && !one.starts_with(BEARER_PREFIX)).map(str::to_owned).collect()
}

/// Sends one request over a connection of its own, by HTTP/1.1. An answer of 101 can be upgraded.
///
/// # Errors
/// The connection broke before there was an answer.
pub async fn send<S, B>(stream: S, request: Request<B>) -> Result<Response<Incoming>, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends when the answer's body ends or is dropped, or hands the connection over.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection broke");
        }
    });
    sender.send_request(request).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        assert!(is_upgrade(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "SPDY/3.1")])));
        assert!(!is_upgrade(&headers(&[("connection", "close"), ("upgrade", "SPDY/3.1")])));
        assert!(!is_upgrade(&headers(&[("connection", "Upgrade")])));
    }

    #[test]
    fn credentials_are_not_passed_on() {
        let given = headers(&[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.eA, v5.channel.k8s.io"),
            ("sec-websocket-protocol", "v4.channel.k8s.io"),
        ]);
        let passed = headers_to_pass(&given);
        assert!(passed.get("authorization").is_none() && passed.get("cookie").is_none());
        assert_eq!(passed["sec-websocket-protocol"], "v5.channel.k8s.io, v4.channel.k8s.io");
        assert_eq!(passed["upgrade"], "websocket");
        let spdy = headers(&[
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("x-stream-protocol-version", "channel.k8s.io"),
        ]);
        assert_eq!(headers_to_pass(&spdy).get_all("x-stream-protocol-version").iter().count(), 2);
    }
}
