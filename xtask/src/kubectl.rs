//! The real `kubectl`.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::cluster::UP;
use crate::tools;

/// Arguments are kubectl's own.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What kubectl gets.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Becomes kubectl, pointed at the cluster of `./x up`.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let kubeconfig = skep_testkit::cluster::kubeconfig(UP);
    if !kubeconfig.exists() {
        bail!("no cluster is up: run ./x up in another terminal");
    }
    Err(Command::new(path()?).args(&args.words).env("KUBECONFIG", kubeconfig).exec()).context("run kubectl")
}

/// Where kubectl is, fetching it if need be.
pub(crate) fn path() -> Result<PathBuf> {
    Ok(tools::KUBECTL.folder()?.join("kubectl"))
}
