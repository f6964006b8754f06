//! The daemon dies, comes back, and meets what another version left.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use skep_bpf::{Datapath, Error, Inspector, detach_all};
use skep_netmodel::{Change, Protocol, ServiceSpec};
use skep_netns::{World, call_tcp, cluster_ip, service};

const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 80);

fn web(world: &World, pods: std::ops::Range<usize>) -> Change {
    service("web", Protocol::Tcp, &[cluster_ip(*VIP.ip(), VIP.port())], &world.backends()[pods])
}

fn spec(change: &Change) -> &ServiceSpec {
    match change {
        Change::Set(spec) => spec,
        Change::Remove(_) => panic!("a removal has no spec"),
    }
}

#[test]
fn swapping_heads_under_load_fails_no_connection() {
    let world = World::new(4);
    world.datapath().apply_services(&[web(&world, 0..4)]).unwrap();
    let (done, calls) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for caller in 0..2 {
            let (world, done, calls) = (&world, &done, &calls);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    call_tcp(&world.pods[caller].netns, VIP).unwrap();
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut swaps = 0;
        while calls.load(Ordering::Relaxed) < 1_000 {
            let first = swaps % 4;
            world.datapath().apply_services(&[web(&world, first..4)]).unwrap();
            swaps += 1;
        }
        done.store(true, Ordering::Relaxed);
        assert!(swaps > 100, "{swaps} swaps");
    });
}

#[test]
fn a_dead_daemon_leaves_services_and_connections_running() {
    let mut world = World::new(2);
    world.datapath().apply_services(&[web(&world, 0..2)]).unwrap();
    let (_, _, mut stream) = call_tcp(&world.pods[0].netns, VIP).unwrap();
    let programs = |world: &World| -> Vec<(String, String)> {
        let rows = Inspector::open(world.pin_dir()).unwrap().programs().unwrap();
        rows.into_iter().map(|row| (row.name, row.attach)).collect()
    };
    let before = programs(&world);
    world.datapath = None;
    call_tcp(&world.pods[0].netns, VIP).unwrap();
    // What the CLI shows needs no daemon.
    let rows = Inspector::open(world.pin_dir()).unwrap().services().unwrap();
    assert_eq!((rows[0].name.as_str(), rows[0].active), ("test/web", 2));
    assert_eq!(rows[0].backends[0].pod, "test/pod0");

    world.open().unwrap();
    assert_eq!(programs(&world), before);
    let after = world.datapath().inspect().services().unwrap();
    assert_eq!(after, rows);
    // The first full view finds all as it should be, and writes nothing.
    let view = web(&world, 0..2);
    assert_eq!(world.datapath().sync_services([spec(&view)]).unwrap().ops, 0);
    stream.write_all(b"ping").unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), SocketAddr::V4(VIP));
}

#[test]
fn taking_over_under_load_fails_no_connection() {
    let mut world = World::new(2);
    world.datapath().apply_services(&[web(&world, 0..2)]).unwrap();
    let options = world.options();
    world.datapath = None;
    let (done, calls) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let (_, _, stream) = call_tcp(&world.pods[0].netns, VIP).unwrap();
                assert_eq!(stream.peer_addr().unwrap(), SocketAddr::V4(VIP));
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..3 {
            drop(world.node.enter(|| Datapath::open(&options)).unwrap().unwrap());
        }
        done.store(true, Ordering::Relaxed);
        caller.join().unwrap();
    });
    assert!(calls.load(Ordering::Relaxed) > 10);
}

#[test]
fn what_is_stale_goes_with_the_first_full_view_and_not_before() {
    let mut world = World::new(1);
    let old = service("old", Protocol::Tcp, &[cluster_ip(Ipv4Addr::new(10, 96, 0, 11), 80)], &world.backends());
    world.datapath().apply_services(&[web(&world, 0..1), old]).unwrap();
    world.datapath = None;
    world.open().unwrap();
    world.datapath().apply_services(&[web(&world, 0..1)]).unwrap();
    assert_eq!(world.datapath().inspect().services().unwrap().len(), 2);
    let view = web(&world, 0..1);
    world.datapath().sync_services([spec(&view)]).unwrap();
    let rows = world.datapath().inspect().services().unwrap();
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["test/web"]);
}

