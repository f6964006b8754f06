//! The skep binary.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::shell::{self, cargo, say};
use crate::{ebpf, paths};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Optimised and small, for packages.
    #[arg(long)]
    release: bool,
}

/// How the binaries are built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to compile.
    Dev,
    /// Quick to run, and small.
    Release,
}

impl Args {
    pub(crate) fn profile(&self) -> Profile {
        if self.release { Profile::Release } else { Profile::Dev }
    }
}

/// The binary that the other verbs run.
pub(crate) fn skep(profile: Profile) -> PathBuf {
    paths::target().join(if profile == Profile::Release { "release/skep" } else { "debug/skep" })
}

/// Builds the eBPF programs and, with them inside, the binaries.
pub(crate) fn run(profile: Profile) -> Result<()> {
    ebpf::build()?;
    say("building skep (the first time takes some twenty minutes, most of it RocksDB and TLS)");
    let mut command = cargo();
    // Over the whole workspace, so that features are the same in every build and nothing is compiled twice.
    command.args(["build", "--locked", "--workspace", "--bins"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    shell::run(&mut command).context("build skep")
}
