use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn node() -> NodeIdentity {
    NodeIdentity { name: "here".to_owned(), zone: Some("a".to_owned()), addresses: own_addresses() }
}

fn own_addresses() -> Vec<IpAddr> {
    ["127.0.0.1", "::1", "192.0.2.1", "fd00::1"].map(|text| text.parse().unwrap()).to_vec()
}

fn service(spec: Value) -> Service {
    serde_json::from_value(json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": spec})).unwrap()
}

fn web() -> Service {
    service(json!({
        "type": "NodePort", "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"],
        "ports": [
            {"name": "http", "port": 80, "nodePort": 30080},
            {"name": "dns", "port": 53, "protocol": "UDP"},
        ],
    }))
}

fn slice(name: &str, service: &str, endpoints: Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    }))
    .unwrap()
}

fn text(outcome: &Outcome) -> Vec<String> {
    assert_eq!(outcome.problems, []);
    outcome.changes.iter().map(ToString::to_string).collect()
}

const DNS_SET: &str = "set shop/web:dns UDP at 10.96.0.10:53 to";

#[test]
fn service_and_slice_meet_in_any_order() {
    let endpoints = json!([{"addresses": ["10.42.0.7"]}, {"addresses": ["10.42.0.5"], "conditions": {"ready": true}}]);
    let http = "set shop/web:http TCP at 10.96.0.10:80 node:30080 to [10.42.0.5:8080] [10.42.0.7:8080]";
    let mut first = Model::new(node());
    assert_eq!(text(&first.upsert_slice(&slice("web-1", "web", endpoints.clone()))), Vec::<String>::new());
    assert_eq!(text(&first.upsert_service(&web())), [DNS_SET, http]);
    let mut second = Model::new(node());
    second.upsert_service(&web());
    assert_eq!(text(&second.upsert_slice(&slice("web-1", "web", endpoints.clone()))), [http]);
    assert_eq!(text(&second.upsert_slice(&slice("web-1", "web", endpoints))), Vec::<String>::new());
    assert!(first.specs().eq(second.specs()));
    assert_eq!(text(&second.remove_service("shop", "web")), ["remove shop/web:dns", "remove shop/web:http"]);
}

#[test]
fn conditions_decide_who_answers() {
    let endpoints = json!([
        {"addresses": ["10.42.0.1"], "conditions": {"ready": false, "serving": true, "terminating": true}},
        {"addresses": ["10.42.0.2"], "conditions": {"ready": false, "serving": false, "terminating": true}},
        {"addresses": ["10.42.0.3"], "conditions": {"ready": false}},
        {"addresses": ["10.42.0.4"], "conditions": {}},
    ]);
    let mut model = Model::new(node());
    model.upsert_service(&web());
    let outcome = model.upsert_slice(&slice("web-1", "web", endpoints));
    assert_eq!(
        text(&outcome),
        ["set shop/web:http TCP at 10.96.0.10:80 node:30080 to [10.42.0.4:8080] [10.42.0.1:8080 terminating]"]
    );
}

#[test]
fn an_endpoint_in_two_slices_counts_once_in_its_best_state() {
    let old = json!([{"addresses": ["10.42.0.1"], "conditions": {"ready": false, "terminating": true}}]);
    let mut model = Model::new(node());
    model.upsert_service(&web());
    model.upsert_slice(&slice("web-1", "web", old));
    let outcome = model.upsert_slice(&slice("web-2", "web", json!([{"addresses": ["10.42.0.1"]}])));
    assert_eq!(text(&outcome), ["set shop/web:http TCP at 10.96.0.10:80 node:30080 to [10.42.0.1:8080]"]);
    let outcome = model.remove_slice("shop", "web-2");
    assert_eq!(text(&outcome), ["set shop/web:http TCP at 10.96.0.10:80 node:30080 to [10.42.0.1:8080 terminating]"]);
}

