extern crate std;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;
use skep_abi::{Ip4, PROTO_TCP};

use super::*;

const POD: Ip = Ip::from_v4(Ip4([10, 42, 0, 2]));
const NODE: Ip = Ip::from_v4(Ip4([192, 168, 0, 2]));
const FAR: Ip = Ip::from_v4(Ip4([192, 0, 2, 9]));
const OUTSIDE: Outside = Outside { addr: NODE, port_min: 10_000, port_max: 10_031 };

#[derive(Default)]
struct Memory {
    held: RefCell<HashMap<NatKey, NatFlow>>,
    now_ns: Cell<u64>,
    seed: Cell<u32>,
    capacity: Option<usize>,
}

impl Memory {
    fn get(&self, key: &NatKey) -> Option<NatFlow> {
        self.held.borrow().get(key).copied()
    }
}

impl NatTable for Memory {
    fn read(&self, key: &NatKey, into: &mut NatFlow) -> bool {
        self.get(key).map(|held| *into = held).is_some()
    }
    fn has(&self, key: &NatKey, flow: &NatFlow) -> Has {
        self.get(key).map_or(Has::Nothing, |held| if is_alike(&held, flow) { Has::This } else { Has::Other })
    }
    fn add(&self, key: &NatKey, flow: &NatFlow) -> Added {
        let mut held = self.held.borrow_mut();
        if held.contains_key(key) {
            return Added::Taken;
        }
        if self.capacity.is_some_and(|capacity| held.len() >= capacity) {
            return Added::Full;
        }
        held.insert(*key, *flow);
        Added::Yes
    }
    fn confirm(&self, key: &NatKey, now_ns: u64) {
        self.held.borrow_mut().get_mut(key).unwrap().checked_ns = now_ns;
    }
    fn remove(&self, key: &NatKey) {
        self.held.borrow_mut().remove(key);
    }
    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }
    fn random(&self) -> u32 {
        self.seed.set(self.seed.get().wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        self.seed.get()
    }
}

fn key(pod: u8, port: u16) -> NatKey {
    NatKey {
        src: Ip::from_v4(Ip4([10, 42, 0, pod])),
        dst: FAR,
        src_port: Be16::new(port),
        dst_port: Be16::new(443),
        proto: PROTO_TCP,
        dir: NAT_FORWARD,
        pad: [0; 2],
    }
}

fn back(port: Be16) -> NatKey {
    NatKey { src: FAR, dst: NODE, src_port: Be16::new(443), dst_port: port, dir: NAT_REVERSE, ..key(2, 0) }
}

fn outbound(table: &Memory, key: &NatKey, opens: bool, outside: &Outside) -> Outbound {
    super::outbound(table, key, opens, outside, &mut NatFlow::default())
}

/// Whose a packet is that came back.
fn inbound(table: &Memory, key: &NatKey) -> Option<(Ip, Be16)> {
    let mut flow = NatFlow::default();
    super::current(table, key, &mut flow).then_some((flow.dst, flow.dst_port))
}

#[test]
fn the_pods_own_port_is_kept_where_it_is_free_and_in_the_range() {
    let table = Memory::default();
    assert_eq!(outbound(&table, &key(2, 10_005), true, &OUTSIDE), Outbound::As(NODE, Be16::new(10_005)));
    let Outbound::As(_, other) = outbound(&table, &key(3, 10_005), true, &OUTSIDE) else { panic!() };
    assert_ne!(other.get(), 10_005);
    let Outbound::As(_, moved) = outbound(&table, &key(2, 50_000), true, &OUTSIDE) else { panic!() };
    assert!((10_000..=10_031).contains(&moved.get()));
    assert_eq!(outbound(&table, &key(2, 50_000), false, &OUTSIDE), Outbound::As(NODE, moved));
    assert_eq!(inbound(&table, &back(moved)), Some((POD, Be16::new(50_000))));
    assert_eq!(inbound(&table, &back(other)), Some((key(3, 0).src, Be16::new(10_005))));
}

#[test]
fn only_what_opens_a_flow_takes_a_port() {
    let table = Memory::default();
    assert_eq!(outbound(&table, &key(2, 50_000), false, &OUTSIDE), Outbound::Unknown);
    assert!(table.held.borrow().is_empty());
    let full = Memory { capacity: Some(1), ..Memory::default() };
    assert_eq!(outbound(&full, &key(2, 50_000), true, &OUTSIDE), Outbound::Full);
    assert!(full.held.borrow().is_empty(), "a port is held by no flow");
}

