//! Refusals: what a host answers where nothing listens, made from the packet that is refused.

use skep_abi::{PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP};

use crate::flow::{TCP_FIN, TCP_RST};
use crate::packet::{ETH_LEN, Frame, IpHeader, Malformed, Packet, Part, TCP_ACK, TCP_SYN};

const V4_LEN: usize = 20;
const V6_LEN: usize = 40;
const TCP_LEN: usize = 20;
const ICMP_LEN: usize = 8;
/// What an error holds of the refused packet: its IP header and 8 bytes.
const V4_QUOTE: usize = V4_LEN + 8;
const V6_QUOTE: usize = V6_LEN + 8;
const HOPS: u8 = 64;

/// Bytes of TCP's reset in IPv4.
pub const RESET_V4_LEN: usize = ETH_LEN + V4_LEN + TCP_LEN;
/// Bytes of TCP's reset in IPv6.
pub const RESET_V6_LEN: usize = ETH_LEN + V6_LEN + TCP_LEN;
/// Bytes of an ICMP error.
pub const ERROR_V4_LEN: usize = ETH_LEN + V4_LEN + ICMP_LEN + V4_QUOTE;
/// Bytes of an ICMPv6 error.
pub const ERROR_V6_LEN: usize = ETH_LEN + V6_LEN + ICMP_LEN + V6_QUOTE;

/// A packet in answer to another. Aligned, so that words of it are read as such.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its bytes, from the Ethernet header on.
    pub bytes: [u8; ERROR_V6_LEN],
    /// What it is.
    pub kind: ReplyKind,
}

/// What a [`Reply`] is, and so how long.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// Nothing: such a packet is not answered.
    Silence,
    /// [`RESET_V4_LEN`]
    ResetV4,
    /// [`RESET_V6_LEN`]
    ResetV6,
    /// [`ERROR_V4_LEN`]
    ErrorV4,
    /// [`ERROR_V6_LEN`]
    ErrorV6,
}

/// Why an ICMP error is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing listens at the port. TCP is reset instead.
    Port,
    /// The packet is larger than this many bytes, which is what the way takes.
    TooBig(u16),
}

/// The answer to a packet that goes no further. It is made in its place, since the kernel gives programs little stack.
///
/// # Errors
/// The packet's transport header is cut short.
#[inline(always)]
pub fn refusal<P: Packet + ?Sized>(
    packet: &P,
    frame: &Frame,
    cause: Cause,
    reply: &mut Reply,
) -> Result<(), Malformed> {
    reply.kind = ReplyKind::Silence;
    let ip = &frame.ip;
    if ip.part != Part::Whole {
        return Ok(());
    }
    let (dst, src) = frame.macs();
    put(&mut reply.bytes, 0, &src);
    put(&mut reply.bytes, 6, &dst);
    put(&mut reply.bytes, 12, &[frame.raw[12], frame.raw[13]]);
    let mtu = if let Cause::TooBig(mtu) = cause { mtu } else { 0 };
    match (cause, ip.proto) {
        (Cause::Port, PROTO_TCP) => reset(packet, frame, reply),
        (_, PROTO_TCP | PROTO_UDP) if ip.v4 => error_v4(packet, frame, mtu, reply),
        (_, PROTO_TCP | PROTO_UDP) => error_v6(packet, frame, mtu, reply),
        _ => Ok(()),
    }
}

