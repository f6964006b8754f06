//! How long Services take to the kernel: `sync [SERVICES [ENDPOINTS]]`, as JSON lines of `metric`, `unit` and `samples`.
//!
//! All of them from cold, the writes alone and with the model that plans them, then single endpoints that come and go at that size, and
//! `connect()` through the first Service beside the one of a node that has no other.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;
use skep_bpf::detach_all;
use skep_netmodel::{Model, NodeIdentity, Protocol};
use skep_netns::{POD_PORT, World, cluster_ip, service};

const CHANGES: usize = 500;
const CONNECTS: usize = 3_000;
const ROUNDS: usize = 5;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let services = args.next().transpose()?.unwrap_or(10_000);
    let endpoints = args.next().transpose()?.unwrap_or(25);
    let mut world = World::new(1);
    let few = connects(&world)?;

    let objects: Vec<Service> = (0..services).map(object).collect();
    let slices: Vec<EndpointSlice> = (0..services).map(|number| slice(number, endpoints, 0)).collect();
    let (mut writes, mut totals) = (Vec::new(), Vec::new());
    let mut model = Model::new(NodeIdentity::default());
    for _ in 0..ROUNDS {
        world.datapath = None;
        detach_all(world.pin_dir())?;
        let mut options = world.options();
        options.sizes.services = options.sizes.services.max(services as u32 * 3);
        options.sizes.backends = options.sizes.backends.max((services * endpoints * 5 / 4) as u32);
        world.datapath = Some(world.node.enter(|| skep_bpf::Datapath::open(&options))??);
        let began = Instant::now();
        model = Model::new(NodeIdentity::default());
        model.replace_services(&objects);
        model.replace_slices(&slices);
        let applied = world.datapath().sync_services(model.specs().map(AsRef::as_ref))?;
        totals.push(began.elapsed());
        writes.push(applied.took);
    }
    report("kernel_write_cold", "ms", services, endpoints, &writes);
    report("total_cold", "ms", services, endpoints, &totals);

    let mut changes = Vec::new();
    for turn in 0..CHANGES {
        let object = slice(turn * 37 % services, endpoints, 1 + turn / services);
        let began = Instant::now();
        let outcome = model.upsert_slice(&object);
        world.datapath().apply_services(&outcome.changes)?;
        changes.push(began.elapsed());
    }
    changes.sort_unstable();
    report("endpoint_change_p99", "ms", services, endpoints, &[changes[changes.len() * 99 / 100]]);
    report("endpoint_change_p50", "ms", services, endpoints, &[changes[changes.len() / 2]]);
    let maps: u64 = world.datapath().inspect().maps()?.iter().map(|row| row.memory_bytes).sum();
    println!("{}", json!({"metric": "map_memory", "unit": "MiB", "samples": [maps as f64 / f64::from(1 << 20)]}));

    world.adopt_pod(0)?;
    world.datapath().set_node_addresses(&[skep_netns::NODE.into()])?;
    let many = connects(&world)?;
    report("connect_p50_one", "us", 1, 1, &[few]);
    report("connect_p50_all", "us", services, endpoints, &[many]);
    Ok(())
}

/// The median of `connect()` from the pod's namespace to a Service of its own.
fn connects(world: &World) -> anyhow::Result<Duration> {
    let vip = SocketAddrV4::new(Ipv4Addr::new(10, 95, 0, 1), 80);
    let backends = world.backends();
    world.datapath().apply_services(&[service("own", Protocol::Tcp, &[cluster_ip(*vip.ip(), 80)], &backends)])?;
    assert_eq!(backends[0].port, POD_PORT);
    let mut samples = world.pods[0].netns.enter(|| -> std::io::Result<Vec<Duration>> {
        (0..CONNECTS)
            .map(|_| {
                let began = Instant::now();
                let stream = TcpStream::connect(SocketAddr::V4(vip))?;
                let took = began.elapsed();
                drop(stream);
                Ok(took)
            })
            .collect()
    })??;
    samples.sort_unstable();
    Ok(samples[samples.len() / 2])
}

fn report(metric: &str, unit: &str, services: usize, endpoints: usize, samples: &[Duration]) {
    let scale = if unit == "us" { 1e6 } else { 1e3 };
    let samples: Vec<f64> = samples.iter().map(|sample| sample.as_secs_f64() * scale).collect();
    let row = json!({"metric": metric, "unit": unit, "services": services, "endpoints": endpoints, "samples": samples});
    println!("{row}");
}

fn object(number: usize) -> Service {
    let address = Ipv4Addr::from(0x0a60_0000 + number as u32);
    serde_json::from_value(json!({
        "metadata": {"namespace": "bench", "name": format!("s{number}")},
        "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "ports": [{"port": 80}]},
    }))
    .expect("a Service")
}

/// A slice whose last endpoint differs from turn to turn.
fn slice(number: usize, endpoints: usize, turn: usize) -> EndpointSlice {
    let base = 0x0b00_0000 + (number * endpoints) as u32;
    let address = |at: usize| {
        let moved = if at + 1 == endpoints { turn as u32 * 0x0100_0000 } else { 0 };
        Ipv4Addr::from(base + at as u32 + moved).to_string()
    };
    let endpoints: Vec<_> = (0..endpoints).map(|at| json!({"addresses": [address(at)]})).collect();
    serde_json::from_value(json!({
        "metadata": {"namespace": "bench", "name": format!("s{number}-x"),
            "labels": {"kubernetes.io/service-name": format!("s{number}")}},
        "addressType": "IPv4", "ports": [{"port": 8080, "protocol": "TCP"}], "endpoints": endpoints,
    }))
    .expect("an EndpointSlice")
}
