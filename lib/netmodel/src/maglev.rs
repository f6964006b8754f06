//! Maglev tables: which backend a flow from outside goes to, alike on every node.
//!
//! After "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016, 3.4): every backend prefers the slots of a table in an order
//! of its own, and they take turns in claiming the next one that is free. When one goes, few slots of the others change hands.

use std::net::{IpAddr, SocketAddr};

use sha2::{Digest as _, Sha256};

/// Sizes of tables: primes, so that every stride visits all slots.
const SIZES: [u32; 10] = [251, 509, 1_021, 2_039, 4_093, 8_191, 16_381, 32_749, 65_521, 131_071];

/// Slots for each backend, at least, as far as the largest table allows: the shares of two backends differ by one in a hundred then, and
/// when one backend goes, two or three in a hundred of the others' flows move.
const SLOTS_PER_BACKEND: usize = 100;

/// Part of every hash. Nodes with another one would choose other backends.
const SEED: &[u8] = b"skep maglev 1";

/// Slots of the table of so many backends; 0 where none is needed, as there is no choice, or where there are more than a slot can name.
pub fn maglev_size(backends: usize) -> u32 {
    if backends < 2 || backends > usize::from(u16::MAX) {
        return 0;
    }
    let enough = |size: &u32| *size as usize >= backends * SLOTS_PER_BACKEND;
    SIZES.into_iter().find(enough).unwrap_or(SIZES[SIZES.len() - 1])
}

/// The table of these backends, which are sorted: for each slot the place of a backend in the list. Empty where [`maglev_size`] is 0.
pub fn maglev_table(backends: &[SocketAddr]) -> Vec<u16> {
    /// No backend yet.
    const FREE: u16 = u16::MAX;
    let size = maglev_size(backends.len());
    if size == 0 {
        return Vec::new();
    }
    let mut table = vec![FREE; size as usize];
    let mut orders: Vec<Order> = backends.iter().map(|backend| Order::of(*backend, size)).collect();
    let mut free = table.len();
    while free > 0 {
        for (place, order) in orders.iter_mut().enumerate().take(free) {
            let mut slot = order.next(size);
            while table[slot] != FREE {
                slot = order.next(size);
            }
            table[slot] = place as u16;
        }
        free -= orders.len().min(free);
    }
    table
}

/// The order in which a backend prefers slots.
struct Order {
    slot: u32,
    stride: u32,
}

impl Order {
    fn of(backend: SocketAddr, size: u32) -> Self {
        let ip = match backend.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let hash =
            Sha256::new().chain_update(SEED).chain_update(ip.octets()).chain_update(backend.port().to_be_bytes());
        let digest = hash.finalize();
        let word = |at: usize| digest[at..at + 8].iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
        let size = u64::from(size);
        Self { slot: (word(0) % size) as u32, stride: (word(8) % (size - 1)) as u32 + 1 }
    }

    /// The slot that comes next.
    fn next(&mut self, size: u32) -> usize {
        let slot = self.slot;
        self.slot = (self.slot + self.stride) % size;
        slot as usize
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn backends(count: u16) -> Vec<SocketAddr> {
        let address = |n: u16| Ipv4Addr::from(0x0a2a_0000 + u32::from(n) * 7);
        (0..count).map(|n| SocketAddr::from((address(n), 8080))).collect()
    }

    fn shares(table: &[u16], count: usize) -> Vec<usize> {
        let mut shares = vec![0; count];
        for place in table {
            shares[usize::from(*place)] += 1;
        }
        shares
    }

    #[test]
    fn sizes_follow_the_number_of_backends() {
        let sizes = [0, 1, 2, 3, 25, 160, 163, 164, 1_000, 1_310, 5_000, 65_535, 65_536].map(maglev_size);
        assert_eq!(sizes, [0, 0, 251, 509, 4_093, 16_381, 16_381, 32_749, 131_071, 131_071, 131_071, 131_071, 0]);
        for size in SIZES {
            assert!((2..size).take_while(|n| n * n <= size).all(|n| !size.is_multiple_of(n)), "{size} is no prime");
        }
    }

    #[test]
    fn every_backend_has_its_share() {
        for count in [2, 3, 10, 25, 100, 1_000] {
            let table = maglev_table(&backends(count));
            let shares = shares(&table, usize::from(count));
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(most - least <= 1, "{count} backends have {least} to {most} slots");
        }
    }

    #[test]
    fn few_flows_move_when_a_backend_goes() {
        for count in [3, 10, 25, 100, 163] {
            let all = backends(count);
            let size = maglev_size(all.len());
            let before = maglev_table(&all);
            for gone in [0, all.len() / 2, all.len() - 1] {
                let mut rest = all.clone();
                rest.remove(gone);
                // A table of another size is another table: what is asked here is of two of one size.
                if maglev_size(rest.len()) != size {
                    continue;
                }
                let after = maglev_table(&rest);
                let moved = before
                    .iter()
                    .zip(&after)
                    .filter(|(a, b)| usize::from(**a) != gone && all[usize::from(**a)] != rest[usize::from(**b)]);
                let moved = moved.count();
                assert!(moved * 100 <= before.len() * 4, "{moved} of {size} slots moved with one of {count} gone");
            }
        }
    }

    /// What a node of another version must choose too.
    #[test]
    fn the_table_is_the_same_everywhere() {
        let table = maglev_table(&backends(5));
        let sum = table.iter().fold(0_u32, |sum, place| sum.wrapping_mul(31).wrapping_add(u32::from(*place)));
        assert_eq!((table.len(), sum), (509, SUM_OF_FIVE));
    }

    const SUM_OF_FIVE: u32 = 2_952_922_400;

    proptest! {
        #[test]
        fn any_list_fills_its_table(addresses in prop::collection::btree_set((any::<u32>(), 1_u16..), 0..40)) {
            let backends: Vec<SocketAddr> =
                addresses.iter().map(|(ip, port)| SocketAddr::from((Ipv4Addr::from(*ip), *port))).collect();
            let table = maglev_table(&backends);
            prop_assert_eq!(table.len(), maglev_size(backends.len()) as usize);
            let used: BTreeSet<u16> = table.iter().copied().collect();
            prop_assert_eq!(used.len(), if backends.len() < 2 { 0 } else { backends.len() });
        }
    }
}