/// RFC 9293, 3.10.7.1: of a segment to no connection.
#[inline(never)]
fn reset<P: Packet + ?Sized>(packet: &P, frame: &Frame, reply: &mut Reply) -> Result<(), Malformed> {
    let ip = &frame.ip;
    let head = packet.load::<14>(ip.l4).ok_or(Malformed)?;
    let flags = head[13];
    if flags & TCP_RST != 0 {
        return Ok(());
    }
    let (mut seq, mut ack, mut out) = ([head[8], head[9], head[10], head[11]], [0; 4], TCP_RST);
    if flags & TCP_ACK == 0 {
        let [high, low] = packet.load::<2>(ETH_LEN + if ip.v4 { 2 } else { 4 }).ok_or(Malformed)?;
        let len = u32::from(u16::from_be_bytes([high, low])) + if ip.v4 { 0 } else { V6_LEN as u32 };
        let headers = (ip.l4 - ETH_LEN) as u32 + u32::from(head[12] >> 4) * 4;
        let phantom = u32::from(flags & TCP_SYN != 0) + u32::from(flags & TCP_FIN != 0);
        let began = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        ack = began.wrapping_add(len.wrapping_sub(headers)).wrapping_add(phantom).to_be_bytes();
        (seq, out) = ([0; 4], TCP_RST | TCP_ACK);
    }
    let ends = [head[2], head[3], head[0], head[1]];
    if ip.v4 {
        header_v4(frame, PROTO_TCP, TCP_LEN, reply);
        segment::<{ ETH_LEN + V4_LEN }>(frame, [ends, seq, ack], out, reply);
        reply.kind = ReplyKind::ResetV4;
    } else {
        header_v6(frame, PROTO_TCP, TCP_LEN, reply);
        segment::<{ ETH_LEN + V6_LEN }>(frame, [ends, seq, ack], out, reply);
        reply.kind = ReplyKind::ResetV6;
    }
    Ok(())
}

/// TCP's header, of nothing else: ports, sequence number and acknowledgement, and flags.
#[inline(always)]
fn segment<const AT: usize>(frame: &Frame, words: [[u8; 4]; 3], flags: u8, reply: &mut Reply) {
    for (number, word) in words.iter().enumerate() {
        put(&mut reply.bytes, AT + 4 * number, word);
    }
    put(&mut reply.bytes, AT + 12, &[(TCP_LEN as u8 / 4) << 4, flags, 0, 0, 0, 0, 0, 0]);
    let covered = pseudo(&frame.ip, PROTO_TCP, TCP_LEN) + sum::<TCP_LEN, _>(&reply.bytes, AT);
    put(&mut reply.bytes, AT + 16, &checksum(covered));
}

/// RFC 792; an `mtu` of 0 stands for a port at which nothing listens. A packet with options is not quoted, and so not answered.
#[inline(never)]
fn error_v4<P: Packet + ?Sized>(packet: &P, frame: &Frame, mtu: u16, reply: &mut Reply) -> Result<(), Malformed> {
    const ICMP: usize = ETH_LEN + V4_LEN;
    if frame.ip.l4 != ETH_LEN + V4_LEN {
        return Ok(());
    }
    let [high, low] = mtu.to_be_bytes();
    put(&mut reply.bytes, ICMP, &[3, if mtu == 0 { 3 } else { 4 }, 0, 0, 0, 0, high, low]);
    quote::<_, V4_QUOTE>(packet, &mut reply.bytes, ICMP + ICMP_LEN)?;
    let covered = sum::<{ ICMP_LEN + V4_QUOTE }, _>(&reply.bytes, ICMP);
    put(&mut reply.bytes, ICMP + 2, &checksum(covered));
    header_v4(frame, PROTO_ICMP, ICMP_LEN + V4_QUOTE, reply);
    reply.kind = ReplyKind::ErrorV4;
    Ok(())
}

/// RFC 4443, as [`error_v4`]. A packet with extension headers is not quoted, and so not answered.
#[inline(never)]
fn error_v6<P: Packet + ?Sized>(packet: &P, frame: &Frame, mtu: u16, reply: &mut Reply) -> Result<(), Malformed> {
    const ICMP: usize = ETH_LEN + V6_LEN;
    if frame.ip.l4 != ETH_LEN + V6_LEN {
        return Ok(());
    }
    let [high, low] = mtu.to_be_bytes();
    let (kind, code) = if mtu == 0 { (1, 4) } else { (2, 0) };
    put(&mut reply.bytes, ICMP, &[kind, code, 0, 0, 0, 0, high, low]);
    quote::<_, V6_QUOTE>(packet, &mut reply.bytes, ICMP + ICMP_LEN)?;
    let covered =
        pseudo(&frame.ip, PROTO_ICMPV6, ICMP_LEN + V6_QUOTE) + sum::<{ ICMP_LEN + V6_QUOTE }, _>(&reply.bytes, ICMP);
    put(&mut reply.bytes, ICMP + 2, &checksum(covered));
    header_v6(frame, PROTO_ICMPV6, ICMP_LEN + V6_QUOTE, reply);
    reply.kind = ReplyKind::ErrorV6;
    Ok(())
}

