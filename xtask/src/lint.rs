//! `./x lint`: what a reviewer should not have to say.

mod layers;
mod size;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::shell::{self, cargo, say};
use crate::{ebpf, paths};

/// The version of cargo-deny that deny.toml is written for.
const CARGO_DENY: &str = "0.20.2";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Let rustfmt mend what it can.
    #[arg(long)]
    fix: bool,
}

/// Runs all linters, and says at the end which did not pass.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    ebpf::build()?;
    let mut failed = Vec::new();
    let mut check = |name: &str, result: Result<()>| {
        if let Err(error) = result {
            eprintln!("{error:#}\n");
            failed.push(name.to_owned());
        }
    };
    check("layers", layers::check());
    check("size", size::check());
    check("fmt", fmt(args.fix));
    check("clippy", clippy());
    check("deny", deny());
    if failed.is_empty() {
        say("lint: ok");
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("lint: failed: {}", failed.join(", ")));
    Ok(ExitCode::FAILURE)
}

fn fmt(fix: bool) -> Result<()> {
    for folder in [paths::root(), paths::root().join("ebpf/programs")] {
        let mut command = cargo();
        command.current_dir(folder).args(["fmt", "--all"]);
        if !fix {
            command.arg("--check");
        }
        shell::run(&mut command).context("run ./x lint --fix")?;
    }
    Ok(())
}

fn clippy() -> Result<()> {
    let mut command = cargo();
    command.args(["clippy", "--quiet", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    shell::run(&mut command)
}

/// Licences and sources of all dependencies.
fn deny() -> Result<()> {
    let installed = Command::new("cargo-deny").arg("--version").output().is_ok_and(|output| output.status.success());
    if !installed {
        say("installing cargo-deny (about five minutes)");
        let mut command = cargo();
        command.args(["install", "--quiet", "--locked", "cargo-deny", "--version", CARGO_DENY, "--root"]);
        command.arg(paths::cache().join("tools")).env("CARGO_TARGET_DIR", paths::cache().join("tools/build"));
        shell::run(&mut command)?;
        std::fs::remove_dir_all(paths::cache().join("tools/build")).context("remove what cargo-deny was built in")?;
    }
    for folder in [paths::root(), paths::root().join("ebpf/programs")] {
        let mut command = cargo();
        command
            .current_dir(folder)
            .args(["deny", "--log-level", "error", "--config"])
            .arg(paths::root().join("deny.toml"));
        shell::run(command.args(["check", "licenses", "bans", "sources"]))?;
    }
    Ok(())
}

/// A path as people write it: from the root of the checkout.
fn relative(path: &Path) -> String {
    path.strip_prefix(paths::root()).unwrap_or(path).display().to_string()
}
