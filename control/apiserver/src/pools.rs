//! The view of claimed values that allocation works with.

use std::ops::RangeInclusive;

use bytes::Bytes;
use ipnet::IpNet;
use skep_registry::{Claim, Pools};

use crate::cache::Cache;

/// Where new values are taken from.
#[derive(Clone, Debug)]
pub(crate) struct Ranges {
    pub service_cidrs: Vec<IpNet>,
    pub node_ports: RangeInclusive<u16>,
}

/// Pools as one write sees them.
pub(crate) struct PoolsView<'a> {
    pub cache: &'a Cache,
    pub ranges: &'a Ranges,
    /// The key of the object that is written; what it holds already is free to it.
    pub owner: &'a [u8],
    /// Claims that turned out to be taken, which the cache may not know yet.
    pub refused: &'a [Claim],
}

impl Pools for PoolsView<'_> {
    fn is_claimed(&self, claim: &Claim) -> bool {
        self.refused.contains(claim) || self.cache.holder(claim).is_some_and(|holder: Bytes| holder != self.owner)
    }

    fn service_cidrs(&self) -> &[IpNet] {
        &self.ranges.service_cidrs
    }

    fn node_ports(&self) -> RangeInclusive<u16> {
        self.ranges.node_ports.clone()
    }

    fn seed(&self) -> u64 {
        rand::random()
    }
}
