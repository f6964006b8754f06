//! IPv6 and the headers between it and the transport's (RFC 8200, 4).

use super::{ETH_LEN, Frame, Malformed, Packet, Part};

/// Where the hop limit stands in a frame.
pub(super) const HOP_LIMIT: usize = ETH_LEN + 7;

const HEADER_LEN: usize = 40;
const SRC: usize = ETH_LEN + 8;
const DST: usize = ETH_LEN + 24;

/// How many extension headers are followed. Hosts send one or two; whoever sends more hides something.
const EXTENSIONS_MAX: usize = 4;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// Bits of a fragment header's second word: the offset, and whether more follow.
const OFFSET: u16 = 0xfff8;
const MORE: u16 = 1;

/// A place in the headers of a packet, before one of which this is the protocol.
pub(crate) struct Chain {
    pub(crate) proto: u8,
    pub(crate) at: usize,
    pub(crate) part: Part,
    pub(crate) id: u32,
}

#[inline(always)]
pub(super) fn read<P: Packet + ?Sized>(frame: &mut Frame, packet: &P) -> Result<(), Malformed> {
    let (raw, ip) = (&frame.raw, &mut frame.ip);
    if raw[ETH_LEN] >> 4 != 6 || !packet.read(SRC, &mut ip.src.0) || !packet.read(DST, &mut ip.dst.0) {
        return Err(Malformed);
    }
    // An IPv4 address in disguise would be taken for the pod that has it (RFC 4942, 2.2).
    if ip.src.is_v4() || ip.dst.is_v4() {
        return Err(Malformed);
    }
    ip.v4 = false;
    ip.unfragmented = true;
    ip.hops = raw[HOP_LIMIT];
    let mut chain = Chain { proto: raw[ETH_LEN + 6], at: ETH_LEN + HEADER_LEN, part: Part::Whole, id: 0 };
    follow(packet, &mut chain)?;
    (ip.proto, ip.l4, ip.part, ip.id) = (chain.proto, chain.at, chain.part, chain.id);
    Ok(())
}

/// Goes on to the transport's header, or in a later fragment to where its payload begins.
///
/// # Errors
/// A header is cut short, or there are more than are followed.
#[inline(always)]
pub(crate) fn follow<P: Packet + ?Sized>(packet: &P, chain: &mut Chain) -> Result<(), Malformed> {
    if is_extension(chain.proto) { skip_extensions(packet, chain) } else { Ok(()) }
}

/// Rare, and so called rather than inlined: the kernel gives programs little stack.
#[inline(never)]
fn skip_extensions<P: Packet + ?Sized>(packet: &P, chain: &mut Chain) -> Result<(), Malformed> {
    for _ in 0..EXTENSIONS_MAX {
        if !is_extension(chain.proto) {
            return Ok(());
        }
        let [next, len, high, low] = packet.load::<4>(chain.at).ok_or(Malformed)?;
        if chain.proto == FRAGMENT {
            let word = u16::from_be_bytes([high, low]);
            chain.part = Part::of(word & OFFSET != 0, word & MORE != 0);
            chain.id = u32::from_be_bytes(packet.load::<4>(chain.at + 4).ok_or(Malformed)?);
        }
        chain.at += match chain.proto {
            FRAGMENT => 8,
            AUTHENTICATION => (len as usize + 2) * 4,
            _ => (len as usize + 1) * 8,
        };
        chain.proto = next;
        // What follows here in a later fragment is payload.
        if chain.part == Part::Later {
            return Ok(());
        }
    }
    if is_extension(chain.proto) { Err(Malformed) } else { Ok(()) }
}

#[inline(always)]
const fn is_extension(proto: u8) -> bool {
    matches!(proto, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}
