#![allow(clippy::unwrap_used)]

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret, Service};
use serde_json::{Value, json};
use skep_registry::TypedObject;

use super::*;

const PODS: Counted<'_> = Counted { group: "", plural: "pods" };
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn quota(spec: Value, hard: Value, used: Value) -> ResourceQuota {
    let value = json!({"metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": used}});
    serde_json::from_value(value).unwrap()
}

fn pod(spec: Value) -> TypedObject<Pod> {
    TypedObject(serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap())
}

fn small() -> TypedObject<Pod> {
    let resources = json!({"requests": {"cpu": "500m", "memory": "128Mi"}, "limits": {"cpu": "1"}});
    pod(json!({"containers": [{"name": "c", "resources": resources}]}))
}

fn asked(quota: &ResourceQuota, new: &dyn Object) -> Result<Option<String>, String> {
    let charged = charge(quota, &Write { resource: PODS, new, old: None, now: NOW })?;
    Ok(charged.map(|used| used.to_string()))
}

#[test]
fn a_pod_is_charged_until_there_is_no_room() {
    let hard = json!({"pods": "2", "cpu": "1", "memory": "1Gi", "limits.cpu": "4", "secrets": "9"});
    let none = json!({"pods": "0", "cpu": "0", "memory": "0", "limits.cpu": "0", "secrets": "3"});
    let first = asked(&quota(json!({}), hard.clone(), none), &small()).unwrap().unwrap();
    assert_eq!(first, "cpu=500m,limits.cpu=1,memory=128Mi,pods=1,secrets=3");
    let full = json!({"pods": "2", "cpu": "1", "memory": "256Mi", "limits.cpu": "2", "secrets": "3"});
    assert_eq!(
        asked(&quota(json!({}), hard, full), &small()).unwrap_err(),
        "exceeded quota: q, requested: cpu=500m,pods=1, used: cpu=1,pods=2, limited: cpu=1,pods=2"
    );
}

#[test]
fn what_is_measured_must_be_said_and_known() {
    let hard = json!({"limits.memory": "1Gi", "cpu": "1"});
    let silent = pod(json!({"containers": [{"name": "b"}, {"name": "a", "resources": {"requests": {"cpu": "1"}}}]}));
    assert_eq!(
        asked(&quota(json!({}), hard, json!({})), &silent).unwrap_err(),
        "failed quota: q: must specify cpu for: b; limits.memory for: a,b"
    );
    assert_eq!(
        asked(&quota(json!({}), json!({"pods": "1"}), json!({})), &silent).unwrap_err(),
        "status unknown for quota: q, resources: pods"
    );
    assert_eq!(asked(&quota(json!({}), json!({"secrets": "1"}), json!({})), &silent), Ok(None));
}

#[test]
fn scopes_say_which_pods() {
    let hard = || json!({"pods": "1"});
    let counts =
        |spec: Value, pod: &dyn Object| asked(&quota(spec, hard(), json!({"pods": "0"})), pod).unwrap().is_some();
    let idle = pod(json!({"containers": [{"name": "c"}]}));
    let short = pod(json!({"containers": [{"name": "c"}], "activeDeadlineSeconds": 10, "priorityClassName": "high"}));
    let far = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        [{"topologyKey": "zone", "namespaces": ["other"]}]}});
    let far = pod(json!({"containers": [{"name": "c"}], "affinity": far}));
    let scoped = |scope: &str| json!({"scopes": [scope]});
    for (scope, within, without) in [
        ("BestEffort", &idle, &small()),
        ("NotBestEffort", &small(), &idle),
        ("Terminating", &short, &idle),
        ("NotTerminating", &idle, &short),
        ("PriorityClass", &short, &idle),
        ("CrossNamespacePodAffinity", &far, &idle),
    ] {
        assert!(counts(scoped(scope), within), "{scope}");
        assert!(!counts(scoped(scope), without), "{scope}");
    }
    let named = |operator: &str, values: Value| {
        json!({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": operator, "values": values}]}})
    };
    assert!(counts(named("In", json!(["high", "low"])), &short) && !counts(named("In", json!(["low"])), &short));
    assert!(counts(named("NotIn", json!(["high"])), &idle) && !counts(named("NotIn", json!(["high"])), &short));
    assert!(counts(named("DoesNotExist", Value::Null), &idle) && !counts(named("DoesNotExist", Value::Null), &short));
}

#[test]
fn pods_that_ended_are_only_counted() {
    let mut done = small();
    done.0.status = serde_json::from_value(json!({"phase": "Succeeded"})).unwrap();
    assert_eq!(PODS.usage(&done, NOW).to_string(), "count/pods=1");
    let mut stuck = small();
    stuck.0.metadata =
        serde_json::from_value(json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}))
            .unwrap();
    let at = |text: &str| PODS.usage(&stuck, text.parse().unwrap()).get("pods");
    assert!(at("2026-01-01T00:00:29Z").is_some() && at("2026-01-01T00:00:31Z").is_none());
}

