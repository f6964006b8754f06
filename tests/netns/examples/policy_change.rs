//! How long a change of policy takes to the kernel, with a cluster of so many pods and policies known: `policy_change [PODS [POLICIES]]`,
//! as JSON lines of `metric`, `unit` and `samples`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::json;
use skep_netmodel::PolicyModel;
use skep_netns::World;

const NAMESPACES: usize = 100;
const APPS: usize = 10;
const CHANGES: usize = 200;

fn main() {
    let mut args = std::env::args().skip(1).map(|text| text.parse::<usize>().expect("a number"));
    let (pods, policies) = (args.next().unwrap_or(10_000), args.next().unwrap_or(1_000));
    let world = World::new(9);
    let mut model = PolicyModel::new([]);
    model.set_complete();
    for number in 0..pods {
        model.upsert_pod(&pod(number));
    }
    for (number, local) in world.pods.iter().enumerate() {
        model.attach(IpAddr::V4(local.address), "ns0", &format!("p{}", number * NAMESPACES));
    }
    for number in 0..policies {
        model.upsert_policy(&policy(number, 80));
    }
    model.take_delta();
    world.datapath().sync_policy(model.state()).expect("the tables fit");
    report(
        "policy_change",
        [pods, policies],
        (0..CHANGES).map(|turn| {
            let object = policy((turn % 10) * NAMESPACES, 81 + (turn / 10 % 2) as u16);
            change(&world, &mut model, |model| model.upsert_policy(&object))
        }),
    );
    report(
        "pod_labels_change",
        [pods, policies],
        (0..CHANGES).map(|turn| {
            let mut object = pod(turn * 7 % pods);
            object.metadata.labels.get_or_insert_default().insert("app".to_owned(), format!("a{}", (turn + 1) % APPS));
            change(&world, &mut model, |model| model.upsert_pod(&object))
        }),
    );
    assert_eq!(world.datapath().inspect().verify_policy(model.state()).expect("read the tables"), []);
}

fn change(world: &World, model: &mut PolicyModel, with: impl FnOnce(&mut PolicyModel)) -> (Duration, usize) {
    let began = Instant::now();
    with(model);
    let delta = model.take_delta();
    let applied = world.datapath().apply_policy(&delta, model.state()).expect("the tables take it");
    (began.elapsed(), applied.ops)
}

fn report(metric: &str, [pods, policies]: [usize; 2], changes: impl Iterator<Item = (Duration, usize)>) {
    let (mut times, ops): (Vec<Duration>, Vec<usize>) = changes.unzip();
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e3;
    let mean = ops.iter().sum::<usize>() as f64 / ops.len() as f64;
    for (what, unit, value) in [("p50", "ms", at(50)), ("p99", "ms", at(99)), ("writes", "1", mean)] {
        let metric = format!("{metric}_{what}");
        println!("{}", json!({"metric": metric, "unit": unit, "pods": pods, "policies": policies, "samples": [value]}));
    }
}

fn pod(number: usize) -> Pod {
    let address = Ipv4Addr::from(0x0a80_0000 + number as u32);
    serde_json::from_value(json!({
        "metadata": {"namespace": format!("ns{}", number % NAMESPACES), "name": format!("p{number}"),
            "labels": {"app": format!("a{}", number / NAMESPACES % APPS), "tier": "t"}},
        "status": {"phase": "Running", "podIPs": [{"ip": address.to_string()}]},
    }))
    .expect("a pod")
}

fn policy(number: usize, port: u16) -> NetworkPolicy {
    let app = |at: usize| json!({"matchLabels": {"app": format!("a{}", at % APPS)}});
    serde_json::from_value(json!({
        "metadata": {"namespace": format!("ns{}", number % NAMESPACES), "name": format!("n{number}")},
        "spec": {"podSelector": app(number / NAMESPACES), "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": app(number / 7), "namespaceSelector": {}}], "ports": [{"port": port}]}],
            "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": [format!("10.{}.0.0/16", number % 200)]}}]}]},
    }))
    .expect("a policy")
}
