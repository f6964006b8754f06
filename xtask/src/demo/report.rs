//! What the demo prints.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use skep_testkit::cluster::Cluster;

use super::total;
use super::traffic::Counts;
use crate::shell::{read, say};
use crate::up;

/// Everything that was seen.
#[derive(Default)]
pub(crate) struct Report {
    /// From the start of the process to the node's Ready.
    pub(crate) ready_ms: u128,
    steps: Vec<(String, Duration)>,
    counts: Vec<(String, Counts)>,
    backends: usize,
    rss_mib: u64,
    /// Rules found in the node's namespace, a line each; there must be none.
    rules: Vec<String>,
}

impl Report {
    /// Runs a step and keeps how long it took.
    pub(crate) fn step<T>(&mut self, name: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
        if up::stopping() {
            bail!("interrupted before: {name}");
        }
        say(name);
        let start = Instant::now();
        let value = f()?;
        self.steps.push((name.to_owned(), start.elapsed()));
        Ok(value)
    }

    /// Keeps what a client counted.
    pub(crate) fn count(&mut self, name: &str, counts: Counts) {
        self.counts.push((name.to_owned(), counts));
    }

    /// Reads the kernel's tables, the programs, the rules and the memory while the cluster is up, and prints them.
    pub(crate) fn observe(&mut self, cluster: &Cluster) -> Result<()> {
        println!("\nPods\n{}", cluster.kubectl(&["get", "pods", "-o", "wide"])?);
        println!("Services\n{}", cluster.kubectl(&["get", "services", "-o", "wide"])?);
        println!("The Service as the kernel holds it (skep net service get default/echo)");
        println!("{}", cluster.skep_net(&["service", "get", "default/echo"])?);
        println!("Programs (skep net prog list)\n{}", cluster.skep_net(&["prog", "list"])?);
        let backends: serde_json::Value =
            serde_json::from_str(&cluster.skep_net(&["service", "get", "default/echo:http", "-o", "json"])?)?;
        self.backends = count_backends(&backends);
        self.rss_mib = cluster.rss_mib()?;
        for (program, args) in
            [("iptables-save", &[][..]), ("iptables-legacy-save", &[]), ("nft", &["list", "ruleset"])]
        {
            let text = read(cluster.node.command(program)?.args(args))?;
            self.rules
                .extend(text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{program}: {line}")));
        }
        Ok(())
    }

    /// Prints the counts and the closing line.
    pub(crate) fn close(&self) -> Result<()> {
        println!("Who answered");
        for (name, counts) in &self.counts {
            println!("  {name}: {} requests, {} failed", counts.requests, counts.failed);
            for (pod, number) in &counts.by_pod {
                println!("    {number:>6}  {pod}");
            }
            for (error, number) in &counts.errors {
                println!("    {number:>6}  failed: {error}");
            }
        }
        println!("\nHow long each step took");
        for (name, duration) in &self.steps {
            println!("  {:>8.1} s  {name}", duration.as_secs_f64());
        }
        println!("\niptables and nftables rules in the node's namespace: {}", self.rules.len());
        for rule in &self.rules {
            println!("  {rule}");
        }
        let (requests, failed) = total(self.counts.iter().map(|(_, counts)| counts));
        let verdict = if failed == 0 && self.rules.is_empty() { "ok" } else { "failed" };
        println!(
            "\ndemo: {verdict} requests={requests} failed={failed} backends={} ready_ms={} rss_mib={}",
            self.backends, self.ready_ms, self.rss_mib
        );
        if failed > 0 {
            bail!("{failed} of {requests} requests failed");
        }
        if !self.rules.is_empty() {
            bail!("the node's namespace holds {} rules", self.rules.len());
        }
        Ok(())
    }
}

/// Backends of the first frontend in `skep net service get -o json`.
fn count_backends(service: &serde_json::Value) -> usize {
    let first = service.as_array().and_then(|rows| rows.first()).unwrap_or(service);
    first["backends"].as_array().map_or(0, Vec::len)
}
