//! ICMP of both families: echoes, which have an identifier where others have a port, and errors, which hold the packet that they are
//! about (RFC 792, RFC 4443).

use skep_abi::{Be16, Ip, Ip4, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP};

use crate::Malformed;
use crate::packet::{Chain, IpHeader, Packet, Part, follow, opens_flow};

/// Bytes of an ICMP header, before an error's packet.
const HEADER_LEN: usize = 8;

/// Both ends of a packet that can be translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Source port, or the identifier of an echo request.
    pub src: Be16,
    /// Destination port, or the identifier of an echo reply.
    pub dst: Be16,
    /// Whether it may begin a flow.
    pub opens: bool,
}

/// The packet in an ICMP error, as far as it says which flow it was of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Embedded {
    /// Its source.
    pub src: Ip,
    /// Its destination.
    pub dst: Ip,
    /// Its transport protocol.
    pub proto: u8,
    /// Its ports, or an echo's identifier on the side of whoever asked.
    pub ends: Ends,
    /// Where its IP header begins in the frame.
    pub at: usize,
    /// Where its transport header begins.
    pub l4: usize,
}

#[inline(always)]
const fn is_icmp(ip: &IpHeader) -> bool {
    if ip.v4 { ip.proto == PROTO_ICMP } else { ip.proto == PROTO_ICMPV6 }
}

/// What a type of an ICMP message is to a translator.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Reply,
    Error,
    Other,
}

#[inline(always)]
const fn kind(v4: bool, icmp_type: u8) -> Kind {
    match (v4, icmp_type) {
        (true, 8) | (false, 128) => Kind::Request,
        (true, 0) | (false, 129) => Kind::Reply,
        (true, 3 | 11 | 12) | (false, 1..=4) => Kind::Error,
        _ => Kind::Other,
    }
}

/// Both ends of a TCP or UDP packet or of an echo, or of the first part of one; `None` for all else.
///
/// # Errors
/// The transport header is cut short.
#[inline(always)]
pub fn ends<P: Packet + ?Sized>(packet: &P, ip: &IpHeader) -> Result<Option<Ends>, Malformed> {
    if ip.part == Part::Later {
        return Ok(None);
    }
    if !is_icmp(ip) {
        let ports = ip.ports(packet)?;
        return Ok(ports.map(|ports| Ends { src: ports.src, dst: ports.dst, opens: opens_flow(ip, &ports) }));
    }
    let [icmp_type, _, _, _, a, b] = packet.load::<6>(ip.l4).ok_or(Malformed)?;
    let (id, none) = (Be16::from_bytes([a, b]), Be16::new(0));
    Ok(match kind(ip.v4, icmp_type) {
        Kind::Request => Some(Ends { src: id, dst: none, opens: true }),
        Kind::Reply => Some(Ends { src: none, dst: id, opens: false }),
        Kind::Error | Kind::Other => None,
    })
}

/// The packet that an ICMP error is about; `None` where it is no error, or about something that has no ports at a known place.
///
/// # Errors
/// What must be in it is cut short.
#[inline(always)]
pub fn embedded<P: Packet + ?Sized>(packet: &P, ip: &IpHeader) -> Result<Option<Embedded>, Malformed> {
    let mut inner = Embedded::default();
    Ok(read_embedded(packet, ip, &mut inner)?.then_some(inner))
}

/// As [`embedded`], in place: `false` for `None`. Called rather than inlined, for the sake of the kernel's small stack. An enum with a niche in
/// the signature of a called function would make type information that the kernel refuses.
///
/// # Errors
/// As for [`embedded`].
#[inline(never)]
pub fn read_embedded<P: Packet + ?Sized>(packet: &P, ip: &IpHeader, inner: &mut Embedded) -> Result<bool, Malformed> {
    if ip.part != Part::Whole || !is_icmp(ip) {
        return Ok(false);
    }
    let [icmp_type] = packet.load::<1>(ip.l4).ok_or(Malformed)?;
    if kind(ip.v4, icmp_type) != Kind::Error {
        return Ok(false);
    }
    inner.at = ip.l4 + HEADER_LEN;
    if ip.v4 {
        let [version] = packet.load::<1>(inner.at).ok_or(Malformed)?;
        let [high, low, _, proto] = packet.load::<4>(inner.at + 6).ok_or(Malformed)?;
        let words = (version & 0x0f) as usize;
        // A later fragment has no ports to tell.
        if version >> 4 != 4 || words < 5 || u16::from_be_bytes([high, low]) & 0x1fff != 0 {
            return Ok(false);
        }
        inner.src = Ip::from_v4(Ip4(packet.load(inner.at + 12).ok_or(Malformed)?));
        inner.dst = Ip::from_v4(Ip4(packet.load(inner.at + 16).ok_or(Malformed)?));
        (inner.proto, inner.l4) = (proto, inner.at + words * 4);
    } else {
        let [version] = packet.load::<1>(inner.at).ok_or(Malformed)?;
        let [proto] = packet.load::<1>(inner.at + 6).ok_or(Malformed)?;
        if version >> 4 != 6 {
            return Ok(false);
        }
        if !packet.read(inner.at + 8, &mut inner.src.0) || !packet.read(inner.at + 24, &mut inner.dst.0) {
            return Err(Malformed);
        }
        let mut chain = Chain { proto, at: inner.at + 40, part: Part::Whole, id: 0 };
        follow(packet, &mut chain)?;
        // Nor does one of IPv6; and an address of the other family is nobody's here.
        if chain.part == Part::Later || inner.src.is_v4() || inner.dst.is_v4() {
            return Ok(false);
        }
        (inner.proto, inner.l4) = (chain.proto, chain.at);
    }
    let none = Be16::new(0);
    (inner.ends.src, inner.ends.dst) = match (ip.v4, inner.proto) {
        (_, PROTO_TCP | PROTO_UDP) => {
            let [a, b, c, d] = packet.load::<4>(inner.l4).ok_or(Malformed)?;
            (Be16::from_bytes([a, b]), Be16::from_bytes([c, d]))
        }
        (true, PROTO_ICMP) | (false, PROTO_ICMPV6) => {
            let [icmp_type, _, _, _, a, b] = packet.load::<6>(inner.l4).ok_or(Malformed)?;
            let id = Be16::from_bytes([a, b]);
            match kind(ip.v4, icmp_type) {
                Kind::Request => (id, none),
                Kind::Reply => (none, id),
                Kind::Error | Kind::Other => return Ok(false),
            }
        }
        _ => return Ok(false),
    };
    Ok(true)
}

#[cfg(test)]
#[path = "icmp/tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
