//! Connections: TLS, then HTTP/1.1 or HTTP/2 as the client chose.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::authn::Identity;
use crate::options::Error;
use crate::response;
use crate::server::ApiServer;
use crate::status::ApiError;

/// Connections of one listener at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 10_000;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long requests may go on after the listener was stopped.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Wait after a failure to accept that another try may not have, such as a lack of file descriptors.
const ACCEPT_WAIT: Duration = Duration::from_millis(100);

/// HTTP/2 connections are asked for a sign of life this often.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Streams of one HTTP/2 connection at once.
const STREAMS_MAX: u32 = 250;

pub(crate) async fn serve(
    server: &ApiServer,
    listener: std::net::TcpListener,
    tls: &Arc<rustls::ServerConfig>,
    stop: CancellationToken,
) -> Result<(), Error> {
    listener.set_nonblocking(true).map_err(Error::Listen)?;
    let listener = TcpListener::from_std(listener).map_err(Error::Listen)?;
    let mut tls = rustls::ServerConfig::clone(tls);
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let all = TaskTracker::new();
    // Cuts connections off when this function ends, or is dropped before its end.
    let cut = CancellationToken::new();
    let _cut = cut.clone().drop_guard();
    let draining = server.stopped();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            () = stop.cancelled() => break,
        };
        let Some((stream, permit)) = accepted else { continue };
        let connection = connection(server.clone(), acceptor.clone(), stream, draining.clone());
        let cut = cut.clone();
        all.spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = connection => {}
                () = cut.cancelled() => {}
            }
        });
    }
    drop(listener);
    draining.cancel();
    all.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, all.wait()).await.is_err() {
        tracing::info!(connections = all.len(), "connections that did not end in time are cut off");
    }
    Ok(())
}

async fn accept(listener: &TcpListener, connections: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            let transient = matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset);
            if !transient {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_WAIT).await;
            }
            None
        }
    }
}

/// One connection, from its handshake to its end. Once `draining`, it takes no more requests, and watches end.
async fn connection(server: ApiServer, acceptor: TlsAcceptor, stream: TcpStream, draining: CancellationToken) {
    skep_upgrade::prepare(&stream);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let identity = match certificate {
        None => Some(Arc::new(Identity::anonymous())),
        Some(certificate) => Identity::from_certificate(certificate).map(Arc::new),
    };
    let stop = draining.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, identity, stop) = (server.clone(), identity.clone(), stop.clone());
        async move {
            Ok::<_, Infallible>(match identity {
                Some(identity) => match server.authenticate(request.headers(), identity).await {
                    Ok(identity) => server.answer(request.map(response::boxed), identity, stop).await,
                    Err(error) => error.into_response(),
                },
                None => ApiError::unauthorized().into_response(),
            })
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    let mut serving = std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = draining.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(error, "connection broke");
    }
}