#[test]
fn a_slice_that_changes_hands_leaves_its_former_service() {
    let mut model = Model::new(node());
    model.upsert_service(&web());
    model.upsert_slice(&slice("web-1", "web", json!([{"addresses": ["10.42.0.1"]}])));
    let outcome = model.upsert_slice(&slice("web-1", "other", json!([{"addresses": ["10.42.0.1"]}])));
    assert_eq!(text(&outcome), ["set shop/web:http TCP at 10.96.0.10:80 node:30080 to"]);
}

#[test]
fn headless_external_and_foreign_services_have_no_tables() {
    let mut foreign = web();
    let labels = [("service.kubernetes.io/service-proxy-name".to_owned(), "other".to_owned())];
    foreign.metadata.labels = Some(labels.into());
    let headless = service(json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 80}]}));
    let external = service(json!({"type": "ExternalName", "externalName": "a.example", "ports": [{"port": 80}]}));
    let mut labelled = web();
    labelled.metadata.labels = Some([("service.kubernetes.io/headless".to_owned(), String::new())].into());
    for object in [foreign, headless, labelled, external] {
        let mut model = Model::new(node());
        assert_eq!(text(&model.upsert_service(&object)), Vec::<String>::new());
        model.upsert_service(&web());
        assert_eq!(text(&model.upsert_service(&object)), ["remove shop/web:dns", "remove shop/web:http"]);
    }
}

#[test]
fn an_unnamed_port_goes_by_the_services_name() {
    let mut model = Model::new(node());
    let object = service(json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80}], "sessionAffinity": "ClientIP"}));
    assert_eq!(text(&model.upsert_service(&object)), ["set shop/web TCP at 10.96.0.9:80 to"]);
    assert_eq!(model.specs().next().unwrap().affinity_timeout_s, 10_800);
}

#[test]
fn unusable_fields_are_named_and_the_rest_is_served() {
    let mut model = Model::new(node());
    let object = service(json!({
        "clusterIPs": ["10.96.0.9", "ten"],
        "ports": [
            {"name": "a", "port": 80, "nodePort": 99999}, {"name": "b", "port": 0}, {"name": "c", "port": 1, "protocol": "SCTP"},
        ],
    }));
    let outcome = model.upsert_service(&object);
    let problems: Vec<String> = outcome.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            r#"Service shop/web: spec.clusterIPs[1]: unusable value "ten""#,
            r#"Service shop/web: spec.ports[0].nodePort: unusable value "99999""#,
            r#"Service shop/web: spec.ports[1].port: unusable value "0""#,
            r#"Service shop/web: spec.ports[2].protocol: unusable value "SCTP""#,
        ]
    );
    assert_eq!(outcome.changes.len(), 1);
    let outcome = model.upsert_slice(&slice("s", "web", json!([{"addresses": ["nowhere"]}, {"addresses": []}])));
    assert_eq!(outcome.problems[0].field, "endpoints[0].addresses[0]");
    let nameless = Service::default();
    assert_eq!(model.upsert_service(&nameless).problems[0].field, "metadata.namespace");
}

#[test]
fn a_fresh_list_removes_what_is_no_longer_there() {
    let mut model = Model::new(node());
    model.upsert_service(&web());
    model.upsert_slice(&slice("web-1", "web", json!([{"addresses": ["10.42.0.1"]}])));
    let outcome = model.replace_slices(&[]);
    assert_eq!(text(&outcome), ["set shop/web:http TCP at 10.96.0.10:80 node:30080 to"]);
    assert_eq!(text(&model.replace_services(&[web()])), Vec::<String>::new());
    assert_eq!(model.replace_services(&[]).changes.len(), 2);
    assert_eq!(model.specs().count(), 0);
}

