//! The slot of a flow in its service's Maglev table, alike on every node.

use skep_abi::{Be16, Ip, MaglevRow, Svc, SvcKey};

use crate::backend::Tables;

/// Odd, and without a pattern: the golden ratio's fraction.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a flow of a client to a service hashes to. Where the service has session affinity, give no port: all flows of a client are one then.
#[inline(always)]
pub fn flow_hash(key: &SvcKey, client: &Ip, port: Be16) -> u32 {
    let [a, b, c, d] = client.words();
    let [e, f, g, h] = key.addr.words();
    let ports = (port.to_ne() << 16) | key.port.to_ne();
    let words = [(a, b), (c, d), (e, f), (g, h), (ports, u32::from(key.proto))];
    let mut hash = FACTOR;
    for (high, low) in words {
        hash = (hash ^ (u64::from(high) << 32 | u64::from(low))).wrapping_mul(FACTOR);
        hash ^= hash >> 32;
    }
    // The low half of a product is the worse one.
    (hash.wrapping_mul(FACTOR) >> 32) as u32
}

/// The place of the backend in the list of `count` to which the table sends a flow; `None` where the service has no table, or it is being
/// written for another.
#[inline(always)]
pub(crate) fn place<T: Tables>(tables: &T, head: &Svc, count: u32) -> Option<u32> {
    if head.slots == 0 || head.active == 0 {
        return None;
    }
    let hash = tables.flow_hash()?;
    let slot = ((u64::from(hash) * u64::from(head.slots)) >> 32) as u32;
    let row = tables.maglev(head.maglev.wrapping_add(slot / MaglevRow::SLOTS as u32))?;
    let place = u32::from(row.slot(slot));
    (place < count).then_some(place)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    extern crate std;

    use skep_abi::{Ip4, PROTO_TCP, SCOPE_EXTERNAL};

    use super::*;

    /// Neighbouring clients, and the ports of one client, spread over slots as chance would have it.
    #[test]
    fn flows_spread_evenly() {
        const SLOTS: usize = 251;
        let key = SvcKey { addr: Ip::ANY_V4, port: Be16::new(30_080), proto: PROTO_TCP, scope: SCOPE_EXTERNAL };
        let by_port = |n: u16| flow_hash(&key, &Ip::from_v4(Ip4([192, 0, 2, 1])), Be16::new(n));
        let by_host = |n: u16| {
            let [high, low] = n.to_be_bytes();
            flow_hash(&key, &Ip::from_v4(Ip4([10, 0, high, low])), Be16::new(40_000))
        };
        let spread = |hash: &dyn Fn(u16) -> u32| {
            let mut slots = [0_u32; SLOTS];
            for n in 0..u16::MAX {
                slots[((u64::from(hash(n)) * SLOTS as u64) >> 32) as usize] += 1;
            }
            slots
        };
        for slots in [spread(&by_port), spread(&by_host)] {
            let (least, most) = (slots.iter().min().unwrap(), slots.iter().max().unwrap());
            // 261 on average: five standard deviations are 81.
            assert!(*least > 180 && *most < 342, "{least} to {most} flows in a slot");
        }
    }

    #[test]
    fn the_hash_is_the_same_everywhere() {
        let key = SvcKey { addr: Ip::ANY_V4, port: Be16::new(80), proto: PROTO_TCP, scope: SCOPE_EXTERNAL };
        assert_eq!(flow_hash(&key, &Ip::from_v4(Ip4([192, 0, 2, 1])), Be16::new(40_000)), 2_000_663_999);
    }
}
