//! Two versions of one object.

use serde_json::{Value, json};

use crate::harness::Server;

const MERGE: &str = "application/merge-patch+json";

#[tokio::test]
async fn an_autoscaler_is_one_object_in_two_versions() {
    let server = Server::start().await;
    let (old, new) = ("/apis/autoscaling/v1", "/apis/autoscaling/v2");
    let at = |version: &str, rest: &str| format!("{version}/namespaces/default/horizontalpodautoscalers{rest}");
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let body = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": target, "targetCPUUtilizationPercentage": 50}});
    let (code, created) = server.json("POST", &at(old, ""), &body).await;
    assert_eq!((code, &created["apiVersion"]), (201, &json!("autoscaling/v1")), "{created}");
    assert_eq!(created["metadata"]["generation"], 1);

    let (_, newer) = server.json("GET", &at(new, "/a"), &Value::Null).await;
    let cpu = &newer["spec"]["metrics"][0]["resource"];
    assert_eq!((&newer["apiVersion"], &cpu["target"]["averageUtilization"]), (&json!("autoscaling/v2"), &json!(50)));
    assert_eq!(newer["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    assert_eq!(newer["metadata"]["uid"], created["metadata"]["uid"]);

    let memory = json!({"type": "Resource", "resource": {"name": "memory",
        "target": {"type": "AverageValue", "averageValue": "1Gi"}}});
    let metrics = json!({"spec": {"metrics": [newer["spec"]["metrics"][0], memory]}});
    let (code, patched) = server.patch(&at(new, "/a"), MERGE, &metrics).await;
    assert_eq!((code, &patched["metadata"]["generation"]), (200, &json!(2)), "{patched}");
    // A client of the older version writes what it read, and the metric that it does not know stays.
    let (_, mut older) = server.json("GET", &at(old, "/a"), &Value::Null).await;
    assert!(older["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"].is_string(), "{older}");
    older["spec"]["maxReplicas"] = json!(5);
    let (code, written) = server.json("PUT", &at(old, "/a"), &older).await;
    assert_eq!(
        (code, &written["apiVersion"], &written["spec"]["maxReplicas"]),
        (200, &json!("autoscaling/v1"), &json!(5))
    );
    let (_, newer) = server.json("GET", &at(new, "/a"), &Value::Null).await;
    assert_eq!((&newer["spec"]["metrics"][1], &newer["spec"]["maxReplicas"]), (&memory, &json!(5)));
    assert!(newer["metadata"].get("annotations").is_none(), "{newer}");

    let (_, list) = server.json("GET", &at(old, ""), &Value::Null).await;
    assert_eq!(
        (&list["kind"], &list["items"][0]["apiVersion"]),
        (&json!("HorizontalPodAutoscalerList"), &json!("autoscaling/v1"))
    );
    let bad = json!({"spec": {"minReplicas": 9}});
    let (code, status) = server.patch(&at(old, "/a"), MERGE, &bad).await;
    assert_eq!((code, status["details"]["causes"][0]["field"].as_str()), (422, Some("spec.maxReplicas")), "{status}");
    let (code, _) = server.json("DELETE", &at(old, "/a"), &Value::Null).await;
    let (gone, _) = server.json("GET", &at(new, "/a"), &Value::Null).await;
    assert_eq!((code, gone), (200, 404));
    let (_, group) = server.json("GET", "/apis/autoscaling", &Value::Null).await;
    assert_eq!(group["preferredVersion"]["version"], "v2");
}

/// Events API should ensure that an event can be fetched, patched, deleted, and listed; Events API should delete a collection
/// of events.
#[tokio::test]
async fn events_are_the_same_in_both_groups() {
    let server = Server::start().await;
    let (events, core) = ("/apis/events.k8s.io/v1/namespaces/default/events", "/api/v1/namespaces/default/events");
    let event = |name: &str| {
        json!({"metadata": {"name": name, "labels": {"test": "yes"}}, "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
            "eventTime": "2024-01-01T00:00:00.000000Z", "reason": "Tested", "action": "Do", "type": "Normal", "note": "n",
            "reportingController": "test", "reportingInstance": "i"})
    };
    let (code, created) = server.json("POST", events, &event("a")).await;
    assert_eq!((code, &created["apiVersion"]), (201, &json!("events.k8s.io/v1")), "{created}");
    let (_, other) = server.json("GET", &format!("{core}/a"), &Value::Null).await;
    assert_eq!(
        (&other["message"], &other["involvedObject"]["name"], &other["apiVersion"]),
        (&json!("n"), &json!("p"), &json!("v1"))
    );
    let series = json!({"series": {"count": 2, "lastObservedTime": "2024-01-01T00:00:05.000000Z"}});
    let (code, patched) = server.patch(&format!("{events}/a"), MERGE, &series).await;
    assert_eq!((code, &patched["series"]["count"]), (200, &json!(2)), "{patched}");
    let (code, status) = server.patch(&format!("{events}/a"), MERGE, &json!({"reason": "Other"})).await;
    assert_eq!((code, status["details"]["causes"][0]["field"].as_str()), (422, Some("reason")));

    let (_, list) =
        server.json("GET", "/apis/events.k8s.io/v1/events?fieldSelector=regarding.name=p", &Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let (code, _) =
        server.json("GET", "/apis/events.k8s.io/v1/events?fieldSelector=involvedObject.name=p", &Value::Null).await;
    assert_eq!(code, 400);
    server.json("POST", events, &event("b")).await;
    let (code, _) = server.json("DELETE", &format!("{events}?labelSelector=test=yes"), &Value::Null).await;
    let (_, left) = server.json("GET", core, &Value::Null).await;
    assert_eq!((code, &left["items"]), (200, &json!([])));
}
