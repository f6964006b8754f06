//! Answers that are streams, as the messages of a WebSocket: watches and logs, for clients that can read no other stream.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{SinkExt, StreamExt};
use http::{Response, StatusCode};
use http_body_util::BodyDataStream;
use hyper::upgrade::OnUpgrade;
use skep_upgrade::{CloseCode, CloseFrame, Message, WebSocketOffer};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::response::{self, Body, BoxError};
use crate::status::ApiError;

/// How a stream is cut into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A text for each document of a watch.
    Documents,
    /// Bytes as they come.
    Bytes,
    /// The same in base64, as texts.
    Base64,
}

/// A client that asks for a stream as a WebSocket.
pub(crate) struct Client {
    pub offer: WebSocketOffer,
    pub connection: OnUpgrade,
}

/// The subprotocol and the framing, for a log unless for a watch.
fn negotiate(offer: &WebSocketOffer, watch: bool) -> Result<(Option<&str>, Framing), ApiError> {
    if watch {
        // Nothing depends on it, and clients that ask for one want to hear it again.
        let only = Some(offer.protocols()).filter(|all| all.len() == 1).and_then(<[String]>::first);
        return Ok((only.map(String::as_str), Framing::Documents));
    }
    if offer.protocols().is_empty() {
        return Ok((None, Framing::Bytes));
    }
    let known = offer.protocols().iter().find_map(|protocol| match protocol.as_str() {
        "binary.k8s.io" => Some((Some(protocol.as_str()), Framing::Bytes)),
        "base64.binary.k8s.io" => Some((Some(protocol.as_str()), Framing::Base64)),
        _ => None,
    });
    known.ok_or_else(|| {
        let offered = offer.protocols().join(" ");
        let supported = "base64.binary.k8s.io binary.k8s.io";
        ApiError::bad_request(format!("requested protocol(s) are not supported: [{offered}]; supports [{supported}]"))
    })
}

/// Turns an answer that is a stream into messages. One that is an error stays as it is.
pub(crate) fn serve(
    answer: Response<Body>,
    client: Client,
    watch: bool,
    stop: CancellationToken,
    slot: OwnedSemaphorePermit,
) -> Result<Response<Body>, ApiError> {
    if answer.status() != StatusCode::OK {
        return Ok(answer);
    }
    let (protocol, framing) = negotiate(&client.offer, watch)?;
    let head = client.offer.accept(protocol).map(|()| response::full(""));
    let messages = BodyDataStream::new(answer.into_body());
    tokio::spawn(async move {
        let _slot = slot;
        let ended = tokio::select! {
            ended = send(client, messages, framing) => ended,
            () = stop.cancelled() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(error, "a WebSocket broke");
        }
    });
    Ok(head)
}

async fn send(client: Client, mut stream: BodyDataStream<Body>, framing: Framing) -> Result<(), BoxError> {
    let (mut sink, mut messages) = client.offer.open(client.connection).await?.split();
    // Nothing is expected of the client but that it stays.
    let gone = async { while let Some(Ok(_)) = messages.next().await {} };
    let sent = async {
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            sink.send(match framing {
                Framing::Documents => Message::text(String::from_utf8(chunk.to_vec())?),
                Framing::Bytes => Message::Binary(chunk),
                Framing::Base64 => Message::text(STANDARD.encode(&chunk)),
            })
            .await?;
        }
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        sink.send(Message::Close(Some(frame))).await?;
        Ok::<_, BoxError>(())
    };
    tokio::select! {
        sent = sent => sent,
        () = gone => Ok(()),
    }
}
