//! Measurements that need the tables themselves: examples of the netns tests, which print a line of JSON for each figure.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::row::Rows;
use crate::shell::{cargo, read};

#[derive(Deserialize)]
struct Line {
    metric: String,
    unit: String,
    samples: Vec<f64>,
    #[serde(flatten)]
    settings: BTreeMap<String, Value>,
}

/// Runs one, optimised, and adds what it measured.
pub(super) fn run(name: &str, args: &[&str], subject: &str, rows: &mut Rows) -> Result<()> {
    let mut command = cargo();
    command.args(["run", "--locked", "--quiet", "--release", "-p", "skep-netns", "--example", name, "--"]);
    for line in read(command.args(args))?.lines() {
        let Line { metric, unit, samples, settings } =
            serde_json::from_str(line).with_context(|| format!("read {line:?}"))?;
        let unit = ["ms", "us", "MiB", "1"].into_iter().find(|known| *known == unit).context("an unknown unit")?;
        rows.add_with(subject, &metric, unit, samples, settings);
    }
    Ok(())
}