proptest! {
    /// Whatever was seen on the way, the end depends on the last state of each object alone.
    #[test]
    fn only_the_last_state_matters(steps in prop::collection::vec((0u8..3, 0u8..4, prop::collection::vec(1u8..20, 0..5)), 0..30)) {
        let services = ["a", "b", "c"];
        let mut walked = Model::new(node());
        let mut last: BTreeMap<String, EndpointSlice> = BTreeMap::new();
        for name in services {
            let mut object = web();
            object.metadata.name = Some(name.to_owned());
            walked.upsert_service(&object);
        }
        for (service, number, hosts) in steps {
            let name = format!("slice-{number}");
            if hosts.is_empty() {
                walked.remove_slice("shop", &name);
                last.remove(&name);
                continue;
            }
            let endpoints = hosts.iter().map(|host| json!({"addresses": [format!("10.42.0.{host}")]})).collect();
            let object = slice(&name, services[usize::from(service)], Value::Array(endpoints));
            walked.upsert_slice(&object);
            last.insert(name, object);
        }
        let mut direct = Model::new(node());
        direct.replace_slices(last.values());
        for name in services {
            let mut object = web();
            object.metadata.name = Some(name.to_owned());
            direct.upsert_service(&object);
        }
        prop_assert!(walked.specs().eq(direct.specs()));
    }
}

#[test]
fn traffic_policies_that_differ_make_two_lists() {
    let mut model = Model::new(node());
    model.upsert_slice(&slice(
        "web-1",
        "web",
        json!([{"addresses": ["10.42.0.1"], "nodeName": "here"}, {"addresses": ["10.42.1.1"], "nodeName": "there"}]),
    ));
    let web = |internal: &str, external: &str| {
        service(json!({
            "type": "LoadBalancer", "clusterIP": "10.96.0.10", "externalIPs": ["192.0.2.9"],
            "internalTrafficPolicy": internal, "externalTrafficPolicy": external,
            "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
        }))
    };
    let all = "[10.42.0.1:8080] [10.42.1.1:8080]";
    assert_eq!(
        text(&model.upsert_service(&web("Cluster", "Cluster"))),
        [format!("set shop/web:http TCP at 10.96.0.10:80 192.0.2.9:80 node:30080 to {all}")]
    );
    assert_eq!(
        text(&model.upsert_service(&web("Cluster", "Local"))),
        [
            format!("set shop/web:http TCP at 10.96.0.10:80 192.0.2.9:80 inside node:30080 inside to {all}"),
            "set shop/web:http (external) TCP at 192.0.2.9:80 node:30080 to [10.42.0.1:8080]".to_owned(),
        ]
    );
    assert_eq!(
        text(&model.upsert_service(&web("Local", "Local"))),
        [
            "remove shop/web:http (external)",
            "set shop/web:http TCP at 10.96.0.10:80 192.0.2.9:80 node:30080 to [10.42.0.1:8080]",
        ]
    );
}

#[test]
fn hints_count_where_all_have_them_and_one_is_for_here() {
    let endpoint = |host: u8, zone: &str| json!({"addresses": [format!("10.42.0.{host}")], "hints": {"forZones": [{"name": zone}]}});
    let listed = |endpoints: Value| {
        let mut model = Model::new(node());
        model.upsert_service(&web());
        text(&model.upsert_slice(&slice("web-1", "web", endpoints))).concat().split(" to ").nth(1).unwrap().to_owned()
    };
    assert_eq!(listed(json!([endpoint(1, "a"), endpoint(2, "b")])), "[10.42.0.1:8080]");
    assert_eq!(listed(json!([endpoint(1, "b"), endpoint(2, "b")])), "[10.42.0.1:8080] [10.42.0.2:8080]");
    let bare = json!({"addresses": ["10.42.0.3"]});
    assert_eq!(listed(json!([endpoint(1, "a"), bare])), "[10.42.0.1:8080] [10.42.0.3:8080]");
}

