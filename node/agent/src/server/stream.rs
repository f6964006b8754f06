//! `/exec`, `/attach`, `/portForward` and `/run`.
//!
//! The runtime is asked for a URL of its own streaming server, and the client's connection is passed on to it as it is. Only what that
//! server does not speak ends here: see [`super::tunnel`].

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use skep_cri::v1;
use skep_upgrade::WebSocketOffer;
use tokio::sync::OwnedSemaphorePermit;

use super::{Site, tunnel};
use crate::config::LABEL;

/// What a client gets that gets no stream.
pub(super) type Refusal = (StatusCode, String);

type Names = HashMap<String, String>;
type Pairs = Vec<(String, String)>;

pub(super) async fn exec(
    State(site): State<Site>,
    Path(names): Path<Names>,
    Query(query): Query<Pairs>,
    request: Request,
) -> Result<Response, Refusal> {
    let streams = Streams::of(&query)?;
    let container_id = running(&site, &names).await?;
    let exec = v1::ExecRequest {
        container_id,
        cmd: words(&query, "command"),
        tty: streams.tty,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
    };
    let answer = site.context.cri.exec(exec).await.map_err(runtime)?;
    open(&site, &answer.url, Some(streams), request).await
}

pub(super) async fn attach(
    State(site): State<Site>,
    Path(names): Path<Names>,
    Query(query): Query<Pairs>,
    request: Request,
) -> Result<Response, Refusal> {
    let mut streams = Streams::of(&query)?;
    let container_id = running(&site, &names).await?;
    // Whether there is a terminal was decided when the container was made.
    streams.tty = site.pods.find(name(&names, "namespace"), name(&names, "pod")).is_some_and(|pod| {
        crate::pod::container(&pod, name(&names, "container")).is_some_and(|held| held.tty == Some(true))
    });
    streams.stderr &= !streams.tty;
    let attach = v1::AttachRequest {
        container_id,
        stdin: streams.stdin,
        tty: streams.tty,
        stdout: streams.stdout,
        stderr: streams.stderr,
    };
    let answer = site.context.cri.attach(attach).await.map_err(runtime)?;
    open(&site, &answer.url, Some(streams), request).await
}

pub(super) async fn port_forward(
    State(site): State<Site>,
    Path(names): Path<Names>,
    Query(query): Query<Pairs>,
    request: Request,
) -> Result<Response, Refusal> {
    let pod = pod(&site, &names)?;
    let lists = words(&query, "port");
    let ports = lists.iter().flat_map(|list| list.split(','));
    let port = ports.map(|text| text.trim().parse().map_err(|_| bad(format!("invalid port {text:?}"))));
    let port = port.collect::<Result<Vec<i32>, Refusal>>()?;
    let pod_sandbox_id = sandbox(&site, &pod, &names).await?;
    let forward = v1::PortForwardRequest { pod_sandbox_id, port };
    let answer = site.context.cri.port_forward(forward).await.map_err(runtime)?;
    open(&site, &answer.url, None, request).await
}

/// A command without streams; answers with what it wrote.
pub(super) async fn run(
    State(site): State<Site>,
    Path(names): Path<Names>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Refusal> {
    let container_id = running(&site, &names).await?;
    let command = query.get("cmd").map(String::as_str).unwrap_or_default();
    let cmd: Vec<String> = command.split(' ').map(str::to_owned).collect();
    let request = v1::ExecSyncRequest { container_id, cmd, timeout: 0 };
    let answer = site.context.cri.exec_sync(request).await.map_err(runtime)?;
    let output = [answer.stdout, answer.stderr].concat();
    match answer.exit_code {
        0 => Ok(Body::from(output).into_response()),
        code => {
            let text = String::from_utf8_lossy(&output);
            Err((StatusCode::INTERNAL_SERVER_ERROR, format!("command '{command}' exited with {code}: {text}")))
        }
    }
}

/// Which streams of a process are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Streams {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

impl Streams {
    fn of(query: &Pairs) -> Result<Self, Refusal> {
        let flag = |name: &str| query.iter().any(|(key, value)| key == name && value == "1");
        let mut streams =
            Self { stdin: flag("input"), stdout: flag("output"), stderr: flag("error"), tty: flag("tty") };
        // A terminal has one output.
        streams.stderr &= !streams.tty;
        if !streams.stdin && !streams.stdout && !streams.stderr {
            return Err(bad("you must specify at least 1 of stdin, stdout, stderr".to_owned()));
        }
        Ok(streams)
    }
}

/// Leads a client's connection to the runtime's URL.
async fn open(site: &Site, url: &str, streams: Option<Streams>, mut request: Request) -> Result<Response, Refusal> {
    let upgrade = skep_upgrade::take(&mut request).filter(|_| skep_upgrade::is_upgrade(request.headers()));
    let client = upgrade.ok_or_else(|| bad("Upgrade request required".to_owned()))?;
    let slot = slot(site)?;
    let url: http::Uri =
        url.parse().map_err(|error| internal(&format!("the runtime gave the URL {url:?}: {error}")))?;
    let offer = WebSocketOffer::of(request.headers());
    let tunnelled = offer.and_then(|offer| Some((tunnel::Kind::of(&offer, streams)?, offer)));
    if let Some((kind, offer)) = tunnelled {
        return tunnel::open(&url, kind, offer, client, site.stop.clone(), slot).await;
    }
    let headers = skep_upgrade::headers_to_pass(request.headers());
    let answer = tunnel::ask(&url, request.method().clone(), headers).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(Body::new));
    }
    Ok(skep_upgrade::relay(client, answer, site.stop.clone(), slot).map(|()| Body::empty()))
}

