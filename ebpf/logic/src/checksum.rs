//! Checksums of the internet protocols, updated by difference (RFC 1624, equation 3), never computed over a payload.

use skep_abi::Be16;

/// A one's complement checksum field being updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(u16);

impl Checksum {
    /// From the field as it stands in the packet.
    #[inline(always)]
    pub const fn new(field: Be16) -> Self {
        Self(field.get())
    }

    /// The field to put into the packet.
    #[inline(always)]
    pub const fn field(self) -> Be16 {
        Be16::new(self.0)
    }

    /// Accounts for a 16 bit word of what is covered having changed.
    #[inline(always)]
    #[must_use]
    pub const fn replace(self, old: u16, new: u16) -> Self {
        let sum = !self.0 as u32 + !old as u32 + new as u32;
        Self(!fold(sum))
    }
}

#[inline(always)]
const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// What a router does to an IPv4 header: one less in its time to live, and the checksum to match. `None` where the packet must
/// go no further (RFC 1812, 5.3.1).
#[inline(always)]
pub const fn decrement_ttl(ttl: u8, proto: u8, checksum: Be16) -> Option<(u8, Be16)> {
    if ttl <= 1 {
        return None;
    }
    let old = u16::from_be_bytes([ttl, proto]);
    let new = u16::from_be_bytes([ttl - 1, proto]);
    Some((ttl - 1, Checksum::new(checksum).replace(old, new).field()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    extern crate std;

    use proptest::prelude::*;

    use super::*;

    /// The checksum of RFC 1071, over everything.
    fn full(bytes: &[u8]) -> u16 {
        let mut sum: u32 = bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn difference_equals_recomputation(mut bytes in prop::collection::vec(any::<u8>(), 20), at in 0usize..10, new: u16) {
            // A header of zeros only does not occur, and is the one case where the two zeros differ.
            bytes[0] = 0x45;
            let at = if at == 0 { 1 } else { at } * 2;
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let before = full(&bytes);
            bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
            let updated = Checksum::new(Be16::new(before)).replace(old, new).field().get();
            prop_assert_eq!(updated, full(&bytes));
        }
    }

    #[test]
    fn ttl_ends_at_one() {
        assert_eq!(decrement_ttl(1, 6, Be16::new(0)), None);
        assert_eq!(decrement_ttl(0, 6, Be16::new(0)), None);
        assert_eq!(decrement_ttl(64, 6, Be16::new(0x1234)).unwrap(), (63, Be16::new(0x1334)));
    }
}
