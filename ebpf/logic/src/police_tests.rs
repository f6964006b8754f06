extern crate std;

use core::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use proptest::prelude::*;
use skep_abi::{
    Be16, CT_SHARE_MAX, Ct, CtKey, EP_EGRESS, EP_INGRESS, Ip, Ip4, POLICY_ALLOW, POLICY_DENY, POLICY_INGRESS,
    PROTO_TCP, PROTO_UDP, Peer, PolicyKey,
};

use crate::conntrack::{Flows, Held, Place, is_expired};
use crate::flow::Flow;
use crate::packet::{Frame, Part, TCP_ACK, TCP_SYN};
use crate::police::{End, Policies, Verdict, is_related, police};

const FIN: u8 = 0x01;
const RST: u8 = 0x04;
const A: Ip4 = Ip4([10, 0, 0, 1]);
const B: Ip4 = Ip4([10, 0, 0, 2]);
const NODE: Ip4 = Ip4([10, 9, 9, 9]);

#[derive(Default)]
struct Node {
    brief: RefCell<BTreeMap<CtKey, Ct>>,
    settled: RefCell<BTreeMap<CtKey, Ct>>,
    shares: RefCell<BTreeMap<u32, u32>>,
    rows: BTreeMap<PolicyKey, u8>,
    now_s: Cell<u32>,
    generation: Cell<u32>,
    /// Packets do not come from the node's stack.
    spoofed: Cell<bool>,
}

impl Flows for Node {
    fn find(&self, key: &CtKey) -> Held {
        if let Some(&ct) = self.settled.borrow().get(key) {
            return Held { ct, place: Place::Settled };
        }
        match self.brief.borrow().get(key) {
            Some(&ct) => Held { ct, place: Place::Brief },
            None => Held { ct: Ct::default(), place: Place::Nowhere },
        }
    }

    fn write(&self, place: Place, key: &CtKey, ct: &Ct) -> bool {
        let map = if place == Place::Settled { &self.settled } else { &self.brief };
        map.borrow_mut().insert(*key, *ct);
        true
    }

    fn overwrite(&self, place: Place, key: &CtKey, ct: &Ct) {
        assert!(self.find(key).place == place);
        self.write(place, key, ct);
    }

    fn remove(&self, place: Place, key: &CtKey) {
        let map = if place == Place::Settled { &self.settled } else { &self.brief };
        map.borrow_mut().remove(key).unwrap();
    }

    fn share(&self, owner: u32) -> u32 {
        self.shares.borrow().get(&owner).copied().unwrap_or(0)
    }

    fn count_share(&self, owner: u32, more: bool) {
        let next = if more { self.share(owner) + 1 } else { self.share(owner) - 1 };
        self.shares.borrow_mut().insert(owner, next);
    }
}

impl Policies for Node {
    fn verdicts(&self, key: &PolicyKey, peers: &[u32; 5]) -> u8 {
        let row = |&peer: &u32| self.rows.get(&PolicyKey { peer, ..*key }).copied().unwrap_or(0);
        peers.iter().map(row).fold(0, |all, one| all | one)
    }

    fn peer(&self, addr: &Ip) -> Peer {
        match addr.mapped() {
            Some(A) => Peer { identity: 100, namespace: 50 },
            Some(B) => Peer { identity: 200, namespace: 50 },
            _ => Peer::default(),
        }
    }

    fn block(&self, addr: &Ip) -> u32 {
        if *addr == Ip::from(A) { 70 } else { 0 }
    }

    fn is_node(&self, addr: &Ip) -> bool {
        *addr == Ip::from(NODE)
    }

    fn is_from_stack(&self) -> bool {
        !self.spoofed.get()
    }

    fn generation(&self) -> u32 {
        self.generation.get()
    }

    fn now_s(&self) -> u32 {
        self.now_s.get()
    }
}

impl Node {
    /// B takes TCP at port 80 from the peers given.
    fn with_rows(peers: &[(u32, u8)]) -> Self {
        let key =
            |peer| PolicyKey { subject: 200, peer, direction: POLICY_INGRESS, proto: PROTO_TCP, port: Be16::new(80) };
        Self { rows: peers.iter().map(|&(peer, verdict)| (key(peer), verdict)).collect(), ..Self::default() }
    }

    fn see(&self, flow: Flow) -> Verdict {
        let end = |addr: Ip| match addr.mapped() {
            Some(A) => End { id: 1, flags: 0 },
            Some(B) => End { id: 2, flags: EP_INGRESS | EP_EGRESS },
            _ => End::default(),
        };
        police(self, &flow, &end(flow.src), &end(flow.dst))
    }

