//! Connections that leave HTTP for another protocol (RFC 9110, 7.8).
//!
//! [`relay`] passes such a connection on to another server, as bytes that nobody here reads. [`WebSocketOffer`] is for those that
//! end here: it picks a subprotocol and gives a [`WebSocket`].
//!
//! Invariant: a connection that was passed on ends at both ends as soon as it ends at one.
//!
//! Tasks: one for each connection that [`send`] opens, until the answer's body ends or both ends of the upgraded
//! connection do; one for each relay, until either end closes or its token is cancelled. The caller's guard bounds their number.

mod keepalive;
mod relay;
mod request;
mod websocket;

pub use keepalive::prepare;
pub use relay::{both, pipe, relay};
pub use request::{headers_to_pass, is_upgrade, send, take};
pub use websocket::{WebSocket, WebSocketOffer};

/// One message of a [`WebSocket`], and what closes it.
pub use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
pub use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