fn balanced(more: &Value) -> Service {
    let mut object = json!({
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.10", "ports": [{"name": "http", "port": 80}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}, {"ip": "192.0.2.8", "ipMode": "Proxy"}]}},
    });
    for (key, value) in more.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

#[test]
fn addresses_of_a_load_balancer_are_served_to_the_ranges_that_it_names() {
    let web = |ranges: Value| balanced(&json!({"loadBalancerSourceRanges": ranges}));
    let mut model = Model::new(node());
    let set = "set shop/web:http TCP at 10.96.0.10:80 192.0.2.7:80 to";
    for open in [json!([]), json!(["0.0.0.0/0"]), json!(["0.0.0.0/0", "::/0"])] {
        model.upsert_service(&web(open));
        let spec = model.specs().next().unwrap();
        assert_eq!((Change::Set(Arc::clone(spec)).to_string().as_str(), spec.sources.len()), (set, 0));
    }
    assert_eq!(text(&model.upsert_service(&web(json!(["192.0.2.9/24", "2001:db8::/32"])))), [set]);
    assert_eq!(model.specs().next().unwrap().sources, ["192.0.2.0/24".parse::<ipnet::IpNet>().unwrap()]);
    let closed = model.upsert_service(&web(json!(["192.0.2.0/24", "home"])));
    assert_eq!(closed.problems[0].field, "spec.loadBalancerSourceRanges[1]");
    assert_eq!(closed.changes[0].to_string(), "set shop/web:http TCP at 10.96.0.10:80 to");
}

#[test]
fn each_family_of_a_service_has_a_list() {
    let mut model = Model::new(node());
    model.upsert_service(&service(json!({
        "type": "NodePort", "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00:96::10"],
        "externalIPs": ["192.0.2.9", "2001:db8::9"], "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
    })));
    model.upsert_slice(&slice("web-4", "web", json!([{"addresses": ["10.42.0.5"]}])));
    let mut six = slice("web-6", "web", json!([{"addresses": ["fd00:42::5"]}]));
    "IPv6".clone_into(&mut six.address_type);
    assert_eq!(
        text(&model.upsert_slice(&six)),
        ["set shop/web:http (IPv6) TCP at [fd00:96::10]:80 [2001:db8::9]:80 node:30080 to [[fd00:42::5]:8080]"]
    );
    let specs: Vec<String> = model.specs().map(|spec| Change::Set(Arc::clone(spec)).to_string()).collect();
    assert_eq!(specs[0], "set shop/web:http TCP at 10.96.0.10:80 192.0.2.9:80 node:30080 to [10.42.0.5:8080]");
}

#[test]
fn a_load_balancer_is_told_of_this_nodes_backends() {
    let mut model = Model::new(node());
    let local = json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 30_999});
    let told = |outcome: &Outcome| {
        outcome.health.iter().map(|(_, check)| check.map(|one| (one.port, one.local))).collect::<Vec<_>>()
    };
    assert_eq!(told(&model.upsert_service(&balanced(&local))), [Some((30_999, 0))]);
    let endpoint = |host: u8, node: &str| json!({"addresses": [format!("10.42.0.{host}")], "nodeName": node});
    let there = model.upsert_slice(&slice("a", "web", json!([endpoint(1, "there")])));
    assert_eq!(told(&there), []);
    let outside = model.specs().find(|spec| spec.name.external).unwrap();
    assert!(outside.elsewhere && outside.backends.is_empty());
    let both = model.upsert_slice(&slice("b", "web", json!([endpoint(2, "here"), endpoint(3, "here")])));
    assert_eq!(told(&both), [Some((30_999, 2))]);
    assert!(model.specs().all(|spec| !spec.elsewhere));
    assert_eq!(told(&model.upsert_service(&balanced(&json!({})))), [None]);
}

fn pod_with(addresses: &[&str], ports: &[(Option<&str>, u16, &str)]) -> HostPorts {
    let port = |&(host_ip, host_port, protocol): &(Option<&str>, u16, &str)| crate::HostPort {
        host_ip: host_ip.map(|text| text.parse().unwrap()),
        host_port,
        container_port: 80,
        protocol: protocol.to_owned(),
    };
    HostPorts {
        pod: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ports: ports.iter().map(port).collect(),
    }
}

