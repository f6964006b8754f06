//! Services and slices that change at random beside traffic: `churn [SECONDS [CHANGES_A_SECOND [CONNECTIONS]]]`, as JSON lines of `metric`,
//! `unit` and `samples`. Ends with an error where something failed that had a live backend, or where the kernel differs in the end.

use anyhow::ensure;
use serde_json::json;
use skep_netns::{Churn, World};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1).map(|text| text.parse::<u32>());
    let seconds = args.next().transpose()?.unwrap_or(120);
    let rate = args.next().transpose()?.unwrap_or(200);
    let long_lived = args.next().transpose()?.unwrap_or(1_000) as usize;
    let mut world = World::new(4);
    let churn = Churn {
        changes: (seconds * rate) as usize,
        rate,
        calls: 1_000,
        long_lived,
        restarts: 3,
        seed: u64::from(seconds),
    };
    let mut churned = churn.run(&mut world)?;
    churned.changes.sort_unstable();
    let at = |percent: usize| churned.changes[(churned.changes.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    for (metric, unit, value) in [
        ("change_p50", "ms", at(50)),
        ("change_p99", "ms", at(99)),
        ("changes", "1", churned.changes.len() as f64),
        ("short_connections", "1", churned.calls as f64),
        ("answers_on_long_lived", "1", churned.pings as f64),
        ("failures", "1", churned.failures.len() as f64),
        ("differences", "1", churned.differences.len() as f64),
    ] {
        let line = json!({"metric": metric, "unit": unit, "samples": [value], "rate": rate, "long_lived": long_lived});
        println!("{line}");
    }
    ensure!(churned.failures.is_empty(), "failed: {}", churned.failures.join("; "));
    ensure!(churned.differences.is_empty(), "the kernel differs: {}", churned.differences.join("; "));
    Ok(())
}
