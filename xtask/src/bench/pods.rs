//! From pod to pod on one node: plain veths with routes, a bridge with iptables, and Skep, round by round in one run.

mod topology;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use skep_testkit::{Process, wait_until};

use self::topology::Pair;
use super::row::Rows;
use crate::build::{self, Profile};
use crate::shell::{read, say};
use crate::{image, up};

const ROUNDS: usize = 7;
const FOR_MS: u64 = 1000;
const PORT: u16 = 5001;
const GRACE: Duration = Duration::from_secs(2);
const WITHIN: Duration = Duration::from_secs(10);
/// Clock ticks in which the kernel counts time (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// What is sent, and in what it is counted.
const KINDS: [(&str, &str, &str, f64); 4] = [
    ("stream", "tcp_stream", "Gbit/s", 8e-9),
    ("rr", "tcp_request_response", "1/s", 1.0),
    ("crr", "tcp_connect_request_response", "1/s", 1.0),
    ("udp", "udp_datagrams", "1/s", 1.0),
];

#[derive(Deserialize)]
struct Outcome {
    units: u64,
    seconds: f64,
}

/// One subject's samples of one kind, a round each.
#[derive(Default)]
struct Samples {
    rate: Vec<f64>,
    cpu_ns_per_unit: Vec<f64>,
}

/// Lays all subjects out at once, so that every round meets the same machine.
pub(crate) fn run(profile: Profile) -> Result<Rows> {
    build::run(profile)?;
    up::stop_on_signals()?;
    let program = image::static_echo()?;
    say("lay out the subjects");
    let subjects =
        [("plain-veth", Pair::plain()?), ("bridge-iptables", Pair::bridge()?), ("skep-native", Pair::skep(profile)?)];
    let mut servers = Vec::new();
    for (name, pair) in &subjects {
        let mut command = pair.on_server(&program);
        command.args(["traffic-serve", "--port", &PORT.to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
        servers.push(Process::spawn(&mut command, GRACE)?);
        wait_until(&format!("the server of {name}"), WITHIN, || Ok(traffic(pair, &program, "rr", 10).is_ok()))?;
    }
    let mut samples: Vec<Vec<Samples>> =
        KINDS.iter().map(|_| subjects.iter().map(|_| Samples::default()).collect()).collect();
    for round in 1..=ROUNDS {
        say(&format!("round {round} of {ROUNDS}"));
        for (kind, of_kind) in KINDS.iter().zip(&mut samples) {
            // Each round begins with another, since the first may meet a colder machine.
            for turn in 0..subjects.len() {
                let index = (turn + round) % subjects.len();
                ensure!(!up::stopping(), "interrupted");
                let busy = busy_seconds()?;
                let outcome = traffic(&subjects[index].1, &program, kind.0, FOR_MS)?;
                let busy = busy_seconds()? - busy;
                let units = outcome.units as f64;
                of_kind[index].rate.push(units * kind.3 / outcome.seconds);
                of_kind[index].cpu_ns_per_unit.push(busy * 1e9 / units.max(1.0));
            }
        }
    }
    drop(servers);
    let names = subjects.each_ref().map(|(name, _)| *name);
    let mut rows = Rows::default();
    for ((_, metric, unit, _), of_kind) in KINDS.iter().zip(samples) {
        report(&mut rows, &names, metric, unit, of_kind);
    }
    for (_, pair) in subjects {
        pair.stop()?;
    }
    Ok(rows)
}

/// Rates, processor time, and the rate over that of the first subject, round by round.
fn report(rows: &mut Rows, names: &[&str], metric: &str, unit: &'static str, of_kind: Vec<Samples>) {
    let base: Vec<f64> = of_kind.first().map(|samples| samples.rate.clone()).unwrap_or_default();
    for (name, samples) in names.iter().zip(of_kind) {
        let ratio = samples.rate.iter().zip(&base).map(|(rate, base)| rate / base).collect();
        rows.add(name, metric, unit, samples.rate);
        rows.add(name, &format!("{metric}_cpu"), "ns", samples.cpu_ns_per_unit);
        if *name != names[0] {
            rows.add(name, &format!("{metric}_over_plain"), "ratio", ratio);
        }
    }
}

fn traffic(pair: &Pair, program: &Path, kind: &str, for_ms: u64) -> Result<Outcome> {
    let target = format!("{}:{PORT}", pair.server_address);
    let mut command = pair.on_client(program);
    command.args(["traffic", "--kind", kind, "--target", &target, "--for-ms", &for_ms.to_string()]);
    let text = read(&mut command)?;
    serde_json::from_str(text.trim()).with_context(|| format!("parse {text}"))
}

/// Seconds that all processors together were not idle, interrupts included.
fn busy_seconds() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq
    let busy: f64 = ticks.iter().take(7).enumerate().filter(|(index, _)| !matches!(index, 3 | 4)).map(|(_, t)| t).sum();
    Ok(busy / TICKS_PER_SECOND)
}