#[test]
fn each_sort_of_object_counts_for_its_names() {
    let text = |resource: Counted<'_>, object: &dyn Object| resource.usage(object, NOW).to_string();
    let of = |group: &'static str, plural: &'static str| Counted { group, plural };
    let service =
        |spec: Value| TypedObject::<Service>(serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap());
    let ports = json!([{"port": 1, "nodePort": 30000}, {"port": 2}]);
    assert_eq!(
        text(of("", "services"), &service(json!({"type": "LoadBalancer", "ports": ports}))),
        "count/services=1,services=1,services.loadbalancers=1,services.nodeports=2"
    );
    let few = service(json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports}));
    assert!(text(of("", "services"), &few).ends_with("services.nodeports=1"));
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {}, "spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1536Mi"}}},
    }))
    .unwrap();
    assert_eq!(
        text(of("", "persistentvolumeclaims"), &TypedObject(claim)),
        "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
         gold.storageclass.storage.k8s.io/requests.storage=1536Mi,persistentvolumeclaims=1,requests.storage=1536Mi"
    );
    let secret = TypedObject(Secret::default());
    assert_eq!(text(of("", "secrets"), &secret), "count/secrets=1,secrets=1");
    assert_eq!(text(of("apps", "deployments"), &secret), "count/deployments.apps=1");
    let gpu = json!({"requests": {"example.com/gpu": "2", "hugepages-2Mi": "4Mi"}});
    assert_eq!(
        text(PODS, &pod(json!({"containers": [{"name": "c", "resources": gpu}]}))),
        "count/pods=1,hugepages-2Mi=4Mi,pods=1,requests.example.com/gpu=2,requests.hugepages-2Mi=4Mi"
    );
    let hard = Amounts::from_api(
        serde_json::from_value::<ResourceQuota>(json!({"metadata": {}, "status": {"hard": {
            "pods": "1", "requests.example.com/gpu": "1", "requests.storage": "1", "cpu": "1", "count/pods": "1",
            "services": "1", "count/widgets.example.com": "1"}}}))
        .unwrap()
        .status
        .unwrap()
        .hard
        .as_ref(),
    );
    assert_eq!(PODS.names(&hard), ["count/pods", "cpu", "pods", "requests.example.com/gpu"]);
    assert_eq!(of("example.com", "widgets").names(&hard), ["count/widgets.example.com"]);
}

#[test]
fn an_update_is_charged_for_what_it_adds() {
    let service = |kind: &str| -> TypedObject<Service> {
        let value = json!({"metadata": {}, "spec": {"type": kind, "ports": [{"port": 1}]}});
        TypedObject(serde_json::from_value(value).unwrap())
    };
    let quota = quota(
        json!({}),
        json!({"services": "1", "services.nodeports": "1"}),
        json!({"services": "1", "services.nodeports": "0"}),
    );
    let (new, old) = (service("NodePort"), service("ClusterIP"));
    let resource = Counted { group: "", plural: "services" };
    let write = |new, old| charge(&quota, &Write { resource, new, old: Some(old), now: NOW }).unwrap();
    assert_eq!(write(&new, &old).unwrap().to_string(), "services=1,services.nodeports=1");
    assert_eq!(write(&old, &new), None);
}
