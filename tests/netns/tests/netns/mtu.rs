//! How large packets may be, and who is told when one is not.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use skep_netmodel::RoutingMode::{self, Native, Vxlan};
use skep_netns::{Cluster, Setup, ask, call, datagrams};

/// Routers may be slow to send what they owe, and the first of it may be lost while neighbours look for each other.
const WITHIN: Duration = Duration::from_secs(30);

fn cluster(routing: RoutingMode) -> Cluster {
    Cluster::new(&Setup { routing, ..Setup::default() })
}

/// One MiB there and back, by TCP and by datagrams of several sizes, the largest of which are sent in fragments.
fn a_mebibyte(cluster: &Cluster, to: IpAddr) {
    let pod = cluster.pod(0, 0);
    let block: Vec<u8> = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (_, _, mut stream) = call(&pod.netns, to).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let mut echo = vec![0; block.len()];
    std::thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&block).unwrap());
        stream.read_exact(&mut echo).unwrap();
    });
    assert!(echo == block, "TCP to {to} changes data");
    let socket = datagrams(&pod.netns, 0, to);
    for size in [1_200, 8_000, 60_000] {
        for part in block.chunks(size) {
            socket.send(part).unwrap();
            let len = socket.recv(&mut echo).unwrap();
            assert!(echo[..len] == *part, "datagrams of {size} bytes to {to} change");
        }
    }
}

#[test]
fn a_mebibyte_arrives_natively() {
    let cluster = cluster(Native);
    cluster.pod(1, 0).addresses.into_iter().for_each(|to| a_mebibyte(&cluster, to));
}

#[test]
fn a_mebibyte_arrives_through_the_tunnel() {
    let cluster = cluster(Vxlan);
    cluster.pod(1, 0).addresses.into_iter().for_each(|to| a_mebibyte(&cluster, to));
}

#[test]
fn pods_get_what_the_link_leaves_them() {
    for (routing, mtu) in [(Native, 1500), (Vxlan, 1450)] {
        let cluster = cluster(routing);
        assert_eq!(cluster.nodes[0].network.mtu(), mtu);
        let output =
            cluster.pod(0, 0).netns.command("ip").unwrap().args(["-o", "link", "show", "eth0"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&format!("mtu {mtu} ")), "{text}");
    }
}

/// A socket that never sends fragments, so that it is told what is too large.
fn unfragmented(cluster: &Cluster, to: IpAddr) -> UdpSocket {
    let socket = datagrams(&cluster.pod(0, 0).netns, 0, to);
    let (level, option) = if to.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
    };
    let value = libc::IP_PMTUDISC_DO;
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the value is an int that lives until the call returns, as its length says.
    let ret = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), len) };
    assert_eq!(ret, 0);
    socket
}

fn path_mtu(socket: &UdpSocket, to: IpAddr) -> i32 {
    let (level, option) =
        if to.is_ipv4() { (libc::IPPROTO_IP, libc::IP_MTU) } else { (libc::IPPROTO_IPV6, libc::IPV6_MTU) };
    let mut value = 0i32;
    let mut len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the buffer is an int, as its length says, and lives until the call returns.
    let ret = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut len) };
    assert_eq!(ret, 0);
    value
}

/// Sends what is too large until the socket learns of it.
fn learns(cluster: &Cluster, to: IpAddr, payload: usize, expected: i32) {
    let socket = unfragmented(cluster, to);
    let deadline = Instant::now() + WITHIN;
    while Instant::now() < deadline {
        let _ = socket.send(&vec![b'x'; payload]);
        if path_mtu(&socket, to) == expected {
            let error = socket.send(&vec![b'x'; payload]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE), "{error}");
            // Errors that came after the one which told may still be queued, and fail one call each.
            assert!((0..10).any(|_| ask(&socket).is_ok()), "what fits does not arrive");
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("towards {to} the socket believes in {}, not {expected}", path_mtu(&socket, to));
}

#[test]
fn a_pod_learns_what_the_tunnel_takes() {
    let cluster = cluster(Vxlan);
    // Both ends of the pod's link, as if it had been made before the tunnel.
    cluster.pod(0, 0).netns.ip(&["link", "set", "eth0", "mtu", "1500"]).unwrap();
    let host_end = cluster.block_on(cluster.nodes[0].network.attachments()).remove(0).host_ifname;
    cluster.nodes[0].netns.ip(&["link", "set", &host_end, "mtu", "1500"]).unwrap();
    for to in cluster.pod(1, 0).addresses {
        learns(&cluster, to, 1_440, 1_450);
    }
}

#[test]
fn a_pod_learns_what_the_way_to_another_node_takes() {
    let cluster = cluster(Native);
    let netns = &cluster.nodes[0].netns;
    netns
        .ip(&["route", "change", "10.42.2.0/24", "via", "192.168.77.12", "proto", "0xd5", "mtu", "lock", "1400"])
        .unwrap();
    netns
        .ip(&["-6", "route", "change", "fd00:42:2::/64", "via", "fd00:77::12", "proto", "0xd5", "mtu", "lock", "1400"])
        .unwrap();
    for to in cluster.pod(1, 0).addresses {
        learns(&cluster, to, 1_440, 1_400);
        a_mebibyte(&cluster, to);
    }
}

/// Behind the outside host is another link, a narrower one: its errors come to the node's address and are about its port.
#[test]
fn a_pod_learns_what_a_router_outside_takes() {
    let cluster = cluster(Native);
    let (router, far) =
        (&cluster.outside, skep_testkit::Netns::create(&format!("skr{}-far", std::process::id())).unwrap());
    router
        .ip(&["link", "add", "far", "mtu", "1300", "type", "veth", "peer", "name", "eth0", "netns", far.name()])
        .unwrap();
    far.ip(&["link", "set", "eth0", "mtu", "1300", "up"]).unwrap();
    for (netns, device, four, six) in
        [(router, "far", "192.0.2.1/24", "fd00:f::1/64"), (&far, "eth0", "192.0.2.2/24", "fd00:f::2/64")]
    {
        netns.ip(&["addr", "add", four, "dev", device]).unwrap();
        netns.ip(&["addr", "add", six, "dev", device, "nodad"]).unwrap();
        netns.ip(&["link", "set", device, "up"]).unwrap();
    }
    far.ip(&["route", "add", "default", "via", "192.0.2.1"]).unwrap();
    far.ip(&["-6", "route", "add", "default", "via", "fd00:f::1"]).unwrap();
    let forward = || {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
    };
    router.enter(forward).unwrap();
    let node = &cluster.nodes[0].netns;
    node.ip(&["route", "add", "192.0.2.0/24", "via", "192.168.77.1"]).unwrap();
    node.ip(&["-6", "route", "add", "fd00:f::/64", "via", "fd00:77::1"]).unwrap();
    let _server = skep_netns::Server::start_dual(&far, "far", skep_netns::POD_PORT);
    for to in ["192.0.2.2", "fd00:f::2"] {
        learns(&cluster, to.parse().unwrap(), 1_400, 1_300);
        let (name, _, mut stream) = call(&cluster.pod(0, 0).netns, to.parse().unwrap()).unwrap();
        assert_eq!(name, "far");
        let block = vec![7; 100_000];
        let mut writer = stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&block).unwrap());
            stream.read_exact(&mut vec![0; block.len()]).unwrap();
        });
    }
}
