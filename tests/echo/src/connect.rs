//! connect() timed to several targets in turn, so that all of them see the same machine.

use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A target; give several to compare them.
    #[arg(long, required = true)]
    target: Vec<SocketAddr>,
    /// Connections to each, after a tenth of that as a warm-up.
    #[arg(long, default_value_t = 2000)]
    count: usize,
}

#[derive(Serialize)]
struct Row {
    target: SocketAddr,
    p50_us: f64,
    p99_us: f64,
    n: usize,
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    let mut samples_us = vec![Vec::with_capacity(args.count); args.target.len()];
    for round in 0..args.count + args.count / 10 {
        for (target, samples) in args.target.iter().zip(&mut samples_us) {
            let start = Instant::now();
            let stream = TcpStream::connect(target).with_context(|| format!("connect to {target}"))?;
            let elapsed_us = start.elapsed().as_secs_f64() * 1e6;
            drop(stream);
            if round >= args.count / 10 {
                samples.push(elapsed_us);
            }
        }
    }
    let rows: Vec<Row> =
        args.target.iter().zip(&mut samples_us).map(|(target, samples)| row(*target, samples)).collect();
    println!("{}", serde_json::to_string(&rows)?);
    Ok(())
}

fn row(target: SocketAddr, samples: &mut [f64]) -> Row {
    samples.sort_by(f64::total_cmp);
    let at =
        |percent: usize| samples.get((samples.len() * percent / 100).min(samples.len().saturating_sub(1))).copied();
    Row { target, p50_us: at(50).unwrap_or_default(), p99_us: at(99).unwrap_or_default(), n: samples.len() }
}