fn slot(site: &Site) -> Result<OwnedSemaphorePermit, Refusal> {
    let text = || (StatusCode::TOO_MANY_REQUESTS, "too many streams".to_owned());
    site.streams.clone().try_acquire_owned().map_err(|_| text())
}

fn name<'a>(names: &'a Names, key: &str) -> &'a str {
    names.get(key).map(String::as_str).unwrap_or_default()
}

fn words(query: &Pairs, key: &str) -> Vec<String> {
    query.iter().filter(|(held, _)| held == key).map(|(_, value)| value.clone()).collect()
}

fn pod(site: &Site, names: &Names) -> Result<std::sync::Arc<Pod>, Refusal> {
    let found = site.pods.find(name(names, "namespace"), name(names, "pod"));
    let uid = names.get("uid");
    found
        .filter(|pod| uid.is_none() || pod.metadata.uid.as_ref() == uid)
        .ok_or_else(|| (StatusCode::NOT_FOUND, "pod does not exist".to_owned()))
}

/// The id of the running instance of a container.
async fn running(site: &Site, names: &Names) -> Result<String, Refusal> {
    let pod = pod(site, names)?;
    let container = name(names, "container");
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let selector = HashMap::from([(LABEL.pod_uid.to_owned(), uid), (LABEL.container.to_owned(), container.to_owned())]);
    let state = Some(v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning as i32 });
    let filter = v1::ContainerFilter { label_selector: selector, state, ..v1::ContainerFilter::default() };
    let listed = site.context.cri.list_containers(v1::ListContainersRequest { filter: Some(filter) }).await;
    let newest = listed.map_err(runtime)?.containers.into_iter().max_by_key(|held| held.created_at);
    newest.map(|held| held.id).ok_or_else(|| internal(&format!("container not found ({container:?})")))
}

/// The id of the pod's sandbox, which holds its network.
async fn sandbox(site: &Site, pod: &Pod, names: &Names) -> Result<String, Refusal> {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let state = Some(v1::PodSandboxStateValue { state: v1::PodSandboxState::SandboxReady as i32 });
    let label_selector = HashMap::from([(LABEL.pod_uid.to_owned(), uid)]);
    let filter = Some(v1::PodSandboxFilter { label_selector, state, ..v1::PodSandboxFilter::default() });
    let listed = site.context.cri.list_pod_sandbox(v1::ListPodSandboxRequest { filter }).await;
    let newest = listed.map_err(runtime)?.items.into_iter().max_by_key(|held| held.created_at);
    let full = format!("{}_{}", name(names, "pod"), name(names, "namespace"));
    newest.map(|held| held.id).ok_or_else(|| internal(&format!("pod not found ({full:?})")))
}

fn bad(text: String) -> Refusal {
    (StatusCode::BAD_REQUEST, text)
}

pub(super) fn internal(text: &str) -> Refusal {
    (StatusCode::INTERNAL_SERVER_ERROR, text.to_owned())
}

/// The codes that the kubelet gives the runtime's.
fn runtime(error: skep_cri::Error) -> Refusal {
    let text = error.to_string();
    if error.is_not_found() { (StatusCode::NOT_FOUND, text) } else { internal(&text) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_read_as_the_kubelet_reads_them() {
        let query = |pairs: &[&str]| pairs.iter().map(|key| ((*key).to_owned(), "1".to_owned())).collect::<Pairs>();
        let streams = Streams::of(&query(&["input", "output", "error", "tty"])).unwrap();
        assert_eq!(streams, Streams { stdin: true, stdout: true, stderr: false, tty: true });
        let (code, text) = Streams::of(&query(&["tty", "error"])).unwrap_err();
        assert_eq!((code.as_u16(), text.as_str()), (400, "you must specify at least 1 of stdin, stdout, stderr"));
    }
}
