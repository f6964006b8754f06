//! IPv6 and the headers between it and the transport's (RFC 8200, 4).

use super::{ETH_LEN, Frame, IpHeader, Malformed, Packet};

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

/// All of a fragment header's second word but its reserved bits: offset, and whether more follow.
const NOT_WHOLE: u16 = 0xfff9;

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
    ip.proto = raw[ETH_LEN + 6];
    ip.hops = raw[HOP_LIMIT];
    ip.l4 = ETH_LEN + HEADER_LEN;
    if is_extension(ip.proto) { skip_extensions(packet, ip) } else { Ok(()) }
}

/// Rare, and so called rather than inlined: the kernel gives programs little stack.
#[inline(never)]
fn skip_extensions<P: Packet + ?Sized>(packet: &P, ip: &mut IpHeader) -> Result<(), Malformed> {
    for _ in 0..EXTENSIONS_MAX {
        if !is_extension(ip.proto) {
            return Ok(());
        }
        let [next, len, high, low] = packet.load::<4>(ip.l4).ok_or(Malformed)?;
        ip.l4 += match ip.proto {
            FRAGMENT => 8,
            AUTHENTICATION => (len as usize + 2) * 4,
            _ => (len as usize + 1) * 8,
        };
        if ip.proto == FRAGMENT {
            ip.fragment |= u16::from_be_bytes([high, low]) & NOT_WHOLE != 0;
        }
        ip.proto = next;
        // What follows here in a later fragment is payload.
        if ip.fragment {
            return Ok(());
        }
    }
    if is_extension(ip.proto) { Err(Malformed) } else { Ok(()) }
}

#[inline(always)]
const fn is_extension(proto: u8) -> bool {
    matches!(proto, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}