    fn settled(&self) -> usize {
        self.settled.borrow().len()
    }
}

fn tcp(src: (Ip4, u16), dst: (Ip4, u16), tcp_flags: u8) -> Flow {
    Flow {
        src: src.0.into(),
        dst: dst.0.into(),
        id: 0,
        src_port: Be16::new(src.1),
        dst_port: Be16::new(dst.1),
        proto: PROTO_TCP,
        tcp_flags,
        reports: false,
        part: Part::Whole,
    }
}

fn ask(flags: u8) -> Flow {
    tcp((A, 4000), (B, 80), flags)
}

fn answer(flags: u8) -> Flow {
    tcp((B, 80), (A, 4000), flags)
}

#[test]
fn replies_pass_where_only_the_way_in_is_allowed() {
    let node = Node::with_rows(&[(100, POLICY_ALLOW)]);
    assert_eq!(node.see(answer(TCP_SYN | TCP_ACK)), Verdict::Egress);
    assert_eq!(node.see(ask(TCP_SYN)), Verdict::Pass);
    assert_eq!(node.settled(), 0, "not answered yet");
    assert_eq!(node.see(answer(TCP_SYN | TCP_ACK)), Verdict::Pass);
    assert_eq!((node.settled(), node.share(1), node.brief.borrow().len()), (1, 1, 0));
    assert_eq!(node.see(tcp((B, 80), (A, 4001), TCP_ACK)), Verdict::Egress);
    assert_eq!(node.see(tcp((A, 4000), (B, 81), TCP_SYN)), Verdict::Ingress);
}

#[test]
fn every_name_of_the_other_side_counts_and_a_denial_wins() {
    for peer in [0, 1, 50, 70, 100] {
        assert_eq!(Node::with_rows(&[(peer, POLICY_ALLOW)]).see(ask(TCP_SYN)), Verdict::Pass, "{peer}");
        let both = Node::with_rows(&[(peer, POLICY_ALLOW), (if peer == 100 { 50 } else { 100 }, POLICY_DENY)]);
        assert_eq!(both.see(ask(TCP_SYN)), Verdict::Ingress, "{peer}");
    }
    assert_eq!(Node::with_rows(&[(60, POLICY_ALLOW)]).see(ask(TCP_SYN)), Verdict::Ingress);
    let stranger = tcp((Ip4([9, 9, 9, 9]), 5), (B, 80), TCP_SYN);
    assert_eq!(Node::with_rows(&[(1, POLICY_ALLOW)]).see(stranger), Verdict::Ingress, "an outsider is no pod");
    assert_eq!(Node::with_rows(&[(0, POLICY_ALLOW)]).see(stranger), Verdict::Pass);
}

#[test]
fn the_node_reaches_its_pods_and_gets_answers() {
    let node = Node::with_rows(&[]);
    assert_eq!(node.see(tcp((NODE, 9), (B, 80), TCP_SYN)), Verdict::Pass);
    assert_eq!(node.see(tcp((B, 80), (NODE, 9), TCP_SYN | TCP_ACK)), Verdict::Pass);
    assert_eq!(node.see(tcp((B, 81), (NODE, 9), TCP_SYN)), Verdict::Egress);
    node.spoofed.set(true);
    node.generation.set(1);
    assert_eq!(node.see(tcp((B, 80), (NODE, 9), TCP_ACK)), Verdict::Pass, "a reply is a pod's own packet");
    assert_eq!(
        node.see(tcp((NODE, 10), (B, 80), TCP_SYN)),
        Verdict::Ingress,
        "who uses the node's address is not the node"
    );
    assert_eq!(node.see(tcp((B, 1), (B, 2), TCP_SYN)), Verdict::Pass, "a pod reaches itself");
}

#[test]
fn a_connection_that_is_denied_later_stops_for_both_ends_until_it_is_allowed_again() {
    let mut node = Node::with_rows(&[(100, POLICY_ALLOW)]);
    node.see(ask(TCP_SYN));
    node.see(answer(TCP_SYN | TCP_ACK));
    let rows = core::mem::take(&mut node.rows);
    assert_eq!(node.see(ask(TCP_ACK)), Verdict::Pass, "the same generation");
    node.generation.set(1);
    for _ in 0..2 {
        assert_ne!(node.see(answer(TCP_ACK)), Verdict::Pass);
        assert_eq!(node.see(ask(TCP_ACK)), Verdict::Ingress);
    }
    assert_eq!((node.settled(), node.share(1)), (0, 0));
    node.rows = rows;
    node.generation.set(2);
    assert_eq!(node.see(answer(TCP_ACK)), Verdict::Pass);
    assert_eq!((node.settled(), node.share(1)), (1, 1));
}

