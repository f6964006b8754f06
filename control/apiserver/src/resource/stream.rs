//! Exec, attach and port-forward: connections that leave HTTP, and end at the pod's node.
//!
//! Nothing in here knows what is spoken on them. The request goes to the node with its options translated to those of the kubelet,
//! and once the node has agreed, bytes are passed on.

use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use skep_registry::Subresource;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::kubelet::{Kubelet, container};
use crate::call::Call;
use crate::query::{Query, encode};
use crate::response::{self, Body, BoxError};
use crate::status::ApiError;
use crate::write::Target;

pub(super) async fn connect(
    context: &Context<'_>,
    target: &Target,
    subresource: Subresource,
    mut call: Call,
) -> Result<Response<Body>, ApiError> {
    if !matches!(call.method, Method::GET | Method::POST) {
        return Err(ApiError::method_not_allowed());
    }
    let pod = context.writer.current(target).await?.value();
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let name = &target.name;
    let path = match subresource {
        Subresource::PortForward => {
            let ports = call.query.all("ports").collect::<Vec<_>>().join(",");
            let query = if ports.is_empty() { ports } else { format!("?port={}", encode(&ports)) };
            format!("/portForward/{namespace}/{name}{query}")
        }
        _ => {
            let container = container(name, &pod, call.query.get("container"))?;
            let verb = if subresource == Subresource::Exec { "exec" } else { "attach" };
            format!("/{verb}/{namespace}/{name}/{container}{}", options(&call.query))
        }
    };
    let node = Kubelet::of_pod(context, name, &pod).await?;
    let upgrade = call.upgrade.take().filter(|_| skep_upgrade::is_upgrade(&call.headers));
    let Some(client) = upgrade else { return Err(ApiError::bad_request("Upgrade request required")) };
    let slot = context.streams.slot()?;
    let headers = skep_upgrade::headers_to_pass(&call.headers);
    let answer = node.request(call.method, &path, headers, response::full("")).await;
    switched(client, answer, call.stop, slot)
}

/// What the client gets of the answer to a request to leave HTTP: where the other side agrees, the connection.
pub(super) fn switched(
    client: OnUpgrade,
    answer: Result<Response<Incoming>, BoxError>,
    stop: CancellationToken,
    slot: OwnedSemaphorePermit,
) -> Result<Response<Body>, ApiError> {
    let answer = answer.map_err(|error| ApiError::unnamed(&format!("error dialing backend: {error}")))?;
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => {
            Ok(skep_upgrade::relay(client, answer, stop, slot).map(|()| response::full("")))
        }
        code if code.as_u16() < 400 => {
            Err(ApiError::unnamed(&format!("invalid upgrade response: status code {}", code.as_u16())))
        }
        // In the other side's own words.
        _ => Ok(answer.map(response::boxed)),
    }
}

/// `PodExecOptions` and `PodAttachOptions` as the kubelet reads them.
fn options(query: &Query) -> String {
    let mut pairs = Vec::new();
    for (ours, theirs) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if query.flag(ours) {
            pairs.push(format!("{theirs}=1"));
        }
    }
    pairs.extend(query.all("command").map(|word| format!("command={}", encode(word))));
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_the_kubelet() {
        let query = Query::parse(Some("command=sh&command=-c&command=exit+3%26%26x&stdin=true&stdout=true&tty=false"));
        assert_eq!(options(&query), "?input=1&output=1&command=sh&command=%2Dc&command=exit%203%26%26x");
        assert_eq!(options(&Query::default()), "");
    }
}
