//! `GET /containerLogs/{namespace}/{pod}/{container}`

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use skep_cri::v1;

use super::Site;
use crate::config::LABEL;
use crate::log::{self, Follow};

type Refusal = (StatusCode, String);

pub(super) async fn get(
    State(site): State<Site>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    match open(&site, &namespace, &pod, &container, &query).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn open(
    site: &Site,
    namespace: &str,
    name: &str,
    container: &str,
    query: &HashMap<String, String>,
) -> Result<Response, Refusal> {
    let request = decode(query, Timestamp::now()).map_err(|text| (StatusCode::BAD_REQUEST, text))?;
    let previous = flag(query, "previous").map_err(|text| (StatusCode::BAD_REQUEST, text))?;
    let pod = site.pods.find(namespace, name);
    let pod = pod.ok_or_else(|| (StatusCode::NOT_FOUND, format!("pod \"{namespace}/{name}\" does not exist")))?;
    if crate::pod::container(&pod, container).is_none() {
        let text = format!("container \"{container}\" not found in pod \"{name}_{namespace}\"");
        return Err((StatusCode::NOT_FOUND, text));
    }
    let instance = instance(site, &pod, container, previous).await?;
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let attempt = instance.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
    let dir = site.context.options.log_dir(namespace, name, uid);
    let path = dir.join(container).join(format!("{attempt}.log"));
    let follow = Follow { cri: site.context.cri.clone(), container_id: instance.id };
    let stream = log::stream(path, request, follow).await.map_err(|error| {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("log of container \"{container}\" in pod \"{name}\": {error}"))
    })?;
    Ok(([(http::header::CONTENT_TYPE, "text/plain")], Body::from_stream(stream)).into_response())
}

/// The instance of a container whose log is asked for: the newest that has run, or the one before it.
async fn instance(site: &Site, pod: &Pod, container: &str, previous: bool) -> Result<v1::Container, Refusal> {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let selector = HashMap::from([(LABEL.pod_uid.to_owned(), uid), (LABEL.container.to_owned(), container.to_owned())]);
    let filter = v1::ContainerFilter { label_selector: selector, ..v1::ContainerFilter::default() };
    let listed = site.context.cri.list_containers(v1::ListContainersRequest { filter: Some(filter) }).await;
    let mut listed = listed.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?.containers;
    listed.sort_by_key(|held| std::cmp::Reverse(held.created_at));
    let mut ran = listed.into_iter().filter(|held| held.state != v1::ContainerState::ContainerCreated as i32);
    let newest = ran.next();
    if previous {
        let text = format!("previous terminated container \"{container}\" in pod \"{name}\" not found");
        return ran.next().ok_or((StatusCode::BAD_REQUEST, text));
    }
    newest.ok_or_else(|| {
        let reason = waiting_reason(pod, container);
        let text = format!("container \"{container}\" in pod \"{name}\" is waiting to start: {reason}");
        (StatusCode::BAD_REQUEST, text)
    })
}

fn waiting_reason(pod: &Pod, container: &str) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let lists = [status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses];
    let mut all = lists.into_iter().flatten().flatten();
    let held = all.find(|status| status.name == container);
    let reason = held.and_then(|status| status.state?.waiting?.reason);
    reason.unwrap_or_else(|| "ContainerCreating".to_owned())
}

fn flag(query: &HashMap<String, String>, name: &str) -> Result<bool, String> {
    match query.get(name).map(String::as_str) {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1" | "") => Ok(true),
        Some(other) => Err(format!("{name}: invalid value {other:?}: must be true or false")),
    }
}

/// The log options of a query. Errors name the parameter.
fn decode(query: &HashMap<String, String>, now: Timestamp) -> Result<log::Request, String> {
    let number = |name: &str| -> Result<Option<i64>, String> {
        let Some(text) = query.get(name) else { return Ok(None) };
        let value: Option<i64> = text.parse().ok().filter(|value| *value >= 0);
        value.map(Some).ok_or_else(|| format!("{name}: invalid value {text:?}: must be a non-negative number"))
    };
    let size = |name: &str| Ok::<_, String>(number(name)?.and_then(|value| usize::try_from(value).ok()));
    let since_time = match query.get("sinceTime") {
        None => None,
        Some(text) => {
            let time: Timestamp =
                text.parse().map_err(|error| format!("sinceTime: invalid value {text:?}: {error}"))?;
            Some(time)
        }
    };
    let since_seconds = match number("sinceSeconds")? {
        None => None,
        Some(seconds) => {
            let since = now.checked_sub(SignedDuration::from_secs(seconds));
            Some(since.map_err(|error| format!("sinceSeconds: {error}"))?)
        }
    };
    if since_time.is_some() && since_seconds.is_some() {
        return Err("at most one of sinceTime or sinceSeconds may be specified".to_owned());
    }
    let stderr = match query.get("stream").map(String::as_str) {
        None | Some("All") => None,
        Some("Stdout") => Some(false),
        Some("Stderr") => Some(true),
        Some(other) => return Err(format!("stream: invalid value {other:?}: must be All, Stdout or Stderr")),
    };
    Ok(log::Request {
        follow: flag(query, "follow")?,
        timestamps: flag(query, "timestamps")?,
        tail_lines: size("tailLines")?,
        since: since_time.or(since_seconds),
        limit_bytes: size("limitBytes")?,
        stderr,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn reads_options_and_names_bad_ones() {
        let now = Timestamp::from_second(1000).unwrap();
        let request = decode(&query(&[("follow", "true"), ("tailLines", "5"), ("sinceSeconds", "10")]), now).unwrap();
        assert!(request.follow && request.tail_lines == Some(5));
        assert_eq!(request.since, Some(Timestamp::from_second(990).unwrap()));
        for (name, value) in [("tailLines", "-1"), ("limitBytes", "x"), ("sinceTime", "now"), ("follow", "maybe")] {
            assert!(decode(&query(&[(name, value)]), now).unwrap_err().starts_with(name), "{name}");
        }
    }
}
