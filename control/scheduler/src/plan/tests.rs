#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, from_value, json};

use super::*;
use crate::cache::Cache;

fn node(name: &str, cpu: &str, more: Value) -> Value {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"zone": name}},
        "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "3"}},
    });
    if let Some(spec) = more.as_object() {
        node["spec"] = json!(spec);
    }
    node
}

fn pod(name: &str, spec: Value) -> PodInfo {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m", "memory": "64Mi"}}}]},
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    PodInfo::new(Arc::new(from_value(pod).unwrap()))
}

fn cache(nodes: Vec<Value>) -> Cache {
    let mut cache = Cache::default();
    for node in nodes {
        cache.set_node(Arc::new(from_value(node).unwrap()));
    }
    cache
}

fn decide(cache: &Cache, pod: &PodInfo) -> Result<String, String> {
    let placement = plan(&Profile::default(), &cache.snapshot(), pod, Hints::default());
    placement.map(|placement| placement.node).map_err(|refusal| refusal.to_string())
}

#[test]
fn the_message_is_upstreams() {
    let tainted = json!({"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]});
    let cache = cache(vec![
        node("a", "100m", Value::Null),
        node("b", "200m", Value::Null),
        node("c", "8", tainted),
        node("d", "8", json!({"unschedulable": true})),
    ]);
    assert_eq!(
        decide(&cache, &pod("p", json!({}))).unwrap_err(),
        "0/4 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, \
         1 node(s) were unschedulable, 2 Insufficient cpu."
    );
    assert_eq!(decide(&Cache::default(), &pod("p", json!({}))).unwrap_err(), "no nodes available to schedule pods");
}

#[test]
fn the_emptier_node_comes_first() {
    let mut cache = cache(vec![node("a", "4", Value::Null), node("b", "4", Value::Null)]);
    cache.assume(&pod("there", json!({})), "a");
    assert_eq!(decide(&cache, &pod("p", json!({}))).unwrap(), "b");
}

#[test]
fn pods_are_counted_and_ports_are_kept_apart() {
    let mut cache = cache(vec![node("a", "64", Value::Null)]);
    let with_port =
        |name| pod(name, json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080}]}]}));
    cache.assume(&with_port("one"), "a");
    assert_eq!(
        decide(&cache, &with_port("two")).unwrap_err(),
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    );
    cache.assume(&pod("two", json!({})), "a");
    cache.assume(&pod("three", json!({})), "a");
    assert_eq!(decide(&cache, &pod("four", json!({}))).unwrap_err(), "0/1 nodes are available: 1 Too many pods.");
}

#[test]
fn selectors_names_and_affinity() {
    let cache = cache(vec![node("a", "4", Value::Null), node("b", "4", Value::Null)]);
    let required = |requirement: Value| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [requirement],
        }}}})
    };
    for spec in [
        json!({"nodeSelector": {"zone": "b"}}),
        required(json!({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]})),
        required(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]})),
        json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 10, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}},
        ]}}}),
    ] {
        assert_eq!(decide(&cache, &pod("p", spec.clone())).unwrap(), "b", "{spec}");
    }
    assert_eq!(
        decide(&cache, &pod("p", json!({"nodeSelector": {"zone": "x"}}))).unwrap_err(),
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
    );
}

#[test]
fn a_refusal_names_its_plugins() {
    let cache = cache(vec![node("a", "100m", Value::Null), node("b", "4", json!({"unschedulable": true}))]);
    let refusal = plan(&Profile::default(), &cache.snapshot(), &pod("p", json!({})), Hints::default()).unwrap_err();
    assert_eq!(refusal.plugins, BTreeSet::from(["NodeResourcesFit", "NodeUnschedulable"]));
}

proptest! {
    #[test]
    fn no_node_is_ever_overcommitted(sizes in prop::collection::vec(1..3000i64, 1..40), seed in any::<u64>()) {
        let mut cache = cache((0..4).map(|n| node(&format!("n{n}"), "4", Value::Null)).collect());
        for (index, millis) in sizes.into_iter().enumerate() {
            let spec = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": format!("{millis}m")}}}]});
            let pod = pod(&format!("p{index}"), spec);
            let hints = Hints { start: index, seed };
            if let Ok(placement) = plan(&Profile::default(), &cache.snapshot(), &pod, hints) {
                cache.assume(&pod, &placement.node);
            }
        }
        for info in cache.snapshot().nodes() {
            prop_assert!(info.requested.get("cpu") <= 4000);
            prop_assert!(info.pod_count() <= 3);
        }
    }
}
