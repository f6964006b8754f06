//! Writes that keep checksums right. All work on partial checksums too, as a veth hands them on.

use aya_ebpf::{
    bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR},
    helpers::bpf_csum_diff,
};
use skep_abi::{Be16, Ip, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP};
use skep_logic::{ETH_LEN, Embedded, IpHeader, Malformed};

use crate::Skb;

const V4_CHECKSUM: usize = 10;
const V4_SRC: usize = 12;
const V4_DST: usize = 16;
const V6_SRC: usize = 8;
const V6_DST: usize = 24;
const ICMP_CHECKSUM: usize = 2;

/// `BPF_F_IPV6`, of kernels that would otherwise count an IPv6 address twice in a checksum that the device has summed up.
const F_IPV6: u64 = 1 << 7;

/// One end of a tuple.
#[derive(Clone, Copy)]
pub enum Field {
    /// Source address and port.
    Source,
    /// Destination address and port.
    Destination,
}

/// Where a port stands, and the checksum over it.
struct Place {
    port: usize,
    checksum: usize,
    /// Whether the checksum covers the addresses as well.
    pseudo: bool,
}

#[inline(always)]
fn place(proto: u8, field: Field, l4: usize) -> Place {
    let port = match field {
        Field::Source => l4,
        Field::Destination => l4 + 2,
    };
    match proto {
        PROTO_TCP => Place { port, checksum: l4 + 16, pseudo: true },
        PROTO_UDP => Place { port, checksum: l4 + 6, pseudo: true },
        proto => Place { port: l4 + 4, checksum: l4 + ICMP_CHECKSUM, pseudo: proto != PROTO_ICMP },
    }
}

#[inline(always)]
const fn address(v4: bool, field: Field, ip: usize) -> usize {
    ip + match (v4, field) {
        (true, Field::Source) => V4_SRC,
        (true, Field::Destination) => V4_DST,
        (false, Field::Source) => V6_SRC,
        (false, Field::Destination) => V6_DST,
    }
}

impl Skb {
    /// Rewrites one end of the tuple; `old` is what it is now. The port of an ICMP echo is its identifier.
    #[inline(always)]
    pub fn rewrite(&self, ip: &IpHeader, field: Field, old: &(Ip, Be16), new: &(Ip, Be16)) -> Result<(), Malformed> {
        let place = place(ip.proto, field, ip.l4);
        // UDP's zero means that there is no checksum, and must stay so.
        let keep_zero = if ip.proto == PROTO_UDP { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
        if place.pseudo {
            self.address_in_checksum(place.checksum, &old.0, &new.0, u64::from(BPF_F_PSEUDO_HDR) | keep_zero)?;
        }
        self.port_in_checksum(place.checksum, old.1, new.1, keep_zero)?;
        self.set_address(address(ip.v4, field, ETH_LEN), ETH_LEN, &old.0, &new.0)?;
        self.0.store(place.port, &new.1.bytes(), 0).map_err(|_| Malformed)
    }

    /// Rewrites one address of a packet that has no transport header.
    #[inline(always)]
    pub fn rewrite_address(&self, ip: &IpHeader, field: Field, new: &Ip) -> Result<(), Malformed> {
        let old = match field {
            Field::Source => &ip.src,
            Field::Destination => &ip.dst,
        };
        self.set_address(address(ip.v4, field, ETH_LEN), ETH_LEN, old, new)
    }

    /// Rewrites one end of an ICMP error and of the packet in it, which went the other way: its destination is `field` of the error
    /// turned round. The inner transport checksum stays as it was, since nobody verifies it and errors may cut it off.
    #[inline(always)]
    pub fn rewrite_error(
        &self,
        ip: &IpHeader,
        inner: &Embedded,
        field: Field,
        new: &(Ip, Be16),
    ) -> Result<(), Malformed> {
        let (turned, old, old_port, outer) = match field {
            Field::Destination => (Field::Source, &inner.src, inner.ends.src, &ip.dst),
            Field::Source => (Field::Destination, &inner.dst, inner.ends.dst, &ip.src),
        };
        let checksum = ip.l4 + ICMP_CHECKSUM;
        // An IPv4 header's own checksum makes up for its address. IPv6 has none: the address counts, and once more in the pseudo header.
        if !ip.v4 {
            self.address_in_checksum(checksum, old, &new.0, 0)?;
            self.address_in_checksum(checksum, outer, &new.0, u64::from(BPF_F_PSEUDO_HDR))?;
        }
        self.port_in_checksum(checksum, old_port, new.1, 0)?;
        self.set_address(address(ip.v4, turned, inner.at), inner.at, old, &new.0)?;
        let port = match inner.proto {
            PROTO_ICMP | PROTO_ICMPV6 => inner.l4 + 4,
            _ => place(inner.proto, turned, inner.l4).port,
        };
        self.0.store(port, &new.1.bytes(), 0).map_err(|_| Malformed)?;
        self.set_address(address(ip.v4, field, ETH_LEN), ETH_LEN, outer, &new.0)
    }

    /// Writes an address at `at` of the IP header that begins at `header`, and that header's own checksum.
    #[inline(never)]
    fn set_address(&self, at: usize, header: usize, old: &Ip, new: &Ip) -> Result<(), Malformed> {
        if !old.is_v4() {
            return self.0.store(at, &new.0, 0).map_err(|_| Malformed);
        }
        let (from, to) = (u64::from(old.v4().to_ne()), u64::from(new.v4().to_ne()));
        self.0.l3_csum_replace(header + V4_CHECKSUM, from, to, 4).map_err(|_| Malformed)?;
        self.0.store(at, &new.v4().0, 0).map_err(|_| Malformed)
    }

    #[inline(always)]
    fn port_in_checksum(&self, at: usize, old: Be16, new: Be16, flags: u64) -> Result<(), Malformed> {
        let (from, to) = (u64::from(old.to_ne()), u64::from(new.to_ne()));
        self.0.l4_csum_replace(at, from, to, flags | 2).map_err(|_| Malformed)
    }

    #[inline(never)]
    fn address_in_checksum(&self, at: usize, old: &Ip, new: &Ip, flags: u64) -> Result<(), Malformed> {
        if old.is_v4() {
            let (from, to) = (u64::from(old.v4().to_ne()), u64::from(new.v4().to_ne()));
            return self.0.l4_csum_replace(at, from, to, flags | 4).map_err(|_| Malformed);
        }
        let (mut from, mut to) = (old.words(), new.words());
        // SAFETY: both arrays have the 16 bytes that the helper reads.
        let difference = unsafe { bpf_csum_diff(from.as_mut_ptr(), 16, to.as_mut_ptr(), 16, 0) };
        let to = u64::from(difference as u32);
        let known = self.0.l4_csum_replace(at, 0, to, flags | F_IPV6);
        known.or_else(|_| self.0.l4_csum_replace(at, 0, to, flags)).map_err(|_| Malformed)
    }
}