#[test]
fn host_ports_stand_beside_services() {
    let mut model = Model::new(node());
    model.upsert_service(&web());
    let one = ObjectName::new("shop", "web");
    let both = pod_with(&["10.42.0.5", "fd00:42::5"], &[(None, 8080, "TCP")]);
    let first = BTreeMap::from([(one.clone(), both)]);
    assert_eq!(
        text(&model.replace_host_ports(&first)),
        [
            "set shop/pod/web:8080-tcp TCP at 127.0.0.1:8080 192.0.2.1:8080 to [10.42.0.5:80]",
            "set shop/pod/web:8080-tcp (IPv6) TCP at [::1]:8080 [fd00::1]:8080 to [[fd00:42::5]:80]",
        ]
    );
    assert_eq!(text(&model.replace_host_ports(&first)), Vec::<String>::new());
    let at = pod_with(&["10.42.0.6"], &[(Some("127.0.0.1"), 53, "udp"), (Some("192.0.2.1"), 53, "udp")]);
    assert_eq!(
        text(&model.replace_host_ports(&BTreeMap::from([(one, at)]))),
        [
            "remove shop/pod/web:8080-tcp",
            "remove shop/pod/web:8080-tcp (IPv6)",
            "set shop/pod/web:53-udp@127.0.0.1 UDP at 127.0.0.1:53 to [10.42.0.6:80]",
            "set shop/pod/web:53-udp@192.0.2.1 UDP at 192.0.2.1:53 to [10.42.0.6:80]",
        ]
    );
    assert_eq!(model.replace_host_ports(&BTreeMap::new()).changes.len(), 2);
    assert_eq!(model.specs().count(), 2, "the Service stays");
}

#[test]
fn host_ports_that_cannot_be_are_named() {
    let mut model = Model::new(node());
    let odd =
        pod_with(&["10.42.0.5"], &[(Some("198.51.100.9"), 80, "tcp"), (None, 81, "sctp"), (Some("::1"), 82, "tcp")]);
    let outcome = model.replace_host_ports(&BTreeMap::from([(ObjectName::new("a", "b"), odd)]));
    assert_eq!(outcome.changes, [], "a pod without IPv6 has nothing to answer at ::1");
    let told: Vec<String> = outcome.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "Pod a/b: host ports[0].hostIP: unusable value \"198.51.100.9\"",
            "Pod a/b: host ports[1].protocol: unusable value \"sctp\"",
        ]
    );
}

#[test]
fn addresses_on_this_node_are_told_once() {
    let local = |outcome: &Outcome| outcome.local.clone();
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let here = |addresses: &[&str]| {
        let endpoints: Vec<Value> =
            addresses.iter().map(|address| json!({"addresses": [address], "nodeName": "here"})).collect();
        json!(endpoints)
    };
    let mut model = Model::new(node());
    let (five, six) = (ip("10.42.0.5"), ip("10.42.0.6"));
    assert_eq!(local(&model.upsert_slice(&slice("web-1", "web", here(&["10.42.0.5"])))), [(five, true)]);
    assert_eq!(local(&model.upsert_slice(&slice("web-2", "web", here(&["10.42.0.5"])))), []);
    let moved = model.upsert_slice(&slice("web-1", "web", here(&["10.42.0.5", "10.42.0.6"])));
    assert_eq!(local(&moved), [(six, true)], "the one that stays is not told again");
    assert_eq!(model.local().collect::<Vec<_>>(), [five, six]);
    assert_eq!(local(&model.remove_slice("shop", "web-1")), [(six, false)], "the other is in the second slice");
    let elsewhere = json!([{"addresses": ["10.42.0.5"], "nodeName": "there"}]);
    assert_eq!(local(&model.upsert_slice(&slice("web-2", "web", elsewhere))), [(five, false)]);
    assert_eq!(model.local().count(), 0);
}
