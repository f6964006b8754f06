//! Damaged, spoofed and odd packets, run through each program of a link as the kernel has it loaded, and through the same parsing here: where
//! that alone decides, both come to one verdict. `./x fuzz` runs more of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket};
use skep_abi::Ip;
use skep_logic::Frame;
use skep_netmodel::RoutingMode;
use skep_netns::{Cluster, Member, POD_PORT, Setup, call};
use skep_testkit::packet::{Ends, Packets};

/// For each program, where [`PACKETS_VARIABLE`] says nothing else.
const PACKETS: usize = 20_000;
const PACKETS_VARIABLE: &str = "SKEP_FUZZ_PACKETS";

const NEXT: i32 = -1;
const PASS: i32 = 0;
const DROP: i32 = 2;
const REDIRECT: i32 = 7;

#[test]
fn no_packet_breaks_a_program_and_no_spoofed_one_leaves_a_pod() {
    let cluster = Cluster::new(&Setup { routing: RoutingMode::Vxlan, pods: 2, ..Setup::default() });
    let node = &cluster.nodes[0];
    let attachment = &node.pods[0].attachment;
    let mut addresses: Vec<IpAddr> = cluster.nodes.iter().flat_map(|node| node.spec.addresses.clone()).collect();
    addresses.extend(cluster.nodes.iter().flat_map(|node| &node.pods).flat_map(|pod| pod.addresses));
    addresses.extend([skep_netns::OUTSIDE, skep_netns::OUTSIDE_V6]);
    let macs = [attachment.pod_mac.0, attachment.host_mac.0];
    let from_pod = Ends { macs, addresses, ports: vec![POD_PORT, 53, 32_768, 61_000] };
    let to_pod = Ends { macs: [macs[1], macs[0]], ..from_pod.clone() };
    let link = attachment.host_ifindex;
    let programs = [
        (format!("pod_{link}"), attachment.host_ifname.as_str(), &from_pod),
        (format!("podin_{link}"), attachment.host_ifname.as_str(), &to_pod),
        ("host_ingress".to_owned(), "uplink", &to_pod),
        ("host_egress".to_owned(), "uplink", &from_pod),
        ("overlay_ingress".to_owned(), skep_network::OVERLAY, &to_pod),
    ];
    let count = std::env::var(PACKETS_VARIABLE).map_or(PACKETS, |text| text.parse().unwrap());
    for (seed, (program, device, ends)) in programs.into_iter().enumerate() {
        let packets = Packets::new(seed as u64, ends.clone()).filter(|frame| is_taken(frame)).take(count);
        let verdicts = node.netns.enter(|| run(node, &program, device, packets)).unwrap();
        println!("{program}: {verdicts:?}");
        if program == "overlay_ingress" {
            // None of them says that it is of the cluster's tunnel.
            assert!(verdicts.keys().eq([&DROP]), "{program}: {verdicts:?}");
        } else {
            // Neither all dropped, which would test little, nor all let through.
            assert!(verdicts.len() > 1, "{program}: {verdicts:?}");
        }
    }
    // Tables that the packets left rows in still serve.
    for (from, to) in [(0, 1), (1, 0)] {
        for to in cluster.nodes[to].pods[0].addresses {
            call(&cluster.nodes[from].pods[1].netns, to).unwrap();
        }
    }
}

/// Runs a program on the packets; how often each verdict was given.
fn run(node: &Member, program: &str, device: &str, packets: impl Iterator<Item = Vec<u8>>) -> BTreeMap<i32, usize> {
    let (datapath, pod) = (node.datapath(), &node.pods[0].attachment);
    let ifindex = nix::net::if_::if_nametoindex(device).unwrap();
    let is_pods = program.starts_with("pod_");
    let (mut verdicts, mut foreseen) = (BTreeMap::new(), 0);
    for packet in packets {
        let mut after = packet.clone();
        let verdict = datapath.inspect().test_run(program, &mut after, ifindex);
        let verdict = verdict.unwrap_or_else(|error| panic!("{program}: {error}: {packet:02x?}"));
        assert!([NEXT, PASS, DROP, REDIRECT].contains(&verdict), "{program}: {verdict}: {packet:02x?}");
        *verdicts.entry(verdict).or_default() += 1;
        if let Some(expected) = foresee(program, node, &packet) {
            assert_eq!(verdict, expected, "{program}: {packet:02x?}");
            foreseen += 1;
        }
        let own = || is_from(&packet, &pod.addresses, pod.pod_mac.0);
        assert!(!is_pods || verdict == DROP || own(), "{program} lets through {packet:02x?}");
    }
    println!("{program}: {foreseen} foreseen");
    assert!(foreseen > 0);
    verdicts
}

/// The verdict on a packet from or to the first pod of a node, as far as its headers decide it: there are no Services and no policies.
fn foresee(program: &str, node: &Member, packet: &[u8]) -> Option<i32> {
    if program == "overlay_ingress" {
        return Some(DROP);
    }
    let from_pod = program.starts_with("pod_");
    let frame = match Frame::parse(packet) {
        Err(_) => return Some(DROP),
        Ok(None) => return Some(if from_pod { DROP } else { NEXT }),
        Ok(Some(frame)) => frame,
    };
    let is_of = |pod: &skep_netns::MemberPod, ip: &Ip| pod.addresses.iter().any(|own| Ip::from(*own) == *ip);
    let is_local = |ip: &Ip| node.pods.iter().any(|pod| is_of(pod, ip));
    if program.starts_with("podin_") {
        return Some(NEXT);
    }
    if from_pod {
        let own = &node.pods[0];
        let spoofed = !is_of(own, &frame.ip.src) || frame.macs().1 != own.attachment.pod_mac.0;
        if frame.ip.dst.is_multicast() || spoofed {
            return Some(DROP);
        }
    }
    if program == "host_egress" {
        let is_node = node.spec.addresses.iter().any(|own| Ip::from(*own) == frame.ip.src);
        return (!is_node && !is_local(&frame.ip.src)).then_some(NEXT);
    }
    let has_hop = frame.hop([0; 6], [0; 6]).is_some();
    is_local(&frame.ip.dst).then_some(if has_hop { REDIRECT } else { NEXT })
}

/// Whether the kernel runs a program on such a frame; it wants the whole of the header that the frame says comes first.
fn is_taken(frame: &[u8]) -> bool {
    let header = match frame[12..14] {
        [0x08, 0x00] => 20,
        [0x86, 0xdd] => 40,
        _ => 0,
    };
    frame.len() >= 14 + header
}

/// Whether a frame has the addresses of that pod as its source.
fn is_from(frame: &[u8], pod: &[IpAddr], mac: [u8; 6]) -> bool {
    // What cannot be read in whole may still have its source.
    let source: IpAddr = match SlicedPacket::from_ethernet(frame).map(|packet| packet.net) {
        Ok(Some(NetSlice::Ipv4(ip))) => ip.header().source_addr().into(),
        Ok(Some(NetSlice::Ipv6(ip))) => ip.header().source_addr().into(),
        _ => match frame.get(12..14) {
            Some([8, 0]) => <[u8; 4]>::try_from(&frame[26..30]).unwrap().into(),
            _ => <[u8; 16]>::try_from(&frame[22..38]).unwrap().into(),
        },
    };
    pod.contains(&source) && frame[6..12] == mac
}
