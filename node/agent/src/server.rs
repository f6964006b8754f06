//! The node's HTTPS server, for the API server, with the kubelet's paths: logs, streams to containers and ports, and what the
//! agent knows of its pods. Clients must show a certificate that the given settings accept, and be allowed to do what they ask for
//! (`access`).

mod access;
mod command;
mod logs;
mod stream;
mod tunnel;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use axum::{Extension, Json, Router};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::context::Shared;
use crate::pod::PodSet;

const CONNECTIONS_MAX: usize = 512;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams at once: connections that left HTTP.
const STREAMS_MAX: usize = 1_000;

/// What handlers work with.
#[derive(Clone)]
struct Site {
    context: Shared,
    pods: PodSet,
    streams: Arc<Semaphore>,
    /// Ends all streams.
    stop: CancellationToken,
}

/// Serves until `stop`.
pub(crate) async fn run(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    context: Shared,
    pods: PodSet,
    stop: CancellationToken,
) {
    let streams = Arc::new(Semaphore::new(STREAMS_MAX));
    let router = router(Site { context, pods, streams, stop: stop.clone() });
    let acceptor = TlsAcceptor::from(tls);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => return,
            slot = slots.clone().acquire_owned() => slot,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept");
                // Out of file descriptors, most likely: some must close first.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = serve(stream, peer, acceptor, router) => {}
            }
            drop(slot);
        });
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, acceptor: TlsAcceptor, router: Router) {
    skep_upgrade::prepare(&stream);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake"),
        Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let router = match certificate.and_then(access::Identity::of) {
        Some(identity) => router.layer(Extension(identity)),
        None => router,
    };
    let service = TowerToHyperService::new(router);
    let served =
        auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        tracing::debug!(%peer, error, "connection");
    }
}

fn router(site: Site) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/pods", get(pods))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs::get))
        .route("/exec/{namespace}/{pod}/{container}", any(stream::exec))
        .route("/exec/{namespace}/{pod}/{uid}/{container}", any(stream::exec))
        .route("/attach/{namespace}/{pod}/{container}", any(stream::attach))
        .route("/attach/{namespace}/{pod}/{uid}/{container}", any(stream::attach))
        .route("/portForward/{namespace}/{pod}", any(stream::port_forward))
        .route("/portForward/{namespace}/{pod}/{uid}", any(stream::port_forward))
        .route("/run/{namespace}/{pod}/{container}", post(stream::run))
        .route("/run/{namespace}/{pod}/{uid}/{container}", post(stream::run))
        .layer(from_fn_with_state(site.clone(), access::check))
        .with_state(site)
}

async fn pods(State(site): State<Site>) -> impl IntoResponse {
    let items: Vec<_> = site.pods.pods();
    Json(serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}
