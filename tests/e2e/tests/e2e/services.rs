//! Services as Kubernetes' own conformance tests ask for them, on two nodes.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use skep_e2e::{TestFleet, WITHIN};
use skep_testkit::fleet::Options;
use skep_testkit::wait_until;

use crate::fleet::{echo, wait_ready};

const NODES: [&str; 2] = ["e2e-svc-1", "e2e-svc-2"];
/// How often somebody is asked who should always send the same answer.
const TIMES: usize = 15;

/// A shell's script in a pod's network namespace, or in its node's: what it prints, and nothing where it fails.
fn script(test: &TestFleet, node: &str, pod: Option<&str>, script: &str) -> Result<String> {
    let mut command = match pod {
        None => test.fleet.on_node(node, "bash")?,
        Some(pod) => {
            let leases = fs::read(test.fleet.node_dir(node).join("cni/leases.json"))?;
            let leases: serde_json::Value = serde_json::from_slice(&leases)?;
            let lease = leases["leases"].as_array().into_iter().flatten().find(|lease| lease["podName"] == pod);
            let netns =
                lease.and_then(|lease| lease["netns"].as_str()).with_context(|| format!("no lease of {pod}"))?;
            let mut command = test.fleet.on_node(node, "nsenter")?;
            command.args([&format!("--net={netns}"), "bash"]);
            command
        }
    };
    let output = command.args(["-c", script]).output()?;
    Ok(if output.status.success() { String::from_utf8(output.stdout)?.trim().to_owned() } else { String::new() })
}

fn over_http(host: &str, port: u16) -> String {
    format!("timeout 3 busybox wget -q -O - http://{host}:{port}/name")
}

/// The name in the answer to a datagram.
fn over_udp(host: &str, port: u16) -> String {
    format!(
        "exec 3<>/dev/udp/{host}/{port} && echo -n who >&3 && timeout 3 dd bs=1500 count=1 <&3 2>/dev/null \
         | busybox sed 's/.*\"pod\":\"\\([^\"]*\\)\".*/\\1/'"
    )
}

fn wait_for_answer(test: &TestFleet, from: (&str, Option<&str>), ask: &str, name: &str) -> Result<()> {
    let mut last = String::new();
    let waited = wait_until(&format!("{name} to answer {ask}"), WITHIN, || {
        last = script(test, from.0, from.1, ask)?;
        Ok(last == name)
    });
    waited.with_context(|| format!("the last answer was {last:?}"))
}

fn get(test: &TestFleet, what: &str, path: &str) -> Result<String> {
    let words: Vec<&str> = what.split(' ').collect();
    test.fleet.kubectl(&[&["get"], &words[..], &["-o", &format!("jsonpath={path}")]].concat())
}

fn service(name: &str, spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, labels: {{of: test}}}}\nspec: {spec}\n---\n")
}

/// A pod of the Service `app`, with its container's ports.
fn pod(name: &str, node: &str, app: &str, ports: &str) -> String {
    echo(name, node, "")
        .replace("labels: {app: echo}", &format!("labels: {{app: {app}}}"))
        .replace("args: [serve]", &format!("args: [serve], ports: [{ports}]"))
}

/// `Services should serve a basic endpoint from pods`, `Services should serve multiport endpoints from pods`,
/// `Services should serve endpoints on same port and different protocols`,
/// `Services should have session affinity work for service with type clusterIP [LinuxOnly]`,
/// `Services should have session affinity work for NodePort service [LinuxOnly]`,
/// `Services should be able to switch session affinity for service with type clusterIP [LinuxOnly]`,
/// `Services should be able to switch session affinity for NodePort service [LinuxOnly]`,
/// `Services should provide secure master service`, `Services should find a service from listing all namespaces`,
/// `Services should delete a collection of services`,
/// `EndpointSlice should have Endpoints and EndpointSlices pointing to API Server`,
/// `EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service`,
/// `EndpointSlice should create and delete Endpoints and EndpointSlices for a Service with a selector specified`,
/// `EndpointSlice should support a Service with multiple ports specified in multiple EndpointSlices`,
/// `Networking Granular Checks: Pods should function for intra-pod communication: http [NodeConformance]`,
/// `Networking Granular Checks: Pods should function for intra-pod communication: udp [NodeConformance]`,
/// `Networking Granular Checks: Pods should function for node-pod communication: http [LinuxOnly] [NodeConformance]`,
/// `Networking Granular Checks: Pods should function for node-pod communication: udp [LinuxOnly] [NodeConformance]`.
#[test]
fn services_do_what_conformance_asks() -> Result<()> {
    let test = TestFleet::start("e2e-svc", Options::default())?;
    pods_reach_pods_and_nodes_reach_pods(&test)?;
    endpoints_follow_the_pods(&test)?;
    one_port_serves_two_protocols(&test)?;
    clients_stay_with_their_pod(&test)?;
    slices_by_hand_are_served(&test)?;
    the_api_server_is_a_service(&test)
}