#[test]
fn a_connection_older_than_the_policy_goes_on_if_either_end_may_have_begun_it() {
    let mut node = Node::with_rows(&[(100, POLICY_ALLOW)]);
    assert_eq!(node.see(ask(TCP_ACK)), Verdict::Egress);
    let out = PolicyKey { subject: 200, peer: 100, direction: 1, proto: PROTO_TCP, port: Be16::new(4000) };
    node.rows.insert(out, POLICY_ALLOW);
    assert_eq!(node.see(answer(TCP_ACK)), Verdict::Pass);
    assert_eq!(node.see(ask(TCP_ACK)), Verdict::Pass);
}

#[test]
fn a_syn_the_other_way_is_another_connection() {
    let node = Node::with_rows(&[(100, POLICY_ALLOW)]);
    node.see(ask(TCP_SYN));
    node.see(answer(TCP_SYN | TCP_ACK));
    assert_eq!(node.see(answer(TCP_SYN)), Verdict::Egress);
    assert_eq!(node.see(answer(TCP_ACK)), Verdict::Pass, "what there was is untouched");
}

#[test]
fn ends_give_their_place_back_and_ports_are_used_again() {
    let node = Node::with_rows(&[(100, POLICY_ALLOW)]);
    for end in [[ask(FIN | TCP_ACK), answer(FIN | TCP_ACK)], [answer(TCP_ACK), answer(RST)]] {
        node.see(ask(TCP_SYN));
        node.see(answer(TCP_SYN | TCP_ACK));
        assert_eq!((node.settled(), node.share(1)), (1, 1));
        end.into_iter().for_each(|packet| assert_eq!(node.see(packet), Verdict::Pass));
        assert_eq!((node.settled(), node.share(1), node.brief.borrow().len()), (0, 0, 1));
        assert_eq!(node.see(answer(TCP_ACK)), Verdict::Pass, "late ones still pass");
    }
    node.now_s.set(11);
    assert_eq!(node.see(answer(TCP_ACK)), Verdict::Egress, "but not later");
}

#[test]
fn silence_ends_a_flow() {
    for (answered, seconds) in [(false, 60), (true, 21_600)] {
        let node = Node::with_rows(&[(100, POLICY_ALLOW)]);
        node.see(ask(TCP_SYN));
        if answered {
            node.see(answer(TCP_SYN | TCP_ACK));
        }
        let held = node.find(&ask(0).key().0).ct;
        assert!(!is_expired(PROTO_TCP, &held, seconds));
        assert!(is_expired(PROTO_TCP, &held, seconds + 1));
        assert!(!is_expired(PROTO_TCP, &Ct { seen_s: 5, ..held }, 4), "clocks differ");
    }
    assert!(is_expired(PROTO_UDP, &Ct { flags: 7, ..Ct::default() }, 61));
}

#[test]
fn beyond_its_share_an_endpoint_keeps_what_a_flood_may_take() {
    let node = Node::with_rows(&[(100, POLICY_ALLOW)]);
    node.shares.borrow_mut().insert(1, CT_SHARE_MAX);
    node.see(ask(TCP_SYN));
    assert_eq!(node.see(answer(TCP_SYN | TCP_ACK)), Verdict::Pass);
    assert_eq!(node.see(ask(TCP_ACK)), Verdict::Pass);
    assert_eq!((node.settled(), node.brief.borrow().len()), (0, 1));
    node.shares.borrow_mut().insert(1, 0);
    node.now_s.set(1);
    node.see(ask(TCP_ACK));
    assert_eq!((node.settled(), node.brief.borrow().len(), node.share(1)), (1, 0, 1));
}

#[test]
fn errors_of_known_flows_are_related() {
    let node = Node::with_rows(&[(100, POLICY_ALLOW)]);
    node.see(ask(TCP_SYN));
    let mut bytes = std::vec![0u8; 12];
    bytes.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 1, 1, 1, 1, 10, 0, 0, 1]);
    bytes.extend([3, 4, 0, 0, 0, 0, 5, 0]);
    bytes.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x0f, 0xa0, 0, 80]);
    let frame = Frame::parse(&bytes[..]).unwrap().unwrap();
    assert!(Flow::of(&bytes[..], &frame).unwrap().reports);
    let about = Flow::reported(&bytes[..], frame.ip.l4, frame.ip.v4).unwrap();
    assert!(is_related(&node, &about));
    *bytes.last_mut().unwrap() = 81;
    assert!(!is_related(&node, &Flow::reported(&bytes[..], frame.ip.l4, frame.ip.v4).unwrap()));
}

