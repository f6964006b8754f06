//! Measurements that need the tables themselves: examples of the netns tests, which print a line of JSON for each figure.

use std::process::Command;

use anyhow::{Context, Result};

use super::row::Rows;
use crate::paths;
use crate::shell::{self, cargo, read};

/// Runs one, optimised, and adds what it measured.
pub(super) fn run(name: &str, args: &[&str], subject: &str, rows: &mut Rows) -> Result<()> {
    // Over the whole workspace, so that features are those of every other build.
    let build = ["build", "--locked", "--release", "--workspace", "--example", name];
    shell::run(cargo().args(build)).with_context(|| format!("build {name}"))?;
    let program = paths::target().join("release/examples").join(name);
    rows.add_lines(subject, &read(Command::new(program).args(args))?)
}