fn pods_reach_pods_and_nodes_reach_pods(test: &TestFleet) -> Result<()> {
    let pods = [pod("net-one", NODES[0], "net", ""), pod("net-two", NODES[1], "net", "")];
    test.apply(&pods.concat())?;
    wait_ready(test, &["net-one", "net-two"])?;
    for name in ["net-one", "net-two"] {
        let address = get(test, &format!("pod {name}"), "{.status.podIP}")?;
        for from in [(NODES[0], None), (NODES[1], None), (NODES[0], Some("net-one")), (NODES[1], Some("net-two"))] {
            wait_for_answer(test, from, &over_http(&address, 8080), name)?;
            wait_for_answer(test, from, &over_udp(&address, 8080), name)?;
        }
    }
    Ok(())
}

/// Pods that come and go, at two ports that are named by their containers.
fn endpoints_follow_the_pods(test: &TestFleet) -> Result<()> {
    test.apply(&service(
        "multi",
        "{selector: {app: multi}, ports: [{name: a, port: 80, targetPort: a}, {name: b, port: 81, targetPort: b}]}",
    ))?;
    let held = |test: &TestFleet| -> Result<BTreeSet<String>> {
        let path = "{range .subsets[*]}{range .addresses[*]}{.targetRef.name}{end}:{range .ports[*]}{.name}={.port} {end}{end}";
        let text = get(test, "endpoints multi", path)?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    };
    let wait_for = |expected: &[&str]| {
        let expected: BTreeSet<String> = expected.iter().map(|&one| one.to_owned()).collect();
        let mut last = BTreeSet::new();
        let waited = wait_until("the Endpoints of the Service", WITHIN, || {
            last = held(test)?;
            Ok(last == expected)
        });
        waited.with_context(|| format!("{expected:?} expected, held {last:?}"))
    };
    wait_for(&[])?;
    let of = |name: &str, port: &str| pod(name, NODES[0], "multi", &format!("{{name: {port}, containerPort: 8080}}"));
    test.apply(&of("multi-a", "a"))?;
    wait_for(&["multi-a:a=8080"])?;
    test.apply(&of("multi-b", "b"))?;
    wait_for(&["multi-a:a=8080", "multi-b:b=8080"])?;
    let slices = "endpointslices -l kubernetes.io/service-name=multi";
    let targets = |test: &TestFleet| get(test, slices, "{.items[*].endpoints[*].targetRef.name}");
    wait_until("the slices of the Service", WITHIN, || {
        let names = targets(test)?;
        Ok(names.contains("multi-a") && names.contains("multi-b"))
    })?;
    let vip = get(test, "service multi", "{.spec.clusterIP}")?;
    for (port, name) in [(80, "multi-a"), (81, "multi-b")] {
        wait_for_answer(test, (NODES[1], None), &over_http(&vip, port), name)?;
    }
    test.fleet.kubectl(&["delete", "pod", "multi-a", "--now"])?;
    wait_for(&["multi-b:b=8080"])?;
    test.fleet.kubectl(&["delete", "pod", "multi-b", "--now"])?;
    wait_for(&[])?;
    test.fleet.kubectl(&["delete", "service", "multi"])?;
    wait_until("the end of Endpoints and slices", WITHIN, || {
        let gone = get(test, "endpoints --field-selector metadata.name=multi", "{.items}")? == "[]";
        Ok(gone && get(test, slices, "{.items}")? == "[]")
    })
}

fn one_port_serves_two_protocols(test: &TestFleet) -> Result<()> {
    test.apply(&pod("both", NODES[1], "both", ""))?;
    wait_ready(test, &["both"])?;
    let ports = |protocols: &[&str]| {
        let port = |protocol: &&str| json!({"name": protocol.to_lowercase(), "port": 80, "targetPort": 8080, "protocol": protocol});
        json!(protocols.iter().map(port).collect::<Vec<_>>())
    };
    let both = json!({"selector": {"app": "both"}, "ports": ports(&["TCP", "UDP"])});
    test.apply(&service("both", &both.to_string()))?;
    // A list as a whole: kubectl's apply tells the ports of a Service apart by their numbers alone.
    let keep = |protocol: &str| {
        let patch = json!({"spec": {"ports": ports(&[protocol])}}).to_string();
        test.fleet.kubectl(&["patch", "service", "both", "--type=merge", "-p", &patch]).map(drop)
    };
    let vip = get(test, "service both", "{.spec.clusterIP}")?;
    let (from, tcp, udp) = ((NODES[0], None), over_http(&vip, 80), over_udp(&vip, 80));
    wait_for_answer(test, from, &tcp, "both")?;
    wait_for_answer(test, from, &udp, "both")?;
    keep("UDP")?;
    wait_for_answer(test, from, &tcp, "")?;
    wait_for_answer(test, from, &udp, "both")?;
    keep("TCP")?;
    wait_for_answer(test, from, &tcp, "both")?;
    wait_for_answer(test, from, &udp, "")
}