#[test]
fn an_evicted_element_comes_back_from_the_other() {
    let table = Memory::default();
    let Outbound::As(_, port) = outbound(&table, &key(2, 50_000), true, &OUTSIDE) else { panic!() };
    let whole = table.held.borrow().len();
    for gone in [back(port), key(2, 50_000)] {
        table.remove(&gone);
        table.now_ns.set(table.now_ns.get() + CHECK_AFTER_NS);
        if gone.dir == NAT_REVERSE {
            assert_eq!(outbound(&table, &key(2, 50_000), false, &OUTSIDE), Outbound::As(NODE, port));
        } else {
            assert_eq!(inbound(&table, &back(port)), Some((POD, Be16::new(50_000))));
        }
        assert_eq!(table.held.borrow().len(), whole);
    }
}

#[test]
fn a_flow_whose_port_went_to_another_gets_a_new_one() {
    let table = Memory::default();
    let Outbound::As(_, port) = outbound(&table, &key(2, 50_000), true, &OUTSIDE) else { panic!() };
    let thief = NatFlow { dst: key(3, 0).src, dst_port: Be16::new(1), ..NatFlow::default() };
    table.held.borrow_mut().insert(back(port), thief);
    table.now_ns.set(CHECK_AFTER_NS);
    let Outbound::As(_, next) = outbound(&table, &key(2, 50_000), true, &OUTSIDE) else { panic!() };
    assert_ne!(next, port);
    assert_eq!(table.get(&back(port)).unwrap().dst, key(3, 0).src);
}

#[test]
fn a_flow_under_an_address_that_the_node_lost_is_forgotten() {
    let table = Memory::default();
    outbound(&table, &key(2, 50_000), true, &OUTSIDE);
    let moved = Outside { addr: Ip::from_v4(Ip4([192, 168, 0, 3])), ..OUTSIDE };
    assert_eq!(outbound(&table, &key(2, 50_000), false, &moved), Outbound::Unknown);
}

/// A client's flow to a service at the node, whose backend is `host`.
fn serve(table: &Memory, client: u16, service: u8, host: u8, keep: bool) -> (NatKey, NatFlow, Opened) {
    let vip = Ip::from_v4(Ip4([192, 0, 3, service]));
    let key = NatKey { src: FAR, dst: vip, src_port: Be16::new(client), ..key(2, 0) };
    let backend = Ip::from_v4(Ip4([10, 42, 0, host]));
    let mut flow = NatFlow { dst: backend, dst_port: Be16::new(8080), service: 7, ..NatFlow::default() };
    let opened = open(table, &key, &OUTSIDE, keep, &mut flow);
    (key, flow, opened)
}

#[test]
fn a_clients_own_address_is_kept_unless_another_flow_has_it_towards_the_backend() {
    let table = Memory::default();
    let (first, flow, opened) = serve(&table, 40_000, 1, 9, true);
    assert_eq!((opened, flow.src, flow.src_port.get()), (Opened::Yes, FAR, 40_000));
    // The same client and port, through another service to the same backend: its answers must not be taken for the first one's.
    let (second, other, opened) = serve(&table, 40_000, 2, 9, true);
    assert_eq!((opened, other.src), (Opened::Yes, NODE));
    for (key, flow) in [(first, flow), (second, other)] {
        let (back, _) = mirror(&key, &flow);
        let mut answer = NatFlow::default();
        assert!(current(&table, &back, &mut answer));
        assert_eq!(
            (answer.src, answer.src_port, answer.dst, answer.dst_port),
            (key.dst, key.dst_port, FAR, key.src_port)
        );
    }
    // What the table has evicted of a flow is entered again as it was.
    table.remove(&first);
    assert_eq!(serve(&table, 40_000, 1, 9, true).1.src, FAR);
}

#[test]
fn a_flow_that_is_forgotten_gives_its_port_back() {
    let table = Memory::default();
    let (key, flow, _) = serve(&table, 40_000, 1, 9, false);
    assert_eq!(flow.src, NODE);
    forget(&table, &key, &flow);
    assert!(table.held.borrow().is_empty());
    let nowhere = Outside { addr: Ip::NONE, ..OUTSIDE };
    assert_eq!(open(&table, &key, &nowhere, false, &mut flow.clone()), Opened::NoPort);
}

proptest! {
    /// Whatever pods send, no two flows to one destination share a port, each is found by its answer, and a refusal comes only when
    /// the range is nearly used up.
    #[test]
    fn flows_never_share_a_port(flows in prop::collection::btree_set((2u8..6, 49_990u16..50_030), 1..48), seed: u32) {
        let table = Memory { seed: Cell::new(seed), ..Memory::default() };
        let mut ports = BTreeSet::new();
        for &(pod, own) in &flows {
            match outbound(&table, &key(pod, own), true, &OUTSIDE) {
                Outbound::As(addr, port) => {
                    prop_assert_eq!(addr, NODE);
                    prop_assert!(ports.insert(port), "{} is given twice", port);
                    prop_assert_eq!(inbound(&table, &back(port)), Some((key(pod, 0).src, Be16::new(own))));
                }
                Outbound::NoPort => prop_assert!(ports.len() > 16, "refused with {} of 32 in use", ports.len()),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
