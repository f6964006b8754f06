//! The load: one connection per request, at a steady pace, every failure counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpStream, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// What a server's answer to `/name` may hold at most.
const NAME_LEN_MAX: usize = 512;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to connect, e.g. 10.96.0.10:80.
    #[arg(long)]
    target: SocketAddr,
    /// How many requests; without it, until SIGTERM.
    #[arg(long)]
    count: Option<u64>,
    /// Requests a second; without it, as fast as answers come.
    #[arg(long)]
    rate: Option<u32>,
    /// Send datagrams rather than HTTP requests.
    #[arg(long)]
    udp: bool,
    /// Give a request up, and count it as failed, after so long.
    #[arg(long, default_value_t = 2000)]
    timeout_ms: u64,
    /// Print the counts so far each second, not only at the end.
    #[arg(long)]
    progress: bool,
}

/// The counts so far.
#[derive(Default, Serialize)]
struct Counts {
    requests: u64,
    failed: u64,
    by_pod: BTreeMap<String, u64>,
    /// What the failures said, each with its number.
    errors: BTreeMap<String, u64>,
    done: bool,
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut pace = interval(args.rate.map_or(Duration::from_micros(1), |rate| Duration::from_secs(1) / rate.max(1)));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut counts = Counts::default();
    let mut printed = Instant::now();
    while args.count.is_none_or(|count| counts.requests < count) {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = pace.tick(), if args.rate.is_some() => {}
            () = std::future::ready(()), if args.rate.is_none() => {}
        }
        counts.requests += 1;
        match ask(args).await {
            Ok(pod) => *counts.by_pod.entry(pod).or_default() += 1,
            Err(error) => {
                counts.failed += 1;
                *counts.errors.entry(format!("{error:#}")).or_default() += 1;
            }
        }
        if args.progress && printed.elapsed() >= Duration::from_secs(1) {
            printed = Instant::now();
            println!("{}", serde_json::to_string(&counts)?);
        }
    }
    counts.done = true;
    println!("{}", serde_json::to_string(&counts)?);
    Ok(())
}

async fn ask(args: &Args) -> Result<String> {
    let bound = Duration::from_millis(args.timeout_ms);
    let answer = async { if args.udp { ask_udp(args.target).await } else { ask_http(args.target).await } };
    timeout(bound, answer).await.unwrap_or_else(|_| bail!("no answer in time"))
}

async fn ask_http(target: SocketAddr) -> Result<String> {
    let stream = TcpStream::connect(target).await.context("connect")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context("handshake")?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/name")
        .header(header::HOST, target.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await.context("request")?;
    let status = response.status();
    let body = response.into_body().collect().await.context("answer")?.to_bytes();
    connection.await.context("connection")?.context("close")?;
    if !status.is_success() || body.len() > NAME_LEN_MAX {
        bail!("answered {status}");
    }
    Ok(String::from_utf8_lossy(&body).trim().to_owned())
}

async fn ask_udp(target: SocketAddr) -> Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").await.context("bind")?;
    socket.send_to(b"who", target).await.context("send")?;
    let mut buffer = [0; 2048];
    let (length, from) = socket.recv_from(&mut buffer).await.context("receive")?;
    if from != target {
        bail!("the answer came from {from}, not from {target}");
    }
    let answer: serde_json::Value = serde_json::from_slice(&buffer[..length]).context("parse the answer")?;
    Ok(answer["pod"].as_str().context("the answer names no pod")?.to_owned())
}