#[test]
fn a_node_has_one_daemon() {
    let world = World::new(0);
    let options = world.options();
    let error = world.node.enter(|| Datapath::open(&options)).unwrap().unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    assert!(matches!(detach_all(world.pin_dir()), Err(Error::Busy { .. })));
}

#[test]
fn a_pinned_map_of_another_layout_is_refused() {
    let mut world = World::new(0);
    world.datapath = None;
    let pin = world.pin_dir().join("maps/ENDPOINTS");
    std::fs::remove_file(&pin).unwrap();
    let made = std::process::Command::new("bpftool")
        .args([
            "map",
            "create",
            pin.to_str().unwrap(),
            "type",
            "hash",
            "key",
            "16",
            "value",
            "8",
            "entries",
            "16",
            "name",
            "E",
        ])
        .status()
        .unwrap();
    assert!(made.success());
    let error = world.open().unwrap_err();
    assert!(
        error.to_string().ends_with("has value size 8, this version needs 24; detach the old datapath first"),
        "{error}"
    );
}

#[test]
fn detaching_leaves_nothing() {
    let mut world = World::new(1);
    world.datapath().apply_services(&[web(&world, 0..1)]).unwrap();
    world.datapath = None;
    detach_all(world.pin_dir()).unwrap();
    assert!(!world.pin_dir().exists());
    detach_all(world.pin_dir()).unwrap();
}

/// A world whose service tables begin this small.
fn small(pods: u8, services: u32, backends: u32) -> World {
    let mut world = World::new(pods);
    world.datapath = None;
    detach_all(world.pin_dir()).unwrap();
    let mut options = world.options();
    (options.sizes.services, options.sizes.backends) = (services, backends);
    world.datapath = Some(world.node.enter(|| Datapath::open(&options)).unwrap().unwrap());
    world
}

fn size_of(world: &World, map: &str) -> u32 {
    let rows = world.datapath().inspect().maps().unwrap();
    rows.iter().find(|row| row.name == map).unwrap().max_entries
}

#[test]
fn rows_are_used_again_before_a_table_grows() {
    let world = small(1, 16, 3);
    // Three rows can be replaced for ever, each time after a grace period.
    for turn in 0..5u16 {
        let some: Vec<_> = (1..=2).map(|port| skep_netns::backend(world.pods[0].address, turn * 10 + port)).collect();
        let change = service("web", Protocol::Tcp, &[cluster_ip(*VIP.ip(), 80)], &some[..1 + usize::from(turn % 2)]);
        world.datapath().apply_services(&[change]).unwrap();
    }
    assert_eq!(size_of(&world, "BACKENDS"), 3);
}

#[test]
fn tables_grow_under_load_and_fail_no_connection() {
    let mut world = small(2, 4, 4);
    world.datapath().apply_services(&[web(&world, 0..2)]).unwrap();
    let (_, _, mut stream) = call_tcp(&world.pods[0].netns, VIP).unwrap();
    let many: Vec<Change> = (0..40u8)
        .map(|number| {
            let frontend = cluster_ip(Ipv4Addr::new(10, 96, 1, number), 80);
            service(&format!("s{number}"), Protocol::Tcp, &[frontend], &world.backends())
        })
        .collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                call_tcp(&world.pods[0].netns, VIP).unwrap();
            }
        });
        world.datapath().apply_services(&many).unwrap();
        done.store(true, Ordering::Relaxed);
        caller.join().unwrap();
    });
    assert!(size_of(&world, "SVC") >= 41 && size_of(&world, "BACKENDS") >= 82);
    stream.write_all(b"ping").unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    let last = SocketAddrV4::new(Ipv4Addr::new(10, 96, 1, 39), 80);
    call_tcp(&world.pods[1].netns, last).unwrap();

    // The larger ones are what the next daemon finds.
    world.datapath = None;
    world.open().unwrap();
    assert!(size_of(&world, "SVC") >= 41);
    let all: Vec<&ServiceSpec> = many.iter().map(spec).collect();
    let web = web(&world, 0..2);
    let all = all.into_iter().chain([spec(&web)]);
    assert_eq!(world.datapath().sync_services(all).unwrap().ops, 0);
}
