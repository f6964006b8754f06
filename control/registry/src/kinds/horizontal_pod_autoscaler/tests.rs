use serde_json::{Value, json};

use super::*;
use crate::kind::View as _;

fn autoscaler(change: impl FnOnce(&mut Value)) -> HorizontalPodAutoscaler {
    let mut value = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    change(&mut value);
    let mut object = crate::decode::decode(value).unwrap().0;
    HorizontalPodAutoscalers::default(&mut object);
    object
}

fn faults(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let errors = HorizontalPodAutoscalers::validate(&autoscaler(change));
    errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

#[test]
fn defaults_are_upstreams() {
    let spec = serde_json::to_value(autoscaler(|v| v["spec"]["behavior"] = json!({})).spec).unwrap();
    let target = json!({"type": "Utilization", "averageUtilization": 80});
    assert_eq!(spec["metrics"], json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
    assert_eq!(spec["minReplicas"], 1);
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    assert_eq!(spec["behavior"]["scaleDown"], json!({"selectPolicy": "Max", "policies": [percent]}));
    assert_eq!(spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"], 0);
    assert_eq!(faults(|_| {}), Vec::<String>::new());
}

#[test]
fn faults_read_as_upstream() {
    assert_eq!(
        faults(|v| v["spec"]["minReplicas"] = json!(4)),
        ["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"]
    );
    let target = json!({"type": "Utilization", "averageUtilization": 0});
    assert_eq!(
        faults(|v| {
            v["spec"]["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}},
                {"type": "Pods", "resource": {"name": "cpu", "target": {"type": "x", "averageUtilization": 1}}}, {"type": ""}]);
        }),
        [
            "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
            "spec.metrics[1].pods: Required value: must populate information for the given metric source",
            "spec.metrics[1].resource: Forbidden: must populate the given metric source only",
            "spec.metrics[1].resource.target.type: Invalid value: \"x\": must be either Utilization, Value, or AverageValue",
            "spec.metrics[2].type: Required value: must specify a metric source type",
        ]
    );
    assert_eq!(
        faults(|v| v["spec"]["behavior"] = json!({"scaleUp": {"policies": [], "stabilizationWindowSeconds": 4000}})),
        [
            "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600",
            "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy",
        ]
    );
}

/// All sorts of metrics, as the newer version has them.
fn rich() -> HorizontalPodAutoscaler {
    let named = |name: &str| json!({"name": name, "selector": {"matchLabels": {"a": "b"}}});
    let object = json!({"kind": "Ingress", "name": "i"});
    let mut all = autoscaler(|v| {
        v["metadata"]["annotations"] = json!({"kept": "yes"});
        v["spec"]["behavior"] = json!({"scaleUp": {"selectPolicy": "Min"}});
        v["spec"]["metrics"] = json!([
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
            {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
            {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
                "target": {"type": "Utilization", "averageUtilization": 5}}},
            {"type": "Pods", "pods": {"metric": named("p"), "target": {"type": "AverageValue", "averageValue": "2"}}},
            {"type": "Object", "object": {"metric": named("o"), "describedObject": object, "target": {"type": "Value", "value": "3"}}},
            {"type": "External", "external": {"metric": named("e"), "target": {"type": "AverageValue", "averageValue": "4"}}},
        ]);
        v["status"] = json!({"currentReplicas": 1, "desiredReplicas": 2,
        "conditions": [{"type": "AbleToScale", "status": "True"}],
        "currentMetrics": [
            {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 7}}},
            {"type": "Object", "object": {"metric": named("o"), "describedObject": object, "current": {"value": "1"}}},
        ]});
    });
    all.metadata.generation = Some(1);
    all
}

#[test]
fn the_older_version_loses_nothing() {
    for stored in [autoscaler(|_| {}), rich()] {
        let view = HorizontalPodAutoscalersV1::from_stored(stored.clone());
        let back = HorizontalPodAutoscalersV1::to_stored(view);
        assert_eq!(back.spec, stored.spec);
        assert_eq!(back.metadata, stored.metadata);
        if stored.status.is_some() {
            assert_eq!(back.status, stored.status);
        }
    }
}

#[test]
fn the_older_version_has_upstreams_form() {
    let view = HorizontalPodAutoscalersV1::from_stored(rich());
    assert_eq!(view.spec.target_cpu_utilization_percentage, Some(50));
    assert_eq!(view.status.unwrap().current_cpu_utilization_percentage, Some(7));
    let annotations = view.metadata.annotations.unwrap();
    let metrics: Value = serde_json::from_str(&annotations["autoscaling.alpha.kubernetes.io/metrics"]).unwrap();
    let selector = json!({"matchLabels": {"a": "b"}});
    assert_eq!(metrics[0], json!({"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "1Gi"}}));
    assert_eq!(
        metrics[1],
        json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "targetAverageUtilization": 5}})
    );
    assert_eq!(
        metrics[2],
        json!({"type": "Pods", "pods": {"metricName": "p", "selector": selector, "targetAverageValue": "2"}})
    );
    assert_eq!(
        metrics[3],
        json!({"type": "Object", "object": {"target": {"kind": "Ingress", "name": "i"}, "metricName": "o", "targetValue": "3",
            "selector": selector}})
    );
    assert_eq!(
        metrics[4],
        json!({"type": "External", "external": {"metricName": "e", "metricSelector": selector, "targetAverageValue": "4"}})
    );
    assert_eq!(annotations["kept"], "yes");
}

#[test]
fn the_row_is_kubectls() {
    let row = HorizontalPodAutoscalers::row(&rich(), Timestamp::UNIX_EPOCH);
    let expected =
        json!(["h", "Deployment/d", "cpu: 7%/50%, memory: <unknown>/1Gi + 4 more...", "1", 3, 1, "<unknown>"]);
    assert_eq!(Value::from(row), expected);
    let view = HorizontalPodAutoscalersV1::from_stored(rich());
    assert_eq!(Value::from(HorizontalPodAutoscalersV1::row(&view, Timestamp::UNIX_EPOCH)), expected);
}
