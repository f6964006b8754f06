extern crate std;

use core::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::vec::Vec;

use proptest::prelude::*;
use skep_abi::{Ip4, PROTO_TCP, PROTO_UDP};

use super::*;

const VIP: Ip = Ip::from_v4(Ip4([10, 96, 0, 1]));
const NODE: Ip = Ip::from_v4(Ip4([192, 168, 0, 2]));
const NODE_V6: Ip = Ip([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);

fn v4(bytes: [u8; 4]) -> Ip {
    Ip::from_v4(Ip4(bytes))
}

#[derive(Default)]
struct Host {
    services: RefCell<HashMap<SvcKey, Svc>>,
    rows: RefCell<Vec<Backend>>,
    affinities: RefCell<BTreeMap<AffinityKey, Affinity>>,
    inside: Cell<bool>,
    /// Whether the caller is in the node's network namespace.
    at_node: Cell<bool>,
    now_ns: Cell<u64>,
    seed: Cell<u32>,
    hash: Cell<Option<u32>>,
    maglev: RefCell<Vec<MaglevRow>>,
    /// Rewrites the tables after that many row reads, as a writer in between would.
    race: Cell<Option<(u32, fn(&Host))>>,
}

impl Tables for Host {
    fn service(&self, key: &SvcKey) -> Option<Svc> {
        self.services.borrow().get(key).copied()
    }
    fn backend(&self, row: u32) -> Option<Backend> {
        if let Some((left, writer)) = self.race.get() {
            if left == 0 {
                self.race.set(None);
                writer(self);
            } else {
                self.race.set(Some((left - 1, writer)));
            }
        }
        self.rows.borrow().get(row as usize).copied()
    }
    fn find(&self, base: u32, count: u32, wanted: &Backend) -> Option<u32> {
        (base..base + count).find(|&row| self.backend(row).is_some_and(|held| is_same(&held, wanted)))
    }
    fn is_node_address(&self, addr: &Ip) -> bool {
        *addr == NODE || *addr == NODE_V6 || (addr.is_loopback() && self.at_node.get())
    }
    fn node_ports(&self) -> (u16, u16) {
        (30_000, 32_767)
    }
    fn is_inside(&self) -> bool {
        self.inside.get()
    }
    fn flow_hash(&self) -> Option<u32> {
        self.hash.get()
    }
    fn maglev(&self, row: u32) -> Option<MaglevRow> {
        self.maglev.borrow().get(row as usize).copied()
    }
    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }
    fn affinity(&self, key: &AffinityKey) -> Option<Affinity> {
        self.affinities.borrow().get(key).copied()
    }
    fn keep_affinity(&self, key: &AffinityKey, last: &Affinity) {
        self.affinities.borrow_mut().insert(*key, *last);
    }
    fn random(&self) -> u32 {
        // xorshift: any sequence will do as long as it covers the range.
        let mut x = self.seed.get() | 1;
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.seed.set(x);
        x
    }
}

fn key(addr: Ip, port: u16) -> SvcKey {
    SvcKey { addr, port: Be16::new(port), proto: PROTO_TCP, scope: SCOPE_EXTERNAL }
}

fn host(service: u32, base: u32, active: u32, terminating: u32) -> Host {
    let host = Host::default();
    let rows = (0..base + active + terminating).map(|i| Backend {
        addr: v4([10, 42, 0, i as u8]),
        port: Be16::new(8080),
        proto: PROTO_TCP,
        service: if i < base { 0 } else { service },
        ..Backend::default()
    });
    host.rows.replace(rows.collect());
    host.services.borrow_mut().insert(key(VIP, 80), Svc { service, base, active, terminating, ..Svc::default() });
    host
}

fn pick_at(host: &Host, addr: Ip, port: u16, proto: u8) -> Choice {
    match lookup(host, addr, Be16::new(port), proto) {
        Some((key, head)) => choose(host, &key, head),
        None => Choice::NotService,
    }
}

fn pick(host: &Host) -> Choice {
    pick_at(host, VIP, 80, PROTO_TCP)
}

#[test]
fn other_addresses_ports_and_protocols_are_left_alone() {
    let host = host(1, 0, 2, 0);
    assert_eq!(pick_at(&host, NODE, 80, PROTO_TCP), Choice::NotService);
    assert_eq!(pick_at(&host, VIP, 81, PROTO_TCP), Choice::NotService);
    assert_eq!(pick_at(&host, VIP, 80, PROTO_UDP), Choice::NotService);
}

#[test]
fn node_port_answers_at_the_nodes_addresses_only() {
    let host = host(1, 0, 2, 0);
    let head = host.service(&key(VIP, 80)).unwrap();
    host.services.borrow_mut().insert(key(Ip::ANY_V4, 30_080), head);
    assert!(matches!(pick_at(&host, NODE, 30_080, PROTO_TCP), Choice::Backend(..)));
    assert_eq!(pick_at(&host, v4([192, 168, 0, 3]), 30_080, PROTO_TCP), Choice::NotService);
    assert_eq!(
        pick_at(&host, NODE_V6, 30_080, PROTO_TCP),
        Choice::NotService,
        "the other family has a head of its own"
    );
    host.services.borrow_mut().insert(key(Ip::NONE, 30_080), head);
    assert!(matches!(pick_at(&host, NODE_V6, 30_080, PROTO_TCP), Choice::Backend(..)));
}

