//! `./x up`: a cluster in the foreground.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use skep_testkit::cluster::{kubeconfig, log_path, log_tail};

use crate::build::{self, Profile};
use crate::cluster::{self, UP};
use crate::kubectl;
use crate::shell::say;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where this machine's kubectl reaches the API server.
    #[arg(long, default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
}

static STOP: AtomicBool = AtomicBool::new(false);

/// Builds, starts, and stays until Ctrl-C.
pub(crate) fn run(args: &Args) -> Result<()> {
    build::run(Profile::Dev)?;
    let kubectl = kubectl::path()?;
    stop_on_signals()?;
    let mut cluster = cluster::start(UP, args.listen, Profile::Dev)?;
    say(&format!(
        "the node is Ready after {} ms; its log: {}",
        cluster.ready_after.as_millis(),
        log_path(UP).display()
    ));
    println!("\nexport KUBECONFIG={}", kubeconfig(UP).display());
    println!("{} get nodes\n\nor: ./x kubectl get nodes\n", kubectl.display());
    say("Ctrl-C takes the cluster down");
    while !STOP.load(Ordering::Relaxed) {
        if let Some(status) = cluster.process().try_wait()? {
            bail!("skep up ended with {status}:\n{}", log_tail(UP));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    say("taking the cluster down");
    cluster.stop()
}

/// From now on SIGINT and SIGTERM only ask for the end, so that what was made can be removed.
pub(crate) fn stop_on_signals() -> Result<()> {
    extern "C" fn stop(_: i32) {
        STOP.store(true, Ordering::Relaxed);
    }
    let action = SigAction::new(SigHandler::Handler(stop), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { sigaction(signal, &action) }.context("handle signals")?;
    }
    Ok(())
}

/// Whether the end was asked for.
pub(crate) fn stopping() -> bool {
    STOP.load(Ordering::Relaxed)
}
