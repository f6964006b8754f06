use super::*;

fn node(name: &str, addresses: &[&str], pod_cidrs: &[&str]) -> NodeSpec {
    NodeSpec {
        name: name.to_owned(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        pod_cidrs: pod_cidrs.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

fn three() -> Vec<NodeSpec> {
    vec![
        node("a", &["192.168.0.1", "fd00::1"], &["10.42.1.0/24", "fd00:42:1::/64"]),
        node("b", &["192.168.0.2", "fd00::2"], &["10.42.2.0/24", "fd00:42:2::/64"]),
        node("c", &["192.168.0.3"], &["10.42.3.0/24", "fd00:42:3::/64"]),
    ]
}

fn routes(spec: &RoutingSpec) -> Vec<String> {
    spec.routes.iter().map(|route| format!("{} {}", route.prefix, route.hop)).collect()
}

fn remotes(spec: &RoutingSpec) -> Vec<String> {
    let line = |one: &RemoteSpec| {
        let tunnel = if one.tunnel { " tunnel" } else { "" };
        format!("{} {:?} {}{tunnel}", one.prefix, one.kind, one.node.map_or("-".to_owned(), |node| node.to_string()))
    };
    spec.remotes.iter().map(line).collect()
}

#[test]
fn native_routes_go_by_an_address_of_their_family() {
    let spec = plan_routing(&three(), "b", RoutingMode::Native, &[]);
    assert_eq!(
        routes(&spec),
        [
            "10.42.1.0/24 via 192.168.0.1",
            "10.42.2.0/24 unreachable",
            "10.42.3.0/24 via 192.168.0.3",
            "fd00:42:1::/64 via fd00::1",
            "fd00:42:2::/64 unreachable",
        ]
    );
    assert_eq!(spec.problems, ["node c has no address of the family of fd00:42:3::/64"]);
    assert!(spec.remotes.iter().all(|one| !one.tunnel));
    // What cannot be routed is the cluster's all the same, and is not masqueraded.
    assert!(remotes(&spec).contains(&"fd00:42:3::/64 Pods 192.168.0.3".to_owned()));
}

#[test]
fn the_tunnel_carries_both_families_over_the_nodes_first() {
    let spec = plan_routing(&three(), "a", RoutingMode::Vxlan, &[]);
    assert_eq!(spec.problems, [] as [&str; 0]);
    assert_eq!(
        remotes(&spec),
        [
            "10.42.1.0/24 Pods 192.168.0.1",
            "10.42.2.0/24 Pods 192.168.0.2 tunnel",
            "10.42.3.0/24 Pods 192.168.0.3 tunnel",
            "192.168.0.1/32 Node 192.168.0.1",
            "192.168.0.2/32 Node 192.168.0.2 tunnel",
            "192.168.0.3/32 Node 192.168.0.3 tunnel",
            "fd00::1/128 Node fd00::1",
            "fd00::2/128 Node 192.168.0.2 tunnel",
            "fd00:42:1::/64 Pods 192.168.0.1",
            "fd00:42:2::/64 Pods 192.168.0.2 tunnel",
            "fd00:42:3::/64 Pods 192.168.0.3 tunnel",
        ]
    );
    assert_eq!(routes(&spec)[4], "fd00:42:2::/64 tunnel 192.168.0.2");
}

#[test]
fn no_node_takes_a_prefix_that_another_has() {
    let mut nodes = three();
    nodes[0].pod_cidrs[0] = "10.42.2.0/24".parse().unwrap();
    let spec = plan_routing(&nodes, "b", RoutingMode::Native, &[]);
    assert!(routes(&spec).contains(&"10.42.2.0/24 unreachable".to_owned()));
    assert_eq!(spec.problems[0], "nodes b and a both have 10.42.2.0/24");
}

#[test]
fn listed_prefixes_are_known_and_routed_by_nobody() {
    let listed = ["192.0.2.7/24".parse().unwrap(), "10.42.1.0/24".parse().unwrap()];
    let spec = plan_routing(&three(), "b", RoutingMode::Native, &listed);
    assert!(remotes(&spec).contains(&"192.0.2.0/24 Listed -".to_owned()));
    assert!(remotes(&spec).contains(&"10.42.1.0/24 Pods 192.168.0.1".to_owned()), "a node's own stays its own");
    assert_eq!(spec.routes.len(), 5);
}

#[test]
fn a_node_without_an_address_is_left_out() {
    let spec = plan_routing(&[node("x", &[], &["10.42.9.0/24"])], "b", RoutingMode::Vxlan, &[]);
    assert_eq!((spec.routes.len(), spec.remotes.len(), spec.problems.len()), (0, 0, 1));
}
