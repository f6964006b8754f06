//! `./x bench NAME`: figures, as a table and as JSON. No test depends on any.

mod api;
mod churn;
mod example;
mod pods;
mod row;
mod smoke;
mod sync;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;

use row::Host;

use crate::build::{self, Profile};
use crate::ebpf;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which benchmark.
    name: Name,
    /// Write the rows here as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measure the development build instead of the released one, which takes long to compile.
    #[arg(long)]
    dev: bool,
    /// Measure the binary as it was built last, without a look at the sources.
    #[arg(long)]
    built: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// Start, pod start, programming delay, memory, and connect() through the ClusterIP against a direct one.
    Smoke,
    /// TCP and UDP from pod to pod, on one node and across: plain veths, a bridge with iptables, Skep native and VXLAN, 0 and 1,000 policies.
    Pods,
    /// Two minutes of random changes of Services beside traffic; fails where a connection does that has a live backend.
    Churn,
    /// Services to the kernel: 10,000 and 40,000 of 25 endpoints from cold, one endpoint's change, connect() beside them.
    Sync,
    /// The API over TLS: create, get, update, list, watch, with the store's own rate beside them, and memory up to 100,000 pods.
    Api,
}

/// Runs one benchmark and prints its rows.
pub(crate) fn run(args: &Args) -> Result<()> {
    let profile = if args.dev { Profile::Dev } else { Profile::Release };
    if !args.built {
        match args.name {
            Name::Sync | Name::Churn => ebpf::build()?,
            Name::Smoke | Name::Pods | Name::Api => build::run(profile)?,
        }
    }
    let (name, rows) = match args.name {
        Name::Smoke => ("smoke", smoke::run(profile)?),
        Name::Pods => ("pods", pods::run(profile)?),
        Name::Churn => ("churn", churn::run()?),
        Name::Sync => ("sync", sync::run()?),
        Name::Api => ("api", api::run(profile)?),
    };
    rows.print();
    if let Some(path) = &args.json {
        let document = serde_json::json!({"bench": name, "host": Host::read()?, "rows": rows});
        fs::write(path, serde_json::to_vec_pretty(&document)?).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
