//! The cases that Kubernetes' own tests have, and those between them.

use serde_json::{Value, json};

use super::Stage;

fn pods(label: &str) -> Value {
    json!({"matchLabels": {"pod": label}})
}

fn namespaces(label: &str) -> Value {
    json!({"matchLabels": {"ns": label}})
}

fn ingress(selector: &Value, rules: &Value) -> Value {
    json!({"podSelector": selector, "policyTypes": ["Ingress"], "ingress": rules})
}

fn egress(selector: &Value, rules: &Value) -> Value {
    json!({"podSelector": selector, "policyTypes": ["Egress"], "egress": rules})
}

#[test]
fn selectors_of_pods_and_namespaces() {
    let mut stage = Stage::new();
    stage.check("no policy");
    let (all, a) = (json!({}), pods("a"));
    let not_x = json!({"matchExpressions": [{"key": "ns", "operator": "NotIn", "values": ["x"]}]});
    let a_or_c = json!({"matchExpressions": [{"key": "pod", "operator": "In", "values": ["a", "c"]}]});
    let cases = [
        ("default deny ingress", ingress(&all, &json!([]))),
        ("default deny both", json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})),
        ("allow from a pod", ingress(&a, &json!([{"from": [{"podSelector": pods("b")}]}]))),
        ("allow from a namespace", ingress(&a, &json!([{"from": [{"namespaceSelector": namespaces("y")}]}]))),
        (
            "allow by expressions",
            ingress(&a, &json!([{"from": [{"namespaceSelector": not_x, "podSelector": a_or_c}]}])),
        ),
        (
            "pod or namespace",
            ingress(&a, &json!([{"from": [{"podSelector": pods("b")}, {"namespaceSelector": namespaces("y")}]}])),
        ),
        (
            "pod and namespace",
            ingress(&a, &json!([{"from": [{"podSelector": pods("b"), "namespaceSelector": namespaces("y")}]}])),
        ),
        ("any pod of the own namespace", ingress(&all, &json!([{"from": [{"podSelector": {}}]}]))),
        ("any pod of any namespace", ingress(&a, &json!([{"from": [{"podSelector": {}, "namespaceSelector": {}}]}]))),
        ("allow all", ingress(&all, &json!([{}]))),
        (
            "from a namespace by its name",
            ingress(
                &a,
                &json!([{"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "z"}}}]}]),
            ),
        ),
        ("deny egress", egress(&all, &json!([]))),
        ("egress to a pod", egress(&a, &json!([{"to": [{"podSelector": pods("b"), "namespaceSelector": {}}]}]))),
        ("egress to a namespace", egress(&a, &json!([{"to": [{"namespaceSelector": namespaces("y")}]}]))),
        (
            "ingress and egress together",
            json!({"podSelector": a, "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [{"podSelector": pods("b")}]}], "egress": [{"to": [{"podSelector": pods("c")}]}]}),
        ),
    ];
    for (what, spec) in cases {
        stage.set_policy("x", "policy", &spec);
        stage.check(what);
    }
    stage.remove_policy("x", "policy");
    stage.check("after its deletion");
}

#[test]
fn ports_by_number_name_and_range() {
    let mut stage = Stage::new();
    let a = pods("a");
    let ports = |list: Value| ingress(&a, &json!([{"ports": list}]));
    let out = |list: Value| egress(&a, &json!([{"ports": list}]));
    let cases = [
        ("one port", ports(json!([{"port": 81}]))),
        ("one port of UDP", ports(json!([{"port": 81, "protocol": "UDP"}]))),
        ("any port of a protocol", ports(json!([{"protocol": "UDP"}]))),
        ("SCTP is neither TCP nor UDP", ports(json!([{"port": 80, "protocol": "SCTP"}]))),
        ("a range", ports(json!([{"port": 79, "endPort": 80}]))),
        ("a named port", ports(json!([{"port": "serve-81-tcp"}]))),
        ("a named port on the wrong protocol", ports(json!([{"port": "serve-81-tcp", "protocol": "UDP"}]))),
        ("a named port that nobody serves", ports(json!([{"port": "serve-82-tcp"}]))),
        ("a named port on the way out", out(json!([{"port": "serve-80-udp", "protocol": "UDP"}]))),
        ("ports on the way out", out(json!([{"port": 80}, {"port": 81, "protocol": "UDP"}]))),
        (
            "peer and port",
            ingress(&a, &json!([{"from": [{"namespaceSelector": namespaces("y")}], "ports": [{"port": 80}]}])),
        ),
    ];
    for (what, spec) in cases {
        stage.set_policy("x", "policy", &spec);
        stage.check(what);
    }
    stage.set_policy("x", "more", &ports(json!([{"port": 80}])));
    stage.check("two policies add up");
    stage.set_policy("x", "most", &ingress(&json!({}), &json!([{}])));
    stage.check("and allow-all beats them");
    stage.set_policy("x", "most", &ingress(&json!({}), &json!([])));
    stage.check("until it becomes deny-all");
}

#[test]
fn address_blocks_with_exceptions() {
    let mut stage = Stage::new();
    let a = pods("a");
    let net = |address: std::net::Ipv4Addr, bits: u8| format!("{address}/{bits}");
    let (y_b, z_c) = (stage.address("y", "b"), stage.address("z", "c"));
    let block = |except: Value| json!({"ipBlock": {"cidr": "10.42.0.0/24", "except": except}});
    let cases = [
        ("out to a block", egress(&a, &json!([{"to": [block(json!([]))]}]))),
        ("but not to one of it", egress(&a, &json!([{"to": [block(json!([net(y_b, 32)]))]}]))),
        (
            "an exception that another block allows",
            egress(
                &a,
                &json!([{"to": [block(json!([net(y_b, 32), net(z_c, 32)])), {"ipBlock": {"cidr": net(y_b, 32)}}]}]),
            ),
        ),
        ("out to the world", egress(&a, &json!([{"to": [{"ipBlock": {"cidr": "192.168.0.0/16"}}]}]))),
        (
            "in from the world",
            ingress(&a, &json!([{"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}])),
        ),
        (
            "a block and a pod in it",
            ingress(
                &a,
                &json!([{"from": [block(json!([net(y_b, 30)])), {"podSelector": pods("b"), "namespaceSelector": {}}]}]),
            ),
        ),
    ];
    for (what, spec) in cases {
        stage.set_policy("x", "policy", &spec);
        stage.check(what);
    }
}

#[test]
fn labels_and_policies_that_change() {
    let mut stage = Stage::new();
    let spec =
        ingress(&pods("a"), &json!([{"from": [{"namespaceSelector": namespaces("y"), "podSelector": pods("b")}]}]));
    stage.set_policy("x", "policy", &spec);
    stage.set_policy("y", "out", &egress(&pods("c"), &json!([{"to": [{"namespaceSelector": namespaces("x")}]}])));
    stage.check("before");
    stage.set_namespace("z", json!({"ns": "y"}));
    stage.check("a namespace that comes to be selected");
    stage.set_namespace("y", json!({"ns": "other"}));
    stage.check("one that no longer is");
    stage.set_pod("z", "a", json!({"pod": "b", "more": "labels"}));
    stage.check("a pod that comes to be selected as a peer");
    stage.set_pod("x", "b", json!({"pod": "a"}));
    stage.check("one as a target");
    stage.set_pod("x", "a", json!({}));
    stage.check("one that no longer is");
    stage.set_policy(
        "x",
        "policy",
        &ingress(&json!({}), &json!([{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}])),
    );
    stage.check("a policy that changes");
    stage.clear();
    stage.check("no policy");
    assert!(stage.model.state().rows.is_empty());
}
