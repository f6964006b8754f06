//! The rows that every benchmark prints.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// In what programs count that measure for a benchmark.
const UNITS: [&str; 6] = ["ms", "us", "MiB", "1", "1/s", "ratio"];

/// One figure over its samples.
#[derive(Serialize)]
pub(crate) struct Row {
    /// What was measured, e.g. `skep`.
    subject: String,
    /// Which figure, e.g. `node_ready`.
    metric: String,
    unit: &'static str,
    median: f64,
    low: f64,
    high: f64,
    n: usize,
    /// The row's own settings, e.g. `services`.
    #[serde(flatten)]
    settings: BTreeMap<String, Value>,
}

/// A figure as such a program prints it, one JSON document a line.
#[derive(Deserialize)]
struct Line {
    subject: Option<String>,
    metric: String,
    unit: String,
    samples: Vec<f64>,
    #[serde(flatten)]
    settings: BTreeMap<String, Value>,
}

/// All figures of a benchmark.
#[derive(Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Rows(Vec<Row>);

impl Rows {
    /// Adds a figure. Without samples there is no row.
    pub(crate) fn add(&mut self, subject: &str, metric: &str, unit: &'static str, samples: Vec<f64>) {
        self.add_with(subject, metric, unit, samples, BTreeMap::new());
    }

    /// Adds a figure with the settings that it was taken at.
    pub(crate) fn add_with(
        &mut self,
        subject: &str,
        metric: &str,
        unit: &'static str,
        mut samples: Vec<f64>,
        settings: BTreeMap<String, Value>,
    ) {
        samples.sort_by(f64::total_cmp);
        let (Some(low), Some(high)) = (samples.first().copied(), samples.last().copied()) else { return };
        let (subject, metric, n) = (subject.to_owned(), metric.to_owned(), samples.len());
        self.0.push(Row { subject, metric, unit, median: samples[n / 2], low, high, n, settings });
    }

    /// Adds what a program printed; `subject` is of lines that name none.
    pub(crate) fn add_lines(&mut self, subject: &str, text: &str) -> Result<()> {
        for line in text.lines() {
            let read: Line = serde_json::from_str(line).with_context(|| format!("read {line:?}"))?;
            let unit = UNITS.into_iter().find(|known| *known == read.unit).context("an unknown unit")?;
            let subject = read.subject.as_deref().unwrap_or(subject);
            self.add_with(subject, &read.metric, unit, read.samples, read.settings);
        }
        Ok(())
    }

    /// Prints a table.
    pub(crate) fn print(&self) {
        println!(
            "{:<16} {:<42} {:>6} {:>12} {:>12} {:>12} {:>4}  SETTINGS",
            "SUBJECT", "METRIC", "UNIT", "MEDIAN", "LOW", "HIGH", "N"
        );
        for row in &self.0 {
            let settings: Vec<String> = row.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
            println!(
                "{:<16} {:<42} {:>6} {:>12.3} {:>12.3} {:>12.3} {:>4}  {}",
                row.subject,
                row.metric,
                row.unit,
                row.median,
                row.low,
                row.high,
                row.n,
                settings.join(" ")
            );
        }
    }
}

/// The machine that was measured on.
#[derive(Serialize)]
pub(crate) struct Host {
    kernel: String,
    cpus: usize,
    memory_mib: u64,
}

impl Host {
    pub(crate) fn read() -> Result<Host> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or("0 kB");
        let memory_mib = total.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) / 1024;
        let cpus = std::thread::available_parallelism()?.get();
        Ok(Host { kernel, cpus, memory_mib })
    }
}
