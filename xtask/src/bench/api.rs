//! The API server: requests over many connections, lists, watches, memory, and the store's own rate beside them.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::row::Rows;
use crate::build::{self, Profile};
use crate::paths;
use crate::shell::say;

/// Pods in the end. The development build would take minutes to make as many.
const PODS: usize = 100_000;
const PODS_DEV: usize = 20_000;

/// Runs the program that measures, which starts the server.
pub(crate) fn run(profile: Profile) -> Result<Rows> {
    say("a server of its own, 64 connections");
    let skep = build::skep(profile);
    let pods = if profile == Profile::Release { PODS } else { PODS_DEV };
    let mut command = Command::new(skep.with_file_name("skep-bench"));
    command.arg("--skep").arg(&skep).args(["--pods", &pods.to_string()]).current_dir(paths::root());
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("start skep-bench")?;
    ensure!(output.status.success(), "skep-bench ended with {}", output.status);
    let mut rows = Rows::default();
    rows.add_lines("api", &String::from_utf8_lossy(&output.stdout))?;
    Ok(rows)
}
