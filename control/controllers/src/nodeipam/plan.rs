//! Which range a node gets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;

use crate::options::PodRange;

/// All that the decision depends on.
pub(super) struct Observed {
    pub(super) node: Arc<Node>,
    /// The ranges of all nodes.
    pub(super) used: Vec<IpNet>,
    /// The cluster's ranges, each with the number of its block to begin the search at.
    pub(super) ranges: Vec<(PodRange, u64)>,
}

pub(super) enum Plan {
    /// It has what it needs, or is going.
    Nothing,
    /// A block of each range, with its number.
    Assign(Vec<(u64, IpNet)>),
    /// This range has no block left.
    Exhausted(IpNet),
}

pub(super) fn plan(observed: &Observed) -> Plan {
    if observed.ranges.is_empty() || !pod_cidrs(&observed.node).is_empty() {
        return Plan::Nothing;
    }
    if observed.node.metadata.deletion_timestamp.is_some() {
        return Plan::Nothing;
    }
    let mut blocks = Vec::new();
    for (range, from) in &observed.ranges {
        match free(range, *from, &observed.used) {
            Some(block) => blocks.push(block),
            None => return Plan::Exhausted(range.cluster),
        }
    }
    Plan::Assign(blocks)
}

/// The ranges that a node has.
pub(super) fn pod_cidrs(node: &Node) -> Vec<IpNet> {
    let cidrs = node.spec.iter().flat_map(|spec| spec.pod_cidrs.iter().flatten());
    cidrs.filter_map(|cidr| cidr.parse().ok()).collect()
}

/// The first block from number `from` on, around the end, that overlaps with nothing in use.
///
/// A block that was given back is thus taken again as late as can be: whatever still knows its old owner has time to forget.
fn free(range: &PodRange, from: u64, used: &[IpNet]) -> Option<(u64, IpNet)> {
    let count = range.blocks();
    // The numbers of blocks that a range in use covers, first and last.
    let mut taken: Vec<(u64, u64)> = used.iter().filter_map(|net| covered(range, net)).collect();
    taken.sort_unstable();
    let search = |begin: u64, end: u64| {
        let mut number = begin;
        for (first, last) in &taken {
            if number < *first {
                break;
            }
            number = number.max(last + 1);
        }
        (number < end).then_some(number)
    };
    let number = search(from.min(count), count).or_else(|| search(0, count))?;
    Some((number, block(range, number)?))
}

/// The number after the last block in use: where a search begins when nothing is known of earlier ones.
pub(super) fn after_last(range: &PodRange, used: &[IpNet]) -> u64 {
    used.iter().filter_map(|net| covered(range, net)).map(|(_, last)| last + 1).max().unwrap_or(0)
}

fn covered(range: &PodRange, net: &IpNet) -> Option<(u64, u64)> {
    let (first, last) = (bits(range.cluster.network())?, bits(range.cluster.broadcast())?);
    let same = range.cluster.network().is_ipv4() == net.network().is_ipv4();
    let (begin, end) = (bits(net.network())?, bits(net.broadcast())?);
    if !same || end < first || begin > last {
        return None;
    }
    let size = range.block_bits();
    let number = |address: u128| u64::try_from((address - first) >> size).ok();
    Some((number(begin.max(first))?, number(end.min(last))?))
}

fn block(range: &PodRange, number: u64) -> Option<IpNet> {
    let address = bits(range.cluster.network())? + (u128::from(number) << range.block_bits());
    let address: IpAddr = match range.cluster {
        IpNet::V4(_) => Ipv4Addr::from(u32::try_from(address).ok()?).into(),
        IpNet::V6(_) => Ipv6Addr::from(address).into(),
    };
    IpNet::new(address, range.node_prefix_len).ok()
}

#[allow(clippy::unnecessary_wraps)]
fn bits(address: IpAddr) -> Option<u128> {
    Some(match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn range(cluster: &str, node_prefix_len: u8) -> PodRange {
        PodRange::new(cluster.parse().unwrap(), node_prefix_len).unwrap()
    }

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|net| net.parse().unwrap()).collect()
    }

    fn assigned(observed: &Observed) -> Option<Vec<String>> {
        match plan(observed) {
            Plan::Assign(blocks) => Some(blocks.iter().map(|(_, net)| net.to_string()).collect()),
            Plan::Nothing | Plan::Exhausted(_) => None,
        }
    }

    #[test]
    fn a_node_gets_a_block_of_each_family_once() {
        let mut observed = Observed {
            node: Arc::default(),
            used: nets(&["10.42.0.0/24", "fd00:42::/64"]),
            ranges: vec![(range("10.42.0.0/16", 24), 1), (range("fd00:42::/48", 64), 1)],
        };
        assert_eq!(assigned(&observed).unwrap(), ["10.42.1.0/24", "fd00:42:0:1::/64"]);
        observed.node = Arc::new(serde_json::from_value(json!({"spec": {"podCIDRs": ["10.42.7.0/24"]}})).unwrap());
        assert!(matches!(plan(&observed), Plan::Nothing), "a node keeps what it has");
    }

    #[test]
    fn blocks_are_taken_again_late_and_never_while_in_use() {
        let four = range("10.42.0.0/22", 24);
        let free = |from, used: &[&str]| free(&four, from, &nets(used)).map(|(number, _)| number);
        assert_eq!(free(2, &["10.42.1.0/24"]), Some(2));
        assert_eq!(free(2, &["10.42.2.0/23"]), Some(0), "around the end");
        assert_eq!(free(0, &["10.42.0.0/25", "10.42.1.128/26"]), Some(2), "smaller ones count");
        assert_eq!(free(3, &["10.42.0.0/24", "10.42.1.0/24", "10.42.2.0/24", "10.42.3.0/24"]), None);
        assert_eq!(free(0, &["10.0.0.0/8"]), None, "larger ones count");
        assert_eq!(free(0, &["10.43.0.0/24", "fd00::/8"]), Some(0));
        assert_eq!(after_last(&four, &nets(&["10.42.1.0/24"])), 2);
    }

    proptest! {
        #[test]
        fn a_block_overlaps_with_nothing_and_is_found_if_there_is_one(
            used in proptest::collection::vec((0u32..64, 24u8..=28), 0..20), from in 0u64..20,
        ) {
            let sixteen = range("10.42.0.0/20", 24);
            let used: Vec<IpNet> = used
                .iter()
                .map(|(block, len)| IpNet::new(Ipv4Addr::from(0x0a2a_0000 + block * 64).into(), *len).unwrap().trunc())
                .collect();
            let overlaps = |net: &IpNet| used.iter().any(|other| other.contains(net) || net.contains(other));
            let any = (0..16).any(|number| !overlaps(&block(&sixteen, number).unwrap()));
            match free(&sixteen, from, &used) {
                Some((number, net)) => prop_assert!(!overlaps(&net) && number < 16 && sixteen.cluster.contains(&net)),
                None => prop_assert!(!any),
            }
        }
    }
}
