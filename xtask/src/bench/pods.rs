//! From pod to pod, on one node and across nodes: plain veths with routes, a bridge with iptables, and Skep with routes and with a
//! tunnel, and with many policies on its pods, round by round in one run.

mod cluster;
mod peers;
mod site;

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use self::cluster::Measured;
use self::site::{Place, Site};
use super::example;
use super::row::Rows;
use crate::build::Profile;
use crate::shell::say;
use crate::{image, up};

const ROUNDS: usize = 7;
const FOR_MS: u64 = 600;
/// How many policies there are where there are any.
const POLICIES: usize = 1000;
/// How many pods and policies are known when the delay of a change of policy is measured.
const KNOWN: [&str; 2] = ["10000", "1000"];
/// Clock ticks in which the kernel counts time (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// What is sent, and in what it is counted.
const KINDS: [(&str, &str, &str, f64); 4] = [
    ("stream", "tcp_stream", "Gbit/s", 8e-9),
    ("rr", "tcp_request_response", "1/s", 1.0),
    ("crr", "tcp_connect_request_response", "1/s", 1.0),
    ("udp", "udp_datagrams", "1/s", 1.0),
];

/// One that is measured.
struct Subject<'a> {
    name: &'static str,
    policies: usize,
    site: &'a Site,
    /// What it is held against: the place of that among the subjects, and the end of the ratio's name.
    over: Option<(usize, &'static str)>,
}

/// One subject's samples of one kind, a round each.
#[derive(Default)]
struct Samples {
    rate: Vec<f64>,
    cpu_ns_per_unit: Vec<f64>,
}

/// Lays all subjects out at once, so that every round meets the same machine.
pub(crate) fn run(profile: Profile) -> Result<Rows> {
    up::stop_on_signals()?;
    let program = image::static_echo()?;
    say("lay out the subjects");
    let (plain, bridge) = (peers::plain(&program)?, peers::bridge(&program)?);
    let start = |name, routing| Measured::start(name, routing, &program, profile);
    let (native, vxlan) = (start("bench-native", "native")?, start("bench-vxlan", "vxlan")?);
    let policed = start("bench-policed", "native")?;
    policed.restrict(POLICIES)?;
    let (over_plain, over_unpoliced) = (Some((0, "over_plain")), Some((2, "over_unpoliced")));
    let subjects = [
        Subject { name: "plain-veth", policies: 0, site: &plain, over: None },
        Subject { name: "bridge-iptables", policies: 0, site: &bridge, over: over_plain },
        Subject { name: "skep-native", policies: 0, site: &native.site, over: over_plain },
        Subject { name: "skep-vxlan", policies: 0, site: &vxlan.site, over: over_plain },
        Subject { name: "skep-native", policies: POLICIES, site: &policed.site, over: over_unpoliced },
    ];
    let mut rows = Rows::default();
    measure(&subjects, &mut rows)?;
    drop((plain, bridge, native, vxlan, policed));
    say("the delay of a change of policy");
    example::run("policy_change", &KNOWN, "skep", &mut rows)?;
    Ok(rows)
}

/// All kinds of traffic of all subjects, from the client to both servers.
fn measure(subjects: &[Subject<'_>], rows: &mut Rows) -> Result<()> {
    let mut samples: BTreeMap<(usize, usize, usize), Samples> = BTreeMap::new();
    for round in 1..=ROUNDS {
        say(&format!("round {round} of {ROUNDS}"));
        for (kind, (word, _, _, factor)) in KINDS.iter().enumerate() {
            for (place, at) in Place::ALL.into_iter().enumerate() {
                // Each round begins with another, since the first may meet a colder machine.
                for subject in (0..subjects.len()).map(|turn| (turn + round) % subjects.len()) {
                    ensure!(!up::stopping(), "interrupted");
                    let busy = busy_seconds()?;
                    let outcome = subjects[subject].site.traffic(at, word, FOR_MS)?;
                    let busy = busy_seconds()? - busy;
                    let units = outcome.units as f64;
                    let of = samples.entry((kind, place, subject)).or_default();
                    of.rate.push(units * factor / outcome.seconds);
                    of.cpu_ns_per_unit.push(busy * 1e9 / units.max(1.0));
                }
            }
        }
    }
    for (&(kind, place, subject), of) in &samples {
        let (_, metric, unit, _) = KINDS[kind];
        let Subject { name, policies, over, .. } = &subjects[subject];
        let settings: BTreeMap<String, Value> =
            [("place".to_owned(), json!(Place::ALL[place].name())), ("policies".to_owned(), json!(policies))].into();
        rows.add_with(name, metric, unit, of.rate.clone(), settings.clone());
        rows.add_with(name, &format!("{metric}_cpu"), "ns", of.cpu_ns_per_unit.clone(), settings.clone());
        if let Some((base, what)) = over {
            // Round by round, so that both sides met the same machine.
            let base = &samples[&(kind, place, *base)].rate;
            let ratio = of.rate.iter().zip(base).map(|(rate, base)| rate / base).collect();
            rows.add_with(name, &format!("{metric}_{what}"), "ratio", ratio, settings);
        }
    }
    Ok(())
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
