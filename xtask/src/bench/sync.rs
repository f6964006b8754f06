//! Services to the kernel: all from cold, one endpoint at that size, and what `connect()` costs beside so many.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::row::Rows;
use crate::ebpf;
use crate::shell::{cargo, read, say};

/// Services and endpoints of each.
const SIZES: [(u32, u32); 2] = [(10_000, 25), (40_000, 25)];

#[derive(Deserialize)]
struct Line {
    metric: String,
    unit: String,
    samples: Vec<f64>,
    #[serde(flatten)]
    settings: BTreeMap<String, Value>,
}

/// Runs the example that measures, optimised, once for each size.
pub(crate) fn run() -> Result<Rows> {
    ebpf::build()?;
    let mut rows = Rows::default();
    for (services, endpoints) in SIZES {
        say(&format!("{services} Services of {endpoints} endpoints"));
        let mut command = cargo();
        command.args(["run", "--locked", "--quiet", "--release", "-p", "skep-netns", "--example", "sync", "--"]);
        command.args([services.to_string(), endpoints.to_string()]);
        for line in read(&mut command)?.lines() {
            let Line { metric, unit, samples, settings } =
                serde_json::from_str(line).with_context(|| format!("read {line:?}"))?;
            let unit = ["ms", "us", "MiB"].into_iter().find(|known| *known == unit).context("an unknown unit")?;
            rows.add_with(&format!("skep-{services}"), &metric, unit, samples, settings);
        }
    }
    Ok(rows)
}
