//! Which addresses of the node's pod range are free. Pure: it is told every lease and decides the next one.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// The addresses of one range, given out round-robin: one that was just released comes last, so that whoever still
/// remembers it does not reach a stranger.
#[derive(Debug)]
pub(crate) struct Pool {
    range: Ipv4Net,
    taken: BTreeSet<Ipv4Addr>,
    last: Option<Ipv4Addr>,
}

impl Pool {
    pub(crate) fn new(range: Ipv4Net, taken: impl IntoIterator<Item = Ipv4Addr>, last: Option<Ipv4Addr>) -> Self {
        Pool { range, taken: taken.into_iter().collect(), last: last.filter(|last| range.contains(last)) }
    }

    /// The next free address after the last one that was given.
    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        let (first, end) = (u32::from(self.first()), u32::from(self.end()));
        let start = match self.last.map(u32::from) {
            Some(last) if (first..end).contains(&last) => last + 1,
            _ => first,
        };
        let address = (start..=end).chain(first..start).map(Ipv4Addr::from).find(|one| !self.taken.contains(one))?;
        self.taken.insert(address);
        self.last = Some(address);
        Some(address)
    }

    pub(crate) fn release(&mut self, address: Ipv4Addr) {
        self.taken.remove(&address);
    }

    pub(crate) fn last(&self) -> Option<Ipv4Addr> {
        self.last
    }

    pub(crate) fn range(&self) -> Ipv4Net {
        self.range
    }

    /// The range's own address, and its last one, are left out where there is room: software takes them for a network's
    /// name and for broadcast.
    fn first(&self) -> Ipv4Addr {
        let network = self.range.network();
        if self.range.prefix_len() < 31 { Ipv4Addr::from(u32::from(network) + 1) } else { network }
    }

    fn end(&self) -> Ipv4Addr {
        let last = self.range.broadcast();
        if self.range.prefix_len() < 31 { Ipv4Addr::from(u32::from(last) - 1) } else { last }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pool(range: &str) -> Pool {
        Pool::new(range.parse().unwrap(), [], None)
    }

    #[test]
    fn a_released_address_comes_last() {
        let mut pool = pool("10.0.0.0/29");
        let first = pool.take().unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 0, 0, 1));
        pool.release(first);
        let rest: Vec<u8> = (0..6).map(|_| pool.take().unwrap().octets()[3]).collect();
        assert_eq!(rest, [2, 3, 4, 5, 6, 1]);
        assert_eq!(pool.take(), None);
    }

    #[test]
    fn the_place_survives_a_restart() {
        let taken = [Ipv4Addr::new(10, 0, 0, 3)];
        let mut pool = Pool::new("10.0.0.0/29".parse().unwrap(), taken, Some(Ipv4Addr::new(10, 0, 0, 2)));
        assert_eq!(pool.take().unwrap(), Ipv4Addr::new(10, 0, 0, 4));
        let mut moved = Pool::new("10.1.0.0/29".parse().unwrap(), [], Some(Ipv4Addr::new(10, 0, 0, 2)));
        assert_eq!(moved.take().unwrap(), Ipv4Addr::new(10, 1, 0, 1));
    }

    #[test]
    fn the_smallest_ranges_give_all_they_have() {
        let mut one = pool("10.0.0.9/32");
        assert_eq!((one.take(), one.take()), (Some(Ipv4Addr::new(10, 0, 0, 9)), None));
        let mut two = pool("255.255.255.254/31");
        assert_eq!(two.take().unwrap(), Ipv4Addr::new(255, 255, 255, 254));
        assert_eq!(two.take().unwrap(), Ipv4Addr::new(255, 255, 255, 255));
        assert_eq!(two.take(), None);
    }
}
