//! What load balancers and probes ask a service proxy itself: `/healthz`, whether this node is to get new connections, and `/livez`, whether
//! the daemon works.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Whether the kernel's tables follow what the API server says, and since when.
#[derive(Default)]
pub(crate) struct Freshness {
    /// Whether all that is known has been written once.
    written: AtomicBool,
    /// Whether the last write failed.
    failed: AtomicBool,
    /// Whether the node is about to go.
    leaving: AtomicBool,
    updated: Mutex<Option<Timestamp>>,
}

impl Freshness {
    /// All that is known is in the kernel now.
    pub(crate) fn fresh(&self) {
        self.written.store(true, Ordering::Relaxed);
        self.failed.store(false, Ordering::Relaxed);
        *self.updated.lock().unwrap_or_else(PoisonError::into_inner) = Some(Timestamp::now());
    }

    /// A write failed.
    pub(crate) fn stale(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Whether the node takes new connections from load balancers.
    pub(crate) fn set_eligible(&self, eligible: bool) {
        self.leaving.store(!eligible, Ordering::Relaxed);
    }
}

/// Listens, and answers until `stop`.
///
/// # Errors
/// The address cannot be had.
pub(crate) async fn serve(address: SocketAddr, state: Arc<Freshness>, stop: CancellationToken) -> Result<()> {
    let listener = listen(address).await.with_context(|| format!("listen on {address} for probes"))?;
    let served = axum::serve(listener, router(state)).with_graceful_shutdown(stop.cancelled_owned());
    served.await.context("answer probes")
}

/// Every address of both families is every address of IPv4 where the kernel has no other.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error)
            if address.ip() == Ipv6Addr::UNSPECIFIED && error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

fn router(state: Arc<Freshness>) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/livez", get(livez)).with_state(state)
}

async fn healthz(State(state): State<Arc<Freshness>>) -> Response {
    let wanted = !state.leaving.load(Ordering::Relaxed) && state.written.load(Ordering::Relaxed);
    answer(&state, wanted)
}

async fn livez(State(state): State<Arc<Freshness>>) -> Response {
    answer(&state, true)
}

/// The answer that load balancers know from kube-proxy.
fn answer(state: &Freshness, wanted: bool) -> Response {
    let (failed, eligible) = (state.failed.load(Ordering::Relaxed), !state.leaving.load(Ordering::Relaxed));
    let status = if wanted && !failed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    let updated = *state.updated.lock().unwrap_or_else(PoisonError::into_inner);
    let text = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    let (updated, now) = (text(updated), text(Some(Timestamp::now())));
    let body = format!("{{\"lastUpdated\": \"{updated}\",\"currentTime\": \"{now}\", \"nodeEligible\": {eligible}}}");
    (status, headers, body).into_response()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(state: &Arc<Freshness>, path: &str) -> (u16, serde_json::Value) {
        let request = axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = router(Arc::clone(state)).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_node_that_goes_is_alive_and_not_healthy() {
        let state = Arc::new(Freshness::default());
        let (status, body) = ask(&state, "/healthz").await;
        assert_eq!((status, &body["lastUpdated"]), (503, &"".into()), "nothing is written yet");
        assert_eq!(ask(&state, "/livez").await.0, 200);
        state.fresh();
        let (status, body) = ask(&state, "/healthz").await;
        assert_eq!((status, &body["nodeEligible"]), (200, &true.into()));
        state.set_eligible(false);
        assert_eq!(ask(&state, "/healthz").await.0, 503);
        let (status, body) = ask(&state, "/livez").await;
        assert_eq!((status, &body["nodeEligible"]), (200, &false.into()));
        state.stale();
        assert_eq!(ask(&state, "/livez").await.0, 503);
    }
}
