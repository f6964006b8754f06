//! What a Service costs a connection: `connect()` from pod to pod, straight and through a ClusterIP, taken in turns in one run.
//!
//! `cargo run --release -p skep-netns --example connect [ROUNDS]`, as root.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use skep_netmodel::Protocol;
use skep_netns::{POD_PORT, World, cluster_ip, service};

fn main() -> anyhow::Result<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(5_000), |text| text.parse())?;
    let world = World::new(2);
    let vip = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 80);
    let change = service("web", Protocol::Tcp, &[cluster_ip(*vip.ip(), vip.port())], &world.backends()[1..]);
    world.datapath().apply_services(&[change])?;
    let pod = SocketAddr::V4(SocketAddrV4::new(world.pods[1].address, POD_PORT));
    let (mut direct, mut service) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    world.pods[0].netns.enter(|| -> std::io::Result<()> {
        for _ in 0..rounds {
            direct.push(connect(pod)?);
            service.push(connect(SocketAddr::V4(vip))?);
        }
        Ok(())
    })??;
    let (direct, service) = (percentiles(direct), percentiles(service));
    println!("{:<10} {:>9} {:>9} {:>9}  n={rounds}", "connect()", "p50 µs", "p90 µs", "p99 µs");
    for (name, [p50, p90, p99]) in [("direct", direct), ("ClusterIP", service)] {
        println!("{name:<10} {p50:>9.1} {p90:>9.1} {p99:>9.1}");
    }
    println!("ratio p50 {:.3}", service[0] / direct[0]);
    Ok(())
}

fn connect(to: SocketAddr) -> std::io::Result<Duration> {
    let start = Instant::now();
    let stream = TcpStream::connect(to)?;
    let took = start.elapsed();
    drop(stream);
    Ok(took)
}

fn percentiles(mut samples: Vec<Duration>) -> [f64; 3] {
    samples.sort_unstable();
    [50, 90, 99].map(|percent| samples[(samples.len() - 1) * percent / 100].as_secs_f64() * 1e6)
}
