//! `skep clean`: what a killed node left.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::settings::default_state_dir;

#[derive(clap::Args)]
#[command(after_help = "Example: skep clean --name n1")]
pub(crate) struct Args {
    /// The node's name.
    #[arg(long, default_value = "skep")]
    name: String,
    /// Where the node keeps its state [default: /var/lib/skep/NAME].
    #[arg(long)]
    state_dir: Option<PathBuf>,
}

/// Ends the node's containers and its containerd, and removes pins, mounts and cgroups. The store stays.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let state_dir = args.state_dir.clone().unwrap_or_else(|| default_state_dir(&args.name));
    skep_noded::clean(&state_dir, &args.name)?;
    Ok(ExitCode::SUCCESS)
}
