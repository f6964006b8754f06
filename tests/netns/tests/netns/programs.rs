//! Every program loads, within its budget, and can be seen.

use std::collections::BTreeMap;

use skep_netmodel::RoutingMode;
use skep_netns::{Cluster, Setup, World};

const BUDGET: &str = include_str!("../../budget.txt");

#[test]
fn programs_load_within_their_budget() {
    // The program of the tunnel is attached where there is one.
    let cluster = Cluster::new(&Setup { nodes: 1, pods: 0, routing: RoutingMode::Vxlan, ..Setup::default() });
    let mut rows = cluster.nodes[0].datapath().inspect().programs().unwrap();
    drop(cluster);
    let world = World::new(1);
    rows.extend(world.datapath().inspect().programs().unwrap());
    let budget: BTreeMap<&str, u32> = BUDGET
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, count)| (name, count.parse().unwrap()))
        .collect();
    let mut loaded = BTreeMap::new();
    for row in rows {
        loaded.insert(row.name.clone(), row);
    }
    for (name, row) in &loaded {
        println!("{name:13} {:20} {:6} verified, {:5} bytes of code", row.attach, row.verified_insns, row.jited_bytes);
    }
    assert_eq!(loaded.keys().map(String::as_str).collect::<Vec<_>>(), budget.keys().copied().collect::<Vec<_>>());
    for (name, row) in &loaded {
        let most = budget[name.as_str()];
        assert!(row.verified_insns <= most, "{name}: {} verified instructions, budget {most}", row.verified_insns);
    }
}

#[test]
fn maps_are_listed_with_their_use() {
    let world = World::new(2);
    let rows = world.datapath().inspect().maps().unwrap();
    let endpoints = rows.iter().find(|row| row.name == "ENDPOINTS").unwrap();
    assert_eq!((endpoints.entries, endpoints.kind), (Some(2), "hash"));
    // What is only allocated with its elements takes nothing while there are none.
    let allocated = |row: &&skep_bpf::MapRow| row.name != "SOCK_ORIGIN" && row.kind != "lpm_trie";
    assert!(rows.iter().filter(allocated).all(|row| row.memory_bytes > 0), "{rows:?}");
    let pods: Vec<String> = world.datapath().inspect().endpoints().unwrap().into_iter().map(|row| row.pod).collect();
    assert_eq!(pods, ["test/pod0", "test/pod1"]);
}

#[tokio::test]
async fn debug_lines_come_while_they_are_asked_for() {
    let world = World::new(1);
    let vip = std::net::Ipv4Addr::new(10, 96, 9, 9);
    let nobody = skep_netns::service("web", skep_netmodel::Protocol::Tcp, &[skep_netns::cluster_ip(vip, 80)], &[]);
    world.datapath().apply_services(&[nobody]).unwrap();
    let mut lines = world.datapath().debug_lines().unwrap();
    assert!(matches!(world.datapath().debug_lines(), Err(skep_bpf::Error::DebugBusy)));
    world.datapath().debug(true).unwrap();
    let call = || skep_netns::call_tcp(&world.pods[0].netns, std::net::SocketAddrV4::new(vip, 80));
    call().unwrap_err();
    let line = tokio::time::timeout(std::time::Duration::from_secs(5), lines.next()).await.unwrap().unwrap();
    assert!(line.contains("refused 10.96.9.9:80"), "{line}");
    world.datapath().debug(false).unwrap();
    call().unwrap_err();
    drop(lines);
    world.datapath().debug_lines().unwrap();
}
