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

impl NatTable for Memory {
    fn get(&self, key: &NatKey) -> Option<NatFlow> {
        self.held.borrow().get(key).copied()
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
        dir: NAT_EGRESS,
        pad: [0; 2],
    }
}

fn back(port: Be16) -> NatKey {
    answer(&key(2, 0), NODE, port)
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
        if gone.dir == NAT_INGRESS {
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
    let thief = NatFlow { addr: key(3, 0).src, port: Be16::new(1), ..NatFlow::default() };
    table.held.borrow_mut().insert(back(port), thief);
    table.now_ns.set(CHECK_AFTER_NS);
    let Outbound::As(_, next) = outbound(&table, &key(2, 50_000), true, &OUTSIDE) else { panic!() };
    assert_ne!(next, port);
    assert_eq!(table.get(&back(port)).unwrap().addr, key(3, 0).src);
}

#[test]
fn a_flow_under_an_address_that_the_node_lost_is_forgotten() {
    let table = Memory::default();
    outbound(&table, &key(2, 50_000), true, &OUTSIDE);
    let moved = Outside { addr: Ip::from_v4(Ip4([192, 168, 0, 3])), ..OUTSIDE };
    assert_eq!(outbound(&table, &key(2, 50_000), false, &moved), Outbound::Unknown);
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
