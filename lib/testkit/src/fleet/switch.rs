//! The nodes' segment: a bridge in a namespace of its own, one port for each node, and one for a host outside the cluster.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};

use super::member;
use super::record::{Family, Record};
use crate::Netns;

/// A node's interface on the segment.
pub(super) const LINK: &str = "eth0";
const BRIDGE: &str = "br0";
const OUTSIDE_PORT: &str = "out0";
/// The host outside, which is everybody's default gateway.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 254);
const OUTSIDE_V6: &str = "fd00:18::fe";
/// A table for frames that the bridge forwards, in which cuts are rules.
const TABLE: &str = "add table bridge skep; add chain bridge skep cuts { type filter hook forward priority 0; }";

pub(super) struct Switch {
    netns: Netns,
    outside: Netns,
}

impl Switch {
    pub(super) fn new(cluster: &str) -> Self {
        let netns = |suffix: &str| Netns::existing(&format!("skep-{cluster}-{suffix}"));
        Self { netns: netns("sw"), outside: netns("out") }
    }

    /// Makes the segment and all namespaces on it.
    pub(super) fn lay(&self, record: &Record) -> Result<()> {
        Netns::make(self.netns.name())?;
        Netns::make(self.outside.name())?;
        self.netns.ip(&["link", "add", BRIDGE, "type", "bridge"])?;
        self.netns.ip(&["link", "set", BRIDGE, "up"])?;
        self.plug(&self.outside, OUTSIDE_PORT, OUTSIDE, OUTSIDE_V6, record.options.family)?;
        for (node, number) in record.nodes().iter().zip(1..) {
            Netns::make(&member::netns(node))?;
            let netns = Netns::existing(&member::netns(node));
            let v6 = Record::address_v6(number).to_string();
            self.plug(&netns, &port(number), Record::address_v4(number), &v6, record.options.family)?;
            if record.options.family.has_v4() {
                netns.ip(&["route", "add", "default", "via", &OUTSIDE.to_string()])?;
            }
            if record.options.family.has_v6() {
                netns.ip(&["-6", "route", "add", "default", "via", OUTSIDE_V6])?;
            }
        }
        self.nft(TABLE)
    }

    fn plug(&self, host: &Netns, port: &str, v4: Ipv4Addr, v6: &str, family: Family) -> Result<()> {
        host.ip(&["link", "add", LINK, "type", "veth", "peer", "name", port, "netns", self.netns.name()])?;
        self.netns.ip(&["link", "set", port, "master", BRIDGE, "up"])?;
        if family.has_v4() {
            host.ip(&["addr", "add", &format!("{v4}/24"), "dev", LINK])?;
        }
        if family.has_v6() {
            host.ip(&["addr", "add", &format!("{v6}/64"), "dev", LINK, "nodad"])?;
        }
        host.ip(&["link", "set", LINK, "up"])
    }

    pub(super) fn cut(&self, a: u8, b: u8) -> Result<()> {
        for (from, to) in [(a, b), (b, a)] {
            let (from, to) = (port(from), port(to));
            self.nft(&format!("add rule bridge skep cuts iifname {from} oifname {to} drop"))?;
        }
        Ok(())
    }

    pub(super) fn heal(&self) -> Result<()> {
        self.nft("flush chain bridge skep cuts")
    }

    fn nft(&self, rules: &str) -> Result<()> {
        let output = self.netns.command("nft")?.arg(rules).output().context("run nft (install nftables)")?;
        ensure!(output.status.success(), "nft {rules}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    pub(super) fn remove(&self) -> Result<()> {
        Netns::remove_stale(self.netns.name())?;
        Netns::remove_stale(self.outside.name())
    }
}

fn port(number: u8) -> String {
    format!("node{number}")
}
