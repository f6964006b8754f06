//! Traffic between two hosts: a stream, requests on one connection, a connection per request, datagrams.
//!
//! The server takes all of it on one port. The first byte of a connection says what it is for.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt::Linger};
use serde::Serialize;

const STREAM: u8 = b's';
const ECHO: u8 = b'r';
/// Asks how many datagrams have come.
const COUNT: u8 = b'u';

const STREAM_BLOCK: usize = 256 << 10;
const DATAGRAM: [u8; 64] = [0; 64];

#[derive(clap::Args)]
pub(crate) struct ServeArgs {
    /// The port of TCP and UDP.
    #[arg(long, default_value_t = 5001)]
    port: u16,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to send.
    #[arg(long)]
    kind: Kind,
    /// The server, e.g. 10.42.0.7:5001.
    #[arg(long)]
    target: SocketAddr,
    /// For how long.
    #[arg(long, default_value_t = 1000)]
    for_ms: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// One TCP connection, as many bytes as it takes.
    Stream,
    /// One byte there and back, again and again, on one connection.
    Rr,
    /// Connect, one byte there and back, close.
    Crr,
    /// Datagrams of 64 bytes.
    Udp,
}

/// What came through.
#[derive(Serialize)]
struct Outcome {
    /// Bytes of a stream; requests; datagrams that arrived.
    units: u64,
    /// How long it took.
    seconds: f64,
}

/// Serves until it is killed.
pub(crate) fn serve(args: &ServeArgs) -> Result<()> {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, args.port));
    let datagrams = Arc::new(AtomicU64::new(0));
    let socket = UdpSocket::bind(address).context("bind UDP")?;
    let counter = Arc::clone(&datagrams);
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while socket.recv(&mut buffer).is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let listener = TcpListener::bind(address).context("bind TCP")?;
    loop {
        let (stream, _) = listener.accept().context("accept")?;
        let datagrams = Arc::clone(&datagrams);
        // A client that goes away ends its own connection only.
        thread::spawn(move || answer(stream, &datagrams));
    }
}

fn answer(mut stream: TcpStream, datagrams: &AtomicU64) -> std::io::Result<()> {
    let mut buffer = vec![0; STREAM_BLOCK];
    stream.read_exact(&mut buffer[..1])?;
    match buffer[0] {
        STREAM => while stream.read(&mut buffer)? > 0 {},
        ECHO => {
            stream.set_nodelay(true)?;
            while stream.read(&mut buffer[..1])? > 0 {
                stream.write_all(&buffer[..1])?;
            }
        }
        _ => stream.write_all(&datagrams.load(Ordering::Relaxed).to_le_bytes())?,
    }
    Ok(())
}

/// Sends for the time asked for and prints what came through, as JSON.
pub(crate) fn run(args: &Args) -> Result<()> {
    let end = Instant::now() + Duration::from_millis(args.for_ms);
    let began = Instant::now();
    let units = match args.kind {
        Kind::Stream => stream(args.target, end),
        Kind::Rr => requests(args.target, end),
        Kind::Crr => connections(args.target, end),
        Kind::Udp => datagrams(args.target, end),
    }?;
    let outcome = Outcome { units, seconds: began.elapsed().as_secs_f64() };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn open(target: SocketAddr, kind: u8) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(target).with_context(|| format!("connect to {target}"))?;
    stream.set_nodelay(true)?;
    stream.write_all(&[kind])?;
    Ok(stream)
}

fn stream(target: SocketAddr, end: Instant) -> Result<u64> {
    let mut stream = open(target, STREAM)?;
    let block = vec![0; STREAM_BLOCK];
    let mut bytes = 0;
    while Instant::now() < end {
        bytes += stream.write(&block)? as u64;
    }
    Ok(bytes)
}

fn requests(target: SocketAddr, end: Instant) -> Result<u64> {
    let mut stream = open(target, ECHO)?;
    let mut count = 0;
    while Instant::now() < end {
        exchange(&mut stream)?;
        count += 1;
    }
    Ok(count)
}

fn connections(target: SocketAddr, end: Instant) -> Result<u64> {
    let mut count = 0;
    while Instant::now() < end {
        let mut stream = open(target, ECHO)?;
        exchange(&mut stream)?;
        // Closed by a reset: no port is left waiting, however many there are.
        setsockopt(&stream, Linger, &linger { l_onoff: 1, l_linger: 0 })?;
        count += 1;
    }
    Ok(count)
}

fn exchange(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"x")?;
    Ok(stream.read_exact(&mut [0])?)
}

fn datagrams(target: SocketAddr, end: Instant) -> Result<u64> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))?;
    let count = || -> Result<u64> {
        let mut number = [0; 8];
        open(target, COUNT)?.read_exact(&mut number)?;
        Ok(u64::from_le_bytes(number))
    };
    let before = count()?;
    socket.connect(target).with_context(|| format!("connect to {target}"))?;
    while Instant::now() < end {
        // A queue that is full is a datagram that does not arrive.
        let _sent = socket.send(&DATAGRAM);
    }
    Ok(count()? - before)
}
