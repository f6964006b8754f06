//! Which addresses of the node's pod ranges are free. Pure: it is told every lease and decides the next one.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The node's ranges, one or one of each family. A pod gets an address of each.
#[derive(Debug)]
pub(crate) struct Pools {
    pools: Vec<Pool>,
}

impl Pools {
    /// `last` are the addresses that were given last, in any order.
    pub(crate) fn new(ranges: &[IpNet], taken: impl IntoIterator<Item = IpAddr>, last: &[IpAddr]) -> Self {
        let taken: BTreeSet<IpAddr> = taken.into_iter().collect();
        Pools { pools: ranges.iter().map(|&range| Pool::new(range, &taken, last)).collect() }
    }

    /// An address of each range; the range that has none left otherwise, and then nothing is taken.
    pub(crate) fn take(&mut self) -> Result<Vec<IpAddr>, IpNet> {
        let mut given = Vec::new();
        for at in 0..self.pools.len() {
            match self.pools[at].take() {
                Some(address) => given.push(address),
                None => {
                    self.release(&given);
                    return Err(self.pools[at].range);
                }
            }
        }
        Ok(given)
    }

    pub(crate) fn release(&mut self, addresses: &[IpAddr]) {
        for pool in &mut self.pools {
            addresses.iter().for_each(|address| pool.release(*address));
        }
    }

    /// The addresses that were given last.
    pub(crate) fn last(&self) -> Vec<IpAddr> {
        self.pools.iter().filter_map(|pool| pool.last.map(|last| pool.address(last))).collect()
    }

    /// For people.
    pub(crate) fn ranges(&self) -> String {
        self.pools.iter().map(|pool| pool.range.to_string()).collect::<Vec<_>>().join(", ")
    }
}

/// The addresses of one range, as numbers, given out round-robin: one that was just released comes last, so that whoever still
/// remembers it does not reach a stranger.
#[derive(Debug)]
struct Pool {
    range: IpNet,
    taken: BTreeSet<u128>,
    last: Option<u128>,
}

impl Pool {
    fn new(range: IpNet, taken: &BTreeSet<IpAddr>, last: &[IpAddr]) -> Self {
        let own = |address: &&IpAddr| range.contains(*address);
        let taken = taken.iter().filter(own).copied().map(number).collect();
        Pool { range, taken, last: last.iter().find(own).copied().map(number) }
    }

    /// The next free address after the last one that was given.
    fn take(&mut self) -> Option<IpAddr> {
        let (first, end) = self.bounds();
        let start = match self.last {
            Some(last) if (first..end).contains(&last) => last + 1,
            _ => first,
        };
        let found = (start..=end).chain(first..start).find(|one| !self.taken.contains(one))?;
        self.taken.insert(found);
        self.last = Some(found);
        Some(self.address(found))
    }

    fn release(&mut self, address: IpAddr) {
        if self.range.contains(&address) {
            self.taken.remove(&number(address));
        }
    }

    /// First and last one. The range's own address is left out where there is room, and so is IPv4's last: software takes them for a
    /// network's name, for its routers, and for broadcast.
    fn bounds(&self) -> (u128, u128) {
        let (first, last) = (number(self.range.network()), number(self.range.broadcast()));
        let is_v4 = matches!(self.range, IpNet::V4(_));
        if self.range.max_prefix_len() - self.range.prefix_len() < 2 {
            return (first, last);
        }
        (first + 1, if is_v4 { last - 1 } else { last })
    }

    fn address(&self, number: u128) -> IpAddr {
        match self.range {
            IpNet::V4(_) => Ipv4Addr::from(number as u32).into(),
            IpNet::V6(_) => Ipv6Addr::from(number).into(),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pools(ranges: &[&str]) -> Pools {
        let ranges: Vec<IpNet> = ranges.iter().map(|range| range.parse().unwrap()).collect();
        Pools::new(&ranges, [], &[])
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_released_address_comes_last() {
        let mut pools = pools(&["10.0.0.0/29"]);
        let first = pools.take().unwrap();
        assert_eq!(first, [ip("10.0.0.1")]);
        pools.release(&first);
        let rest: Vec<String> = (0..6).map(|_| pools.take().unwrap()[0].to_string()).collect();
        assert_eq!(rest, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.1"]);
        assert_eq!(pools.take(), Err("10.0.0.0/29".parse().unwrap()));
    }

    #[test]
    fn the_place_survives_a_restart() {
        let ranges = ["10.0.0.0/29".parse().unwrap(), "fd00::/64".parse().unwrap()];
        let last = [ip("fd00::8"), ip("10.0.0.2")];
        let mut pools = Pools::new(&ranges, [ip("10.0.0.3"), ip("fd00::9")], &last);
        assert_eq!(pools.take().unwrap(), [ip("10.0.0.4"), ip("fd00::a")]);
        assert_eq!(pools.last(), [ip("10.0.0.4"), ip("fd00::a")]);
        let mut moved = Pools::new(&["10.1.0.0/29".parse().unwrap()], [], &last);
        assert_eq!(moved.take().unwrap(), [ip("10.1.0.1")]);
    }

    #[test]
    fn a_pod_gets_an_address_of_each_family_or_none_at_all() {
        let mut pools = pools(&["10.0.0.0/30", "fd00::/64"]);
        assert_eq!(pools.take().unwrap(), [ip("10.0.0.1"), ip("fd00::1")]);
        assert_eq!(pools.take().unwrap(), [ip("10.0.0.2"), ip("fd00::2")]);
        assert_eq!(pools.take(), Err("10.0.0.0/30".parse().unwrap()));
        pools.release(&[ip("10.0.0.1"), ip("fd00::1")]);
        assert_eq!(pools.take().unwrap(), [ip("10.0.0.1"), ip("fd00::3")]);
    }

    #[test]
    fn the_smallest_ranges_give_all_they_have() {
        let mut one = pools(&["10.0.0.9/32"]);
        assert_eq!(one.take().unwrap(), [ip("10.0.0.9")]);
        one.take().unwrap_err();
        let mut two = pools(&["255.255.255.254/31"]);
        assert_eq!(two.take().unwrap(), [ip("255.255.255.254")]);
        assert_eq!(two.take().unwrap(), [ip("255.255.255.255")]);
        two.take().unwrap_err();
        let mut six = pools(&["fd00::4/126"]);
        assert_eq!((six.take().unwrap(), six.take().unwrap()), (vec![ip("fd00::5")], vec![ip("fd00::6")]));
    }

    proptest! {
        /// Whatever is taken, released and forgotten by restarts, nobody gets an address that another has.
        #[test]
        fn no_address_is_given_twice(steps in prop::collection::vec((0u8..3, any::<prop::sample::Index>()), 1..120)) {
            let ranges = ["10.0.0.0/28".parse().unwrap(), "fd00::/124".parse().unwrap()];
            let mut pools = Pools::new(&ranges, [], &[]);
            let mut held: Vec<Vec<IpAddr>> = Vec::new();
            for (step, index) in steps {
                match step {
                    0 => if let Ok(given) = pools.take() {
                        prop_assert!(held.iter().flatten().all(|one| !given.contains(one)), "{given:?} twice");
                        held.push(given);
                    },
                    1 if !held.is_empty() => {
                        let gone = held.swap_remove(index.index(held.len()));
                        pools.release(&gone);
                    }
                    1 => {}
                    _ => pools = Pools::new(&ranges, held.iter().flatten().copied(), &pools.last()),
                }
            }
        }
    }
}