/// By the address of the cluster and by a node's port, from a pod; the kind of affinity changes while it goes on.
fn clients_stay_with_their_pod(test: &TestFleet) -> Result<()> {
    let pods = [
        pod("sticky-one", NODES[0], "sticky", ""),
        pod("sticky-two", NODES[1], "sticky", ""),
        pod("sticky-three", NODES[1], "sticky", ""),
    ];
    let spec =
        "{type: NodePort, selector: {app: sticky}, sessionAffinity: ClientIP, ports: [{port: 80, targetPort: 8080}]}";
    test.apply(&[pods.concat(), service("sticky", spec)].concat())?;
    wait_ready(test, &["sticky-one", "sticky-two", "sticky-three"])?;
    let slices = "endpointslices -l kubernetes.io/service-name=sticky";
    wait_until("three endpoints", WITHIN, || {
        Ok(get(test, slices, "{.items[*].endpoints[*].addresses[0]}")?.split_whitespace().count() == 3)
    })?;
    let vip = get(test, "service sticky", "{.spec.clusterIP}")?;
    let port: u16 = get(test, "service sticky", "{.spec.ports[0].nodePort}")?.parse()?;
    let own = test.fleet.address(NODES[0])?.to_string();
    let asked = |ask: &str| -> Result<BTreeSet<String>> {
        let answers =
            script(test, NODES[0], Some("net-one"), &format!("for i in {{1..{TIMES}}}; do {ask} && echo; done"))?;
        Ok(answers.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
    };
    for ask in [over_http(&vip, 80), over_http(&own, port)] {
        for (affinity, sticks) in [("ClientIP", true), ("None", false), ("ClientIP", true)] {
            let patch = json!({"spec": {"sessionAffinity": affinity}}).to_string();
            test.fleet.kubectl(&["patch", "service", "sticky", "-p", &patch])?;
            let mut last = BTreeSet::new();
            wait_until(&format!("affinity {affinity}"), WITHIN, || {
                last = asked(&ask)?;
                Ok(if sticks { last.len() == 1 } else { last.len() > 1 })
            })
            .with_context(|| format!("the last answers were {last:?}"))?;
        }
    }
    Ok(())
}

/// Two ports in two slices that nobody but their maker looks after.
fn slices_by_hand_are_served(test: &TestFleet) -> Result<()> {
    test.apply(&service("hand", "{ports: [{name: a, port: 80, targetPort: 1}, {name: b, port: 81, targetPort: 2}]}"))?;
    for (port, name) in [("a", "net-one"), ("b", "net-two")] {
        let address = get(test, &format!("pod {name}"), "{.status.podIP}")?;
        test.apply(&format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: hand-{port}, labels: {{kubernetes.io/service-name: hand}}}}\n\
             addressType: IPv4\nports: [{{name: {port}, port: 8080}}]\nendpoints: [{{addresses: [{address}]}}]\n"
        ))?;
    }
    let vip = get(test, "service hand", "{.spec.clusterIP}")?;
    for (port, name) in [(80, "net-one"), (81, "net-two")] {
        wait_for_answer(test, (NODES[0], Some("net-one")), &over_http(&vip, port), name)?;
    }
    Ok(())
}

fn the_api_server_is_a_service(test: &TestFleet) -> Result<()> {
    let all = test.fleet.kubectl(&["get", "services", "--all-namespaces", "-o", "name"])?;
    assert!(all.lines().any(|line| line == "service/kubernetes"), "{all}");
    let own = get(test, "service kubernetes", "{.spec.clusterIP} {.spec.ports[0].name}")?;
    let (vip, port) = own.split_once(' ').context("an address and a port's name")?;
    assert_eq!(port, "https");
    let endpoints = get(test, "endpoints kubernetes", "{.subsets[*].addresses[*].ip}:{.subsets[*].ports[*].port}")?;
    let slice = "endpointslices -l kubernetes.io/service-name=kubernetes";
    let slices = get(test, slice, "{.items[*].endpoints[*].addresses[*]}:{.items[*].ports[*].port}")?;
    assert_eq!(endpoints, slices);
    ensure!(endpoints.ends_with(":6443"), "{endpoints}");
    wait_for_answer(test, (NODES[0], Some("net-one")), &format!("exec 3<>/dev/tcp/{vip}/443 && echo open"), "open")?;

    test.fleet.kubectl(&["label", "service", "hand", "of=hand", "--overwrite"])?;
    test.fleet.kubectl(&["delete", "--raw", "/api/v1/namespaces/default/services?labelSelector=of%3Dtest"])?;
    wait_until("only those that do not match", WITHIN, || {
        Ok(get(test, "services", "{.items[*].metadata.name}")? == "hand kubernetes")
    })
}
