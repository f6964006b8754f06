//! Measurements that need the tables themselves: examples of the netns tests, which print a line of JSON for each figure.

use anyhow::Result;

use super::row::Rows;
use crate::shell::{cargo, read};

/// Runs one, optimised, and adds what it measured.
pub(super) fn run(name: &str, args: &[&str], subject: &str, rows: &mut Rows) -> Result<()> {
    let mut command = cargo();
    command.args(["run", "--locked", "--quiet", "--release", "-p", "skep-netns", "--example", name, "--"]);
    rows.add_lines(subject, &read(command.args(args))?)
}
