use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use super::*;

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "web"}},
        "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
        "status": {"podIPs": [{"ip": "10.1.2.3"}]}
    }))
    .unwrap()
}

fn node() -> Node {
    Node { ip: "192.0.2.1".parse().unwrap(), allocatable: BTreeMap::new() }
}

fn build_env(container: serde_json::Value, links: &BTreeMap<String, String>) -> Result<Vec<(String, String)>, Error> {
    let mut sources = Sources::default();
    let map = serde_json::from_value(json!({"metadata": {"name": "m"}, "data": {"K": "v"}})).unwrap();
    sources.config_maps.insert("m".to_owned(), Some(map));
    let container: Container = serde_json::from_value(container).unwrap();
    build(&pod(), &container, &sources, links, &node())
}

#[test]
fn later_sources_win_and_keep_their_place() {
    let links = BTreeMap::from([("SVC_PORT".to_owned(), "80".to_owned()), ("K".to_owned(), "link".to_owned())]);
    let container = json!({
        "name": "c",
        "resources": {"limits": {"cpu": "1500m"}},
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}, {"configMapRef": {"name": "m"}}],
        "env": [
            {"name": "K", "value": "own"},
            {"name": "URL", "value": "$(K):$(SVC_PORT):$(NONE)"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "MILLI", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
            {"name": "OPT", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}}
        ]
    });
    let vars: Vec<String> =
        build_env(container, &links).unwrap().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        vars,
        ["P_K=v", "K=own", "URL=own:80:$(NONE)", "IP=10.1.2.3", "APP=web", "CPU=2", "MILLI=1500", "SVC_PORT=80"]
    );
}

#[test]
fn names_what_is_missing() {
    let none = BTreeMap::new();
    for (source, expected) in [
        (json!({"configMapKeyRef": {"name": "x", "key": "k"}}), "configmap \"x\" not found"),
        (json!({"configMapKeyRef": {"name": "m", "key": "k"}}), "couldn't find key k in ConfigMap ns/m"),
        (json!({"secretKeyRef": {"name": "s", "key": "k"}}), "secret \"s\" not found"),
        (json!({"fieldRef": {"fieldPath": "spec.nope"}}), "unsupported fieldPath: spec.nope"),
        (json!({}), "unsupported source of env A"),
    ] {
        let container = json!({"name": "c", "env": [{"name": "A", "valueFrom": source}]});
        assert_eq!(build_env(container, &none).unwrap_err().to_string(), expected);
    }
}

#[test]
fn links_are_named_as_upstream() {
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "my-svc", "namespace": "ns"},
        "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "web-a", "port": 80}, {"port": 53, "protocol": "UDP"}]}
    }))
    .unwrap();
    let links = service_links([&service].into_iter(), "ns", true);
    let lines: Vec<String> = links.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        lines,
        [
            "MY_SVC_PORT=tcp://10.96.0.7:80",
            "MY_SVC_PORT_53_UDP=udp://10.96.0.7:53",
            "MY_SVC_PORT_53_UDP_ADDR=10.96.0.7",
            "MY_SVC_PORT_53_UDP_PORT=53",
            "MY_SVC_PORT_53_UDP_PROTO=udp",
            "MY_SVC_PORT_80_TCP=tcp://10.96.0.7:80",
            "MY_SVC_PORT_80_TCP_ADDR=10.96.0.7",
            "MY_SVC_PORT_80_TCP_PORT=80",
            "MY_SVC_PORT_80_TCP_PROTO=tcp",
            "MY_SVC_SERVICE_HOST=10.96.0.7",
            "MY_SVC_SERVICE_PORT=80",
            "MY_SVC_SERVICE_PORT_WEB_A=80",
        ]
    );
    assert!(service_links([&service].into_iter(), "other", true).is_empty());
    assert!(service_links([&service].into_iter(), "ns", false).is_empty());
}
