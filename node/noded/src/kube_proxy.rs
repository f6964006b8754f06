//! What a kube-proxy that ran on this node left in the kernel: found, removed and told.
//!
//! By the tools of iptables, nftables and IPVS, in the caller's network namespace. A tool that is not installed is no error where there is
//! nothing for it to remove.

mod iptables;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// The interface that carries Services' addresses in IPVS mode.
const IPVS_LINK: &str = "kube-ipvs0";
/// Beginnings of the names of its sets, those of IPv6 with a `6-` in the middle.
const SETS: [&str; 8] = [
    "KUBE-LOOP-BACK",
    "KUBE-CLUSTER-IP",
    "KUBE-EXTERNAL-IP",
    "KUBE-LOAD-BALANCER",
    "KUBE-NODE-PORT",
    "KUBE-HEALTH-CHECK-NODE-PORT",
    "KUBE-IPVS-IPS",
    "KUBE-6-",
];
/// The same kernel tables are seen by both families' programs; each of these has its own.
const FAMILIES: [&str; 2] = ["iptables", "ip6tables"];

/// Removes chains, tables, sets and the interface of a former kube-proxy, whatever its mode was. Returns what was removed, a line for each
/// thing; what the kubelet and network plugins made stays.
///
/// # Errors
/// A tool that is needed is not installed, or refuses.
pub fn remove_kube_proxy() -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for family in FAMILIES {
        for backend in backends(family) {
            removed.extend(remove_chains(&backend).with_context(|| format!("remove the chains of {backend}"))?);
        }
    }
    removed.extend(remove_tables().context("remove the tables of nftables")?);
    removed.extend(remove_ipvs().context("remove the virtual servers of IPVS")?);
    removed.extend(remove_sets().context("remove the sets of IPVS mode")?);
    Ok(removed)
}

/// The programs that see each of the kernel's two sorts of iptables. To look at the old sort would make tables of it, so it is left alone
/// where there are none.
fn backends(family: &str) -> Vec<String> {
    let legacy = format!("{family}-legacy");
    let nft = format!("{family}-nft");
    let mut backends = Vec::new();
    if is_installed(&format!("{nft}-save")) {
        backends.push(nft);
    } else if is_installed(&format!("{family}-save")) {
        backends.push(family.to_owned());
    }
    let names = if family == "iptables" { "ip_tables_names" } else { "ip6_tables_names" };
    let held = std::fs::read_to_string(Path::new("/proc/thread-self/net").join(names)).unwrap_or_default();
    if !held.trim().is_empty() && is_installed(&format!("{legacy}-save")) {
        backends.push(legacy);
    }
    backends
}

fn remove_chains(backend: &str) -> Result<Vec<String>> {
    let saved = run(&format!("{backend}-save"), &[], "")?;
    let removal = iptables::removal(&saved);
    if removal.script.is_empty() {
        return Ok(Vec::new());
    }
    run(&format!("{backend}-restore"), &["--noflush"], &removal.script)?;
    let told = |(table, chains, rules): &(String, usize, usize)| {
        format!("{backend}: {chains} chains and {rules} rules that lead to them, table {table}")
    };
    Ok(removal.tables.iter().map(told).collect())
}

/// The tables of nftables mode.
fn remove_tables() -> Result<Vec<String>> {
    if !is_installed("nft") {
        return Ok(Vec::new());
    }
    let tables = run("nft", &["list", "tables"], "")?;
    let own = tables.lines().filter_map(|line| line.trim().strip_prefix("table "));
    let mut removed = Vec::new();
    for table in own.filter(|table| matches!(*table, "ip kube-proxy" | "ip6 kube-proxy")) {
        run("nft", &["-f", "-"], &format!("delete table {table}\n"))?;
        removed.push(format!("nftables: table {table}"));
    }
    Ok(removed)
}

fn remove_ipvs() -> Result<Vec<String>> {
    if nix::net::if_::if_nametoindex(IPVS_LINK).is_err() {
        return Ok(Vec::new());
    }
    let mut removed = Vec::new();
    // Only where that interface shows whose they are.
    if Path::new("/proc/thread-self/net/ip_vs").exists() {
        ensure!(is_installed("ipvsadm"), "ipvsadm is not installed: apt-get install ipvsadm");
        run("ipvsadm", &["--clear"], "")?;
        removed.push("IPVS: all virtual servers".to_owned());
    }
    run("ip", &["link", "delete", IPVS_LINK], "")?;
    removed.push(format!("IPVS: interface {IPVS_LINK}"));
    Ok(removed)
}

fn remove_sets() -> Result<Vec<String>> {
    if !is_installed("ipset") {
        return Ok(Vec::new());
    }
    let mut removed = Vec::new();
    for set in run("ipset", &["list", "-name"], "")?.lines() {
        if SETS.iter().any(|prefix| set.starts_with(prefix)) {
            run("ipset", &["destroy", set], "")?;
            removed.push(format!("ipset: {set}"));
        }
    }
    Ok(removed)
}

fn is_installed(program: &str) -> bool {
    crate::preflight::is_installed(program)
}

/// Runs a tool and gives back what it printed.
fn run(program: &str, args: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let written = child.stdin.take().context("a child without input")?.write_all(input.as_bytes());
    let output = child.wait_with_output().with_context(|| format!("wait for {program}"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    written.with_context(|| format!("write to {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
