//! WebSocket (RFC 6455), where it ends here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::request::{is_upgrade, protocols};

/// A message larger than this ends the connection. Clients of Kubernetes send 32 KiB at once.
const MESSAGE_LEN_MAX: usize = 4 << 20;

/// How much may wait in memory to be written.
const WRITE_LEN_MAX: usize = 8 << 20;

/// A connection over which messages go both ways.
pub type WebSocket = WebSocketStream<TokioIo<Upgraded>>;

/// What a client that wants to speak WebSocket offers.
#[derive(Clone, Debug)]
pub struct WebSocketOffer {
    key: String,
    protocols: Vec<String>,
}

impl WebSocketOffer {
    /// `None` if the request does not ask for WebSocket.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let websocket = text(header::UPGRADE).is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"));
        let key = text(header::SEC_WEBSOCKET_KEY).filter(|key| STANDARD.decode(key).is_ok_and(|raw| raw.len() == 16));
        let version = text(header::SEC_WEBSOCKET_VERSION) == Some("13");
        let key = key.filter(|_| websocket && version && is_upgrade(headers))?;
        Some(Self { key: key.to_owned(), protocols: protocols(headers) })
    }

    /// The subprotocols that the client knows, the one that it likes best first.
    #[must_use]
    pub fn protocols(&self) -> &[String] {
        &self.protocols
    }

    /// The head of the answer that begins the connection, with a subprotocol out of those offered.
    #[must_use]
    pub fn accept(&self, protocol: Option<&str>) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(value) = HeaderValue::from_str(&derive_accept_key(self.key.as_bytes())) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, value);
        }
        if let Some(Ok(value)) = protocol.map(HeaderValue::from_str) {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
        }
        response
    }

    /// The connection, once the answer has been sent.
    ///
    /// # Errors
    /// The client went away before.
    pub async fn open(self, connection: OnUpgrade) -> Result<WebSocket, hyper::Error> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_LEN_MAX))
            .max_frame_size(Some(MESSAGE_LEN_MAX))
            .max_write_buffer_size(WRITE_LEN_MAX);
        let stream = TokioIo::new(connection.await?);
        Ok(WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_the_example_of_the_rfc() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat, superchat"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let offer = WebSocketOffer::of(&headers).unwrap();
        assert_eq!(offer.protocols(), ["chat", "superchat"]);
        let answer = offer.accept(Some("chat"));
        assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
        headers.insert("sec-websocket-version", HeaderValue::from_static("8"));
        assert!(WebSocketOffer::of(&headers).is_none());
    }
}
