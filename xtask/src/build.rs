//! The skep binary.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::shell::{self, cargo, say};
use crate::{ebpf, paths};

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Optimised and small, for packages.
    #[arg(long)]
    release: bool,
}

/// The binary that the other verbs run.
pub(crate) fn skep() -> PathBuf {
    paths::target().join("debug/skep")
}

/// Builds the eBPF programs and, with them inside, the binaries.
pub(crate) fn run(args: &Args) -> Result<()> {
    ebpf::build()?;
    say("building skep (the first time takes some twenty minutes, most of it RocksDB and TLS)");
    let mut command = cargo();
    // Over the whole workspace, so that features are the same in every build and nothing is compiled twice.
    command.args(["build", "--locked", "--workspace", "--bins"]);
    if args.release {
        command.arg("--release");
    }
    shell::run(&mut command).context("build skep")
}