#[test]
fn fragments_of_ipv6_share_a_key_too() {
    let part = |word: u16, payload: &[u8]| -> Flow {
        let mut bytes = std::vec![0u8; 12];
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 44, 64]);
        bytes.extend([0xfd; 32]);
        bytes.extend([17, 0]);
        bytes.extend(word.to_be_bytes());
        bytes.extend([1, 2, 3, 4]);
        bytes.extend(payload);
        Flow::of(&bytes[..], &Frame::parse(&bytes[..]).unwrap().unwrap()).unwrap()
    };
    let (first, later) = (part(1, &[0, 9, 0, 80]), part(1_449, &[]));
    assert_eq!((first.part, first.dst_port.get()), (Part::First, 80));
    assert_eq!((later.part, later.dst_port.get(), later.id), (Part::Later, 0, 0x0102_0304));
    assert_eq!(first.fragment_key(), later.fragment_key());
}

#[test]
fn fragments_share_a_key_and_only_the_first_has_ports() {
    let datagram = |offset: u16, payload: &[u8]| -> Vec<u8> {
        let [high, low] = offset.to_be_bytes();
        let mut bytes = std::vec![0u8; 12];
        bytes.extend([8, 0, 0x45, 0, 0, 0, 0x12, 0x34, high, low, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend(payload);
        bytes
    };
    let parts: Vec<Flow> = [(0x2000, &[0, 9, 0, 80][..]), (0x2001, &[][..]), (0x0002, &[1][..])]
        .into_iter()
        .map(|(offset, payload)| {
            let bytes = datagram(offset, payload);
            Flow::of(&bytes[..], &Frame::parse(&bytes[..]).unwrap().unwrap()).unwrap()
        })
        .collect();
    assert_eq!(parts.iter().map(|part| part.part).collect::<Vec<_>>(), [Part::First, Part::Later, Part::Later]);
    assert_eq!(parts.iter().map(Flow::fragment_key).collect::<std::collections::HashSet<_>>().len(), 1);
    assert_eq!((parts[0].dst_port.get(), parts[1].dst_port.get()), (80, 0));
}

proptest! {
    #[test]
    fn both_directions_have_one_key(a: [u8; 16], b: [u8; 16], ports: (u16, u16)) {
        let one = Flow { src: Ip(a), dst: Ip(b), ..tcp((A, ports.0), (B, ports.1), 0) };
        let other = Flow { src: Ip(b), dst: Ip(a), ..tcp((A, ports.1), (B, ports.0), 0) };
        prop_assert_eq!(one.key().0, other.key().0);
        prop_assert!(a == b || one.key().1 != other.key().1);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        if let Ok(Some(frame)) = Frame::parse(&bytes[..]) {
            let _ = Flow::of(&bytes[..], &frame);
            let _ = Flow::reported(&bytes[..], frame.ip.l4, frame.ip.v4);
        }
    }

    /// Entries and shares agree after any packets, and nothing passes that neither a row nor an entry allows.
    #[test]
    fn shares_count_what_is_settled(packets in prop::collection::vec((0u16..4, any::<bool>(), 0u8..32, 0u32..40, 0u32..9), 0..60)) {
        let mut node = Node::with_rows(&[(100, POLICY_ALLOW)]);
        let rows = node.rows.clone();
        for (port, ask, flags, wait, turn) in packets {
            node.now_s.set(node.now_s.get() + wait);
            if turn == 0 {
                node.generation.set(node.generation.get() + 1);
                node.rows = if node.rows.is_empty() { rows.clone() } else { BTreeMap::new() };
            }
            let (a, b) = ((A, 4000 + port), (B, 80));
            node.see(if ask { tcp(a, b, flags) } else { tcp(b, a, flags) });
            let settled: usize = node.shares.borrow().values().map(|count| *count as usize).sum();
            prop_assert_eq!(settled, node.settled());
            let both: BTreeSet<CtKey> = node.settled.borrow().keys().copied().collect();
            prop_assert!(node.brief.borrow().keys().all(|key| !both.contains(key)));
        }
    }
}
