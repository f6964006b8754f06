//! Rows of the policy table: who may exchange what with whom.

use std::fmt;

use serde::Serialize;

/// Which way a connection is opened, seen from the pod that a policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the pod.
    Ingress,
    /// By the pod.
    Egress,
}

/// Which directions of a pod a policy selects: there, what no row allows is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Policed {
    /// Connections to the pod.
    pub ingress: bool,
    /// Connections by the pod.
    pub egress: bool,
}

/// Destination ports: every protocol, every port of one, or the block of ports whose first `bits` bits are those of `port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Ports {
    /// IANA protocol number; 0 is any, and then the rest is 0 too.
    pub proto: u8,
    /// First port of the block.
    pub port: u16,
    /// Length of the prefix, 0 to 16.
    pub bits: u8,
}

/// Who a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RowKey {
    /// Identity of the selected pods.
    pub subject: u32,
    /// Which way.
    pub direction: Direction,
    /// Id of the other side: [`crate::ANYONE`], [`crate::ANY_POD`], a namespace's, an identity's or an address block's.
    pub peer: u32,
    /// To which ports.
    pub ports: Ports,
}

/// The rule that allows a row; of several, the first by name and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Rule {
    /// Id of the policy.
    pub policy: u32,
    /// Place among the policy's rules for the direction.
    pub index: u16,
}

impl Ports {
    /// Every port of every protocol, and protocols without ports.
    pub const ANY: Self = Self { proto: 0, port: 0, bits: 0 };

    /// Every port of a protocol.
    pub const fn all_of(proto: u8) -> Self {
        Self { proto, port: 0, bits: 0 }
    }

    /// The fewest blocks that make up `first..=last`: at most 30.
    pub fn range(proto: u8, first: u16, last: u16) -> Vec<Self> {
        let mut blocks = Vec::new();
        let mut port = u32::from(first);
        while port <= u32::from(last) {
            // As large as the start's alignment and the end allow.
            let mut size_bits = port.trailing_zeros().min(16);
            while port + (1 << size_bits) - 1 > u32::from(last) {
                size_bits -= 1;
            }
            blocks.push(Self { proto, port: port as u16, bits: 16 - size_bits as u8 });
            port += 1 << size_bits;
        }
        blocks
    }

    /// First and last port.
    pub fn bounds(&self) -> (u16, u16) {
        let rest = u16::MAX.checked_shr(u32::from(self.bits)).unwrap_or(0);
        (self.port, self.port | rest)
    }

    /// Whether a packet's protocol and destination port are among them.
    pub fn contains(&self, proto: u8, port: u16) -> bool {
        let (first, last) = self.bounds();
        self.proto == 0 || (self.proto == proto && (first..=last).contains(&port))
    }
}

impl Policed {
    /// Both directions.
    pub const BOTH: Self = Self { ingress: true, egress: true };

    /// Whether any direction is.
    pub const fn any(self) -> bool {
        self.ingress || self.egress
    }

    /// Whether a direction is.
    pub const fn is(self, direction: Direction) -> bool {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proto = match self.proto {
            0 => return f.write_str("any"),
            6 => "TCP".to_owned(),
            17 => "UDP".to_owned(),
            132 => "SCTP".to_owned(),
            other => other.to_string(),
        };
        match (self.bits, self.bounds()) {
            (0, _) => write!(f, "{proto}"),
            (16, (port, _)) => write!(f, "{port}/{proto}"),
            (_, (first, last)) => write!(f, "{first}-{last}/{proto}"),
        }
    }
}

impl fmt::Display for Policed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.ingress, self.egress) {
            (false, false) => "none",
            (true, false) => "ingress",
            (false, true) => "egress",
            (true, true) => "both",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn blocks_cover_the_range_once(a: u16, b: u16, probe: u16) {
            let (first, last) = (a.min(b), a.max(b));
            let blocks = Ports::range(6, first, last);
            prop_assert!(blocks.len() <= 30);
            let hits = blocks.iter().filter(|block| block.contains(6, probe)).count();
            prop_assert_eq!(hits, usize::from((first..=last).contains(&probe)));
        }
    }

    #[test]
    fn whole_and_single() {
        assert_eq!(Ports::range(6, 0, u16::MAX), [Ports::all_of(6)]);
        assert_eq!(Ports::range(17, 53, 53), [Ports { proto: 17, port: 53, bits: 16 }]);
        assert_eq!(Ports::range(6, 32_768, 32_799).iter().map(Ports::to_string).collect::<String>(), "32768-32799/TCP");
        assert!(Ports::ANY.contains(1, 0));
    }
}