/// The header of the answer: from whom the packet was for, to its sender.
#[inline(always)]
fn header_v4(frame: &Frame, proto: u8, payload: usize, reply: &mut Reply) {
    let [high, low] = ((V4_LEN + payload) as u16).to_be_bytes();
    put(&mut reply.bytes, ETH_LEN, &[0x45, 0, high, low, 0, 0, 0x40, 0, HOPS, proto, 0, 0]);
    put(&mut reply.bytes, ETH_LEN + 12, &frame.ip.dst.v4().0);
    put(&mut reply.bytes, ETH_LEN + 16, &frame.ip.src.v4().0);
    let covered = sum::<V4_LEN, _>(&reply.bytes, ETH_LEN);
    put(&mut reply.bytes, ETH_LEN + 10, &checksum(covered));
}

#[inline(always)]
fn header_v6(frame: &Frame, proto: u8, payload: usize, reply: &mut Reply) {
    let [high, low] = (payload as u16).to_be_bytes();
    put(&mut reply.bytes, ETH_LEN, &[0x60, 0, 0, 0, high, low, proto, HOPS]);
    put(&mut reply.bytes, ETH_LEN + 8, &frame.ip.dst.0);
    put(&mut reply.bytes, ETH_LEN + 24, &frame.ip.src.0);
}

/// Copies the start of the refused packet, from its IP header on.
#[inline(always)]
fn quote<P: Packet + ?Sized, const N: usize>(
    packet: &P,
    into: &mut [u8; ERROR_V6_LEN],
    at: usize,
) -> Result<(), Malformed> {
    let place = into[at..].first_chunk_mut::<N>().ok_or(Malformed)?;
    if packet.read(ETH_LEN, place) { Ok(()) } else { Err(Malformed) }
}

/// Writes bytes at a place that is known when this is compiled.
#[inline(always)]
fn put<const N: usize, const M: usize>(into: &mut [u8; M], at: usize, bytes: &[u8; N]) {
    into[at..at + N].copy_from_slice(bytes);
}

/// The sum of the words of `N` bytes as they stand in memory, not folded: of no more than a packet's start, it fits. The order of bytes
/// does not matter as long as it is the same everywhere (RFC 1071, 2).
#[inline(always)]
fn sum<const N: usize, const M: usize>(bytes: &[u8; M], at: usize) -> u32 {
    bytes[at..at + N].chunks_exact(2).fold(0, |sum, word| sum + u32::from(u16::from_ne_bytes([word[0], word[1]])))
}

/// What TCP and ICMPv6 cover of the IP header. An IPv4 address adds as itself: the rest of a mapped one adds to nothing.
#[inline(always)]
fn pseudo(ip: &IpHeader, proto: u8, len: usize) -> u32 {
    let halves = |word: u32| (word & 0xffff) + (word >> 16);
    let addresses = [ip.src.words(), ip.dst.words()];
    let sum = addresses.iter().flatten().fold(0, |sum, word| sum + halves(*word));
    sum + u32::from(u16::from(proto).to_be()) + u32::from((len as u16).to_be())
}

#[inline(always)]
const fn checksum(sum: u32) -> [u8; 2] {
    let sum = (sum & 0xffff) + (sum >> 16);
    (!((sum & 0xffff) + (sum >> 16)) as u16).to_ne_bytes()
}

#[cfg(test)]
#[path = "reply/tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
