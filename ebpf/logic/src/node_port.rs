//! Flows from outside to a node port: the two entries that translate them.

use skep_abi::{CT_FORWARD, CT_REVERSE, CtKeyV4, CtV4, PROTO_TCP};

use crate::Picked;
use crate::packet::{IpHeader, Ports, TCP_ACK, TCP_SYN};

/// The entries of a flow, keyed by what arrives in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// From the client: to the backend.
    pub forward: (CtKeyV4, CtV4),
    /// From the backend: as if from the node.
    pub reverse: (CtKeyV4, CtV4),
}

/// Whether a packet may begin a flow. TCP begins with SYN alone; a stray segment belongs to a flow that is forgotten, and the
/// node's own stack answers it as it should.
#[inline(always)]
pub fn opens_flow(ip: &IpHeader, ports: &Ports) -> bool {
    ip.proto != PROTO_TCP || ports.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN
}

/// Both entries for a packet of a client that goes to a backend; `ifindex` is the link it came from.
#[inline(always)]
pub fn forward_keys(ip: &IpHeader, ports: &Ports, picked: &Picked, ifindex: u32) -> Forward {
    let backend = &picked.backend;
    let forward_key = CtKeyV4 {
        src: ip.src.v4(),
        dst: ip.dst.v4(),
        src_port: ports.src,
        dst_port: ports.dst,
        proto: ip.proto,
        dir: CT_FORWARD,
        pad: [0; 2],
    };
    let reverse_key = CtKeyV4 {
        src: backend.addr,
        dst: ip.src.v4(),
        src_port: backend.port,
        dst_port: ports.src,
        dir: CT_REVERSE,
        ..forward_key
    };
    let to = CtV4 {
        addr: backend.addr,
        port: backend.port,
        pad: [0; 2],
        service: backend.service,
        row: picked.row,
        ifindex,
        state: 0,
    };
    let back = CtV4 { addr: ip.dst.v4(), port: ports.dst, ..to };
    Forward { forward: (forward_key, to), reverse: (reverse_key, back) }
}

#[cfg(test)]
mod tests {
    use skep_abi::{BackendV4, Be16, Ip, Ip4, PROTO_UDP, SvcV4};

    use super::*;

    fn ip(proto: u8) -> IpHeader {
        IpHeader {
            src: Ip::from_v4(Ip4([1, 1, 1, 1])),
            dst: Ip::from_v4(Ip4([2, 2, 2, 2])),
            v4: true,
            proto,
            hops: 64,
            checksum: Be16::new(0),
            l4: 34,
            fragment: false,
        }
    }

    fn ports(tcp_flags: u8) -> Ports {
        Ports { src: Be16::new(40_000), dst: Be16::new(30_080), tcp_flags }
    }

    #[test]
    fn reply_is_found_by_what_the_backend_sends() {
        let backend = BackendV4 { addr: Ip4([3, 3, 3, 3]), port: Be16::new(80), service: 5, ..BackendV4::default() };
        let picked = Picked { head: SvcV4::default(), row: 9, backend };
        let both = forward_keys(&ip(PROTO_TCP), &ports(TCP_SYN), &picked, 2);
        let (key, value) = both.reverse;
        assert_eq!(
            (key.src, key.src_port, key.dst, key.dst_port),
            (backend.addr, backend.port, ip(6).src.v4(), ports(0).src)
        );
        assert_eq!((value.addr, value.port), (ip(6).dst.v4(), ports(0).dst));
        assert_eq!((both.forward.1.addr, both.forward.1.port), (backend.addr, backend.port));
        assert_ne!(key.dir, both.forward.0.dir);
    }

    #[test]
    fn only_a_bare_syn_or_a_datagram_opens() {
        assert!(opens_flow(&ip(PROTO_TCP), &ports(TCP_SYN)));
        assert!(!opens_flow(&ip(PROTO_TCP), &ports(TCP_SYN | TCP_ACK)));
        assert!(!opens_flow(&ip(PROTO_TCP), &ports(TCP_ACK)));
        assert!(opens_flow(&ip(PROTO_UDP), &ports(0)));
    }
}
