//! What runs in the demo's containers: a server that says who answered whom, and clients that count.
//!
//! Built as a static binary, so that an image needs nothing but this file.

mod connect;
mod load;
mod pause;
mod serve;
mod traffic;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// A test server (HTTP and UDP) and the clients that measure it.
///
/// Example: skep-echo serve --http 8080 --udp 8080
#[derive(Parser)]
#[command(name = "skep-echo", version)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Answer HTTP and UDP with the pod's name, the client's address and what was asked.
    Serve(serve::Args),
    /// Open a connection per request, count answers by pod, and print the counts as JSON.
    Load(load::Args),
    /// Time connect() to several targets in turn, and print percentiles as JSON.
    Connect(connect::Args),
    /// Take the traffic of other hosts, on one port.
    TrafficServe(traffic::ServeArgs),
    /// Send traffic to a host and print what came through, as JSON.
    Traffic(traffic::Args),
    /// Do nothing until told to end: what holds a pod's namespaces.
    Pause,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match Args::parse().verb {
        Verb::Serve(args) => serve::run(args).await,
        Verb::Load(args) => load::run(&args).await,
        Verb::Connect(args) => connect::run(&args).await,
        Verb::TrafficServe(args) => traffic::serve(&args),
        Verb::Traffic(args) => traffic::run(&args),
        Verb::Pause => pause::run().await,
    }
}
