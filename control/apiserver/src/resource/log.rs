//! A container's log, streamed from the node that runs it.

use std::time::Duration;

use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use skep_registry::{FieldError, FieldErrorKind};

use super::Context;
use super::kubelet::{Kubelet, container};
use crate::call::Call;
use crate::query::encode;
use crate::response::{self, Body, BoxError};
use crate::status::ApiError;
use crate::write::Target;

/// What of `PodLogOptions` the node is asked for.
const OPTIONS: [&str; 8] =
    ["follow", "tailLines", "sinceSeconds", "sinceTime", "timestamps", "previous", "limitBytes", "stream"];

/// How long a node may take to open a log.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn stream(context: &Context<'_>, target: &Target, call: Call) -> Result<Response<Body>, ApiError> {
    check(target, &call)?;
    let pod = context.writer.current(target).await?.value();
    let container = container(&target.name, &pod, call.query.get("container"))?;
    if pod.pointer("/spec/nodeName").and_then(Value::as_str).is_none_or(str::is_empty) {
        let mut nothing = Response::new(response::full(""));
        *nothing.status_mut() = StatusCode::NO_CONTENT;
        return Ok(nothing);
    }
    let node = Kubelet::of_pod(context, &target.name, &pod).await?;
    let path = path(target, &container, &call);
    let asked = node.request(Method::GET, &path, HeaderMap::new(), response::full(""));
    let answer = match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(node.unreachable("Get", &path, &error)),
        Err(_) => return Err(node.unreachable("Get", &path, &"the node does not answer")),
    };
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

/// Upstream's validation of `PodLogOptions`.
fn check(target: &Target, call: &Call) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    let mut fault = |kind, field: &str, message: String| {
        errors.push(FieldError { kind, field: field.to_owned(), message });
    };
    for (field, least, rule) in [
        ("tailLines", 0, "greater than or equal to 0"),
        ("limitBytes", 1, "greater than 0"),
        ("sinceSeconds", 1, "greater than 0"),
    ] {
        if let Some(value) = call.query.integer(field)?.filter(|value| *value < least) {
            fault(FieldErrorKind::Invalid, field, format!("Invalid value: {value}: must be {rule}"));
        }
    }
    if call.query.get("sinceSeconds").and(call.query.get("sinceTime")).is_some() {
        let message = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified";
        fault(FieldErrorKind::Forbidden, "", message.to_owned());
    }
    let stream = call.query.get("stream").unwrap_or("All");
    if !matches!(stream, "All" | "Stdout" | "Stderr") {
        let message = format!("Unsupported value: {stream:?}: supported values: \"All\", \"Stderr\", \"Stdout\"");
        fault(FieldErrorKind::NotSupported, "stream", message);
    } else if stream != "All" && call.query.get("tailLines").is_some() {
        let message = "Forbidden: `tailLines` and specific `stream` are mutually exclusive for now";
        fault(FieldErrorKind::Forbidden, "", message.to_owned());
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("PodLogOptions", "", &target.name, &errors)) }
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

fn path(target: &Target, container: &str, call: &Call) -> String {
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
