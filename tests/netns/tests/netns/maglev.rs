//! Maglev: whichever node a flow from outside comes to, it goes to the same backend.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use skep_netmodel::{Backend, Change, Protocol, ServiceSpec};
use skep_netns::{Cluster, POD_PORT, Setup, World, ask, backend, datagrams_at, node_port, service};

const PORT: u16 = 30_080;
const FLOWS: u16 = 60;

/// The service on every node, without one backend where it says so.
fn serve(cluster: &Cluster, family: usize, gone: Option<&str>) -> ServiceSpec {
    let pods = cluster.nodes.iter().flat_map(|node| &node.pods).filter(|pod| Some(pod.name.as_str()) != gone);
    let backends: Vec<_> = pods.map(|pod| backend(pod.addresses[family], POD_PORT)).collect();
    let spec = by_table("web", PORT, &backends);
    for node in &cluster.nodes {
        node.datapath().apply_services(&[Change::Set(Arc::clone(&spec))]).unwrap();
    }
    ServiceSpec::clone(&spec)
}

/// A service at a node port, with a Maglev table.
fn by_table(name: &str, port: u16, backends: &[Backend]) -> Arc<ServiceSpec> {
    let Change::Set(mut spec) = service(name, Protocol::Udp, &[node_port(port)], backends) else {
        panic!("a service is set")
    };
    Arc::make_mut(&mut spec).maglev = true;
    spec
}

/// Who answers each of some flows at a node, told by their source ports.
fn answers(cluster: &Cluster, node: usize, family: usize, first: u16) -> BTreeMap<u16, String> {
    let to = SocketAddr::new(cluster.nodes[node].spec.addresses[family], PORT);
    let who = |port| ask(&datagrams_at(&cluster.outside, port, to)).unwrap().0;
    (first..first + FLOWS).map(|port| (port, who(port))).collect()
}

#[test]
fn every_node_sends_a_flow_to_the_same_backend() {
    let cluster = Cluster::new(&Setup { pods: 2, ..Setup::default() });
    for family in 0..2 {
        let spec = serve(&cluster, family, None);
        let (here, there) = (answers(&cluster, 0, family, 40_000), answers(&cluster, 1, family, 40_000));
        assert_eq!(here, there);
        let used: BTreeSet<&String> = here.values().collect();
        assert_eq!(used.len(), 4, "{used:?}");
        let held = cluster.nodes[0].datapath().inspect().services().unwrap();
        let held = held.iter().find(|row| row.address.is_ipv4() == (family == 0)).unwrap();
        assert_eq!((held.maglev_slots, held.maglev_right), (509, true));
        assert_eq!(spec.maglev_slots(), 509);

        let gone = cluster.pod(1, 1).name.clone();
        serve(&cluster, family, Some(&gone));
        let again = answers(&cluster, 0, family, 40_000);
        let stayed = here.iter().filter(|(_, name)| **name != gone);
        for (port, name) in stayed {
            assert_eq!(again[port], *name, "a flow that is known stays");
        }
        assert!(again.values().all(|name| *name != gone));
        serve(&cluster, family, None);
    }
}

#[test]
fn a_map_without_room_for_a_table_grows() {
    const SLOTS: u32 = 131_071;
    let world = World::new(0);
    let backends: Vec<Backend> = (0..1_400_u32).map(|n| backend(Ipv4Addr::from(0x0a2b_0000 + n), POD_PORT)).collect();
    let set = |n: u16| Change::Set(by_table(&format!("s{n}"), PORT + n, &backends));
    let room = skep_abi::MAGLEV.entries / SLOTS.div_ceil(4);
    let all: Vec<Change> = (0..=room as u16).map(set).collect();
    let (fits, last) = all.split_at(room as usize);
    world.datapath().apply_services(fits).unwrap();
    world.datapath().apply_services(last).unwrap();
    let inspector = world.datapath().inspect();
    let map = inspector.maps().unwrap().into_iter().find(|row| row.name == "MAGLEV").unwrap();
    assert_eq!(map.max_entries, 2 * skep_abi::MAGLEV.entries);
    let rows = inspector.services().unwrap();
    assert_eq!(rows.len(), all.len());
    assert!(rows.iter().all(|row| row.maglev_slots == SLOTS && row.maglev_right));
}