#[test]
fn loopback_is_a_frontend_in_the_nodes_own_namespace_alone() {
    for loopback in [v4([127, 0, 0, 1]), Ip([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])] {
        let host = host(1, 0, 2, 0);
        let head = host.service(&key(VIP, 80)).unwrap();
        host.services.borrow_mut().insert(key(loopback, 8080), head);
        assert_eq!(pick_at(&host, loopback, 8080, PROTO_TCP), Choice::NotService, "a pod's own");
        host.at_node.set(true);
        assert!(matches!(pick_at(&host, loopback, 8080, PROTO_TCP), Choice::Backend(..)));
    }
}

#[test]
fn terminating_backends_serve_only_while_none_is_active() {
    for (active, terminating) in [(2, 3), (0, 3)] {
        let host = host(7, 5, active, terminating);
        for _ in 0..200 {
            let Choice::Backend(picked) = pick(&host) else { panic!("no backend") };
            let row = picked.backend;
            let offset = u32::from(row.addr.0[15]) - 5;
            assert!(offset < if active > 0 { active } else { terminating });
        }
    }
    assert!(matches!(pick(&host(7, 5, 0, 0)), Choice::NoBackend(_)));
}

#[test]
fn a_row_of_another_service_is_looked_up_again() {
    let host = host(7, 0, 3, 0);
    host.rows.borrow_mut().iter_mut().for_each(|row| row.service = 9);
    assert!(matches!(pick(&host), Choice::Raced(_)));
    // The writer's new list appears between the first read and the second.
    host.race.set(Some((1, |host| {
        host.rows.borrow_mut().extend([Backend { service: 7, port: Be16::new(1), ..Backend::default() }]);
        host.services.borrow_mut().values_mut().for_each(|head| (head.base, head.active) = (3, 1));
    })));
    let Choice::Backend(picked) = pick(&host) else { panic!("no backend") };
    let row = picked.backend;
    assert_eq!(row.port.get(), 1);
}

#[test]
fn a_flow_stays_with_its_backend_while_it_is_listed() {
    let host = host(7, 4, 3, 0);
    let head = host.service(&key(VIP, 80)).unwrap();
    let listed = (v4([10, 42, 0, 5]), Be16::new(8080));
    for row in [5, 99] {
        let Choice::Backend(picked) = choose_sticky(&host, &key(VIP, 80), head, listed, row) else { panic!() };
        let row = picked.backend;
        assert_eq!(row.addr, listed.0);
    }
    let gone = (v4([10, 42, 0, 200]), Be16::new(8080));
    let Choice::Backend(picked) = choose_sticky(&host, &key(VIP, 80), head, gone, 99) else { panic!() };
    let row = picked.backend;
    assert_ne!(row.addr, gone.0);
}

proptest! {
    #[test]
    fn every_active_backend_gets_its_share(active in 1u32..40, base in 0u32..20, seed: u32) {
        let host = host(3, base, active, 0);
        host.seed.set(seed);
        let mut hits: BTreeMap<Ip, u32> = BTreeMap::new();
        for _ in 0..active * 200 {
            let Choice::Backend(picked) = pick(&host) else { panic!("no backend") };
    let row = picked.backend;
            *hits.entry(row.addr).or_default() += 1;
        }
        prop_assert_eq!(hits.len() as u32, active);
        prop_assert!(hits.values().all(|&n| (90..=330).contains(&n)), "{:?}", hits);
    }
}

#[test]
fn callers_inside_have_a_list_of_their_own_where_it_differs() {
    let host = host(7, 0, 1, 0);
    let outside = Svc { service: 8, base: 1, active: 1, flags: SVC_TWO_SCOPES, ..Svc::default() };
    let inside = SvcKey { scope: SCOPE_INTERNAL, ..key(VIP, 443) };
    host.services.borrow_mut().insert(key(VIP, 443), outside);
    let found = |host: &Host| lookup(host, VIP, Be16::new(443), PROTO_TCP).unwrap();
    host.inside.set(true);
    assert_eq!(found(&host), (key(VIP, 443), outside), "the other list is not written yet");
    let own = Svc { service: 7, base: 0, active: 1, ..Svc::default() };
    host.services.borrow_mut().insert(inside, own);
    assert_eq!(found(&host), (inside, own));
    host.inside.set(false);
    assert_eq!(found(&host), (key(VIP, 443), outside));
}

#[test]
fn affinity_holds_for_its_time_and_while_the_backend_is_listed() {
    const TIMEOUT_S: u64 = 60;
    let host = host(7, 0, 50, 0);
    let key = key(VIP, 80);
    let head = |host: &Host| Svc {
        affinity_timeout_s: TIMEOUT_S as u32,
        ..host.services.borrow().get(&key).copied().unwrap()
    };
    let choose = |host: &Host, client| match crate::choose_affine(host, &key, head(host), Ip::of_cookie(client)) {
        Choice::Backend(picked) => picked.backend.addr,
        other => panic!("{other:?}"),
    };
    let first = choose(&host, 1);
    for _ in 0..20 {
        host.now_ns.set(host.now_ns.get() + TIMEOUT_S * 1_000_000_000);
        assert_eq!(choose(&host, 1), first, "each connection begins the time anew");
    }
    let others: std::collections::BTreeSet<Ip> = (2..40).map(|client| choose(&host, client)).collect();
    assert!(others.len() > 5, "other clients have backends of their own");
    let later: std::collections::BTreeSet<Ip> = (0..20)
        .map(|_| {
            host.now_ns.set(host.now_ns.get() + TIMEOUT_S * 1_000_000_000 + 1);
            choose(&host, 1)
        })
        .collect();
    assert!(later.len() > 1, "the time is over");
    let gone = choose(&host, 1);
    host.rows.borrow_mut().iter_mut().filter(|row| row.addr == gone).for_each(|row| row.addr = v4([9, 9, 9, 9]));
    assert_ne!(choose(&host, 1), gone);
}
