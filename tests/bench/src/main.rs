//! `skep-bench`: measures a real server from outside, over TLS, and prints one JSON line for each figure, as `./x bench api` reads
//! them.
//!
//! The server is a process of its own, so that its memory and its processor time are its own. It shares the machine with the clients
//! here: rates are those of both, processor time per request is the server's alone.

mod api;
mod baseline;
mod connection;
mod fanout;
mod load;
mod report;
mod server;
mod store;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// Measures the API of a `skep server`.
#[derive(Parser)]
struct Args {
    /// The binary to measure.
    #[arg(long)]
    skep: PathBuf,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Objects of each kind that are created, read, updated and listed.
    #[arg(long, default_value_t = 10_000)]
    objects: usize,
    /// Pods in the end, for the memory that they take.
    #[arg(long, default_value_t = 100_000)]
    pods: usize,
    /// Watches of one resource at once.
    #[arg(long, default_value_t = 1_000)]
    watchers: usize,
    /// Changes that all watchers are told of.
    #[arg(long, default_value_t = 100)]
    events: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(api::run(&args))
}
