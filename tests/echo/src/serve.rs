//! The server: every answer names the pod that gave it.

use std::convert::Infallible;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpListener, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// TCP port for HTTP.
    #[arg(long, default_value_t = 8080)]
    http: u16,
    /// UDP port.
    #[arg(long, default_value_t = 8080)]
    udp: u16,
    /// The name to answer with.
    #[arg(long, env = "POD_NAME", default_value = "unnamed")]
    pod: String,
    /// A word that tells one release from the next.
    #[arg(long, env = "RELEASE", default_value = "v1")]
    release: String,
    /// How long to go on serving after SIGTERM, while clients move elsewhere.
    #[arg(long, default_value_t = 1500)]
    drain_ms: u64,
}

/// What an answer says.
#[derive(Serialize)]
struct Answer<'a> {
    pod: &'a str,
    release: &'a str,
    client: SocketAddr,
    asked: String,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let args = Arc::new(args);
    // Sockets of IPv6 take IPv4 as well.
    let tcp = TcpListener::bind((Ipv6Addr::UNSPECIFIED, args.http)).await.context("bind the HTTP port")?;
    let udp = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, args.udp)).await.context("bind the UDP port")?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        () = serve_http(tcp, Arc::clone(&args)) => {}
        result = serve_udp(udp, Arc::clone(&args)) => result?,
        _ = drained(&mut terminate, args.drain_ms) => {}
    }
    Ok(())
}

async fn drained(terminate: &mut tokio::signal::unix::Signal, drain_ms: u64) {
    terminate.recv().await;
    tokio::time::sleep(Duration::from_millis(drain_ms)).await;
}

async fn serve_http(listener: TcpListener, args: Arc<Args>) {
    loop {
        let Ok((stream, client)) = listener.accept().await else { continue };
        let args = Arc::clone(&args);
        tokio::spawn(async move {
            let service =
                service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&args, client, &request))));
            // A client that goes away mid-request is its own affair.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(args: &Args, client: SocketAddr, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let body = match request.uri().path() {
        "/healthz" => "ok\n".to_owned(),
        "/name" => format!("{}\n", args.pod),
        _ => describe(args, client, format!("{} {}", request.method(), request.uri())),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::OK;
    response
}

async fn serve_udp(socket: UdpSocket, args: Arc<Args>) -> Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, client) = socket.recv_from(&mut buffer).await.context("receive a datagram")?;
        let asked = String::from_utf8_lossy(&buffer[..length]).trim().to_owned();
        // An answer that cannot be sent is a lost datagram, as UDP allows.
        let _ = socket.send_to(describe(&args, client, asked).as_bytes(), client).await;
    }
}

fn describe(args: &Args, client: SocketAddr, asked: String) -> String {
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let answer = Answer { pod: &args.pod, release: &args.release, client, asked };
    let mut text = serde_json::to_string(&answer).unwrap_or_default();
    text.push('\n');
    text
}
