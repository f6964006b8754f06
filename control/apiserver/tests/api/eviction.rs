//! Evictions and the budgets that they honour.

use serde_json::{Value, json};

use crate::harness::Server;

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
const MERGE: &str = "application/merge-patch+json";

async fn ready_pod(server: &Server, name: &str) {
    let pod = json!({"metadata": {"name": name, "labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let (code, created) = server.json("POST", PODS, &pod).await;
    assert_eq!(code, 201, "{created}");
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    let (code, _) = server.patch(&format!("{PODS}/{name}/status"), MERGE, &status).await;
    assert_eq!(code, 200);
}

async fn evict(server: &Server, name: &str, query: &str) -> (u16, Value) {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    server.json("POST", &format!("{PODS}/{name}/eviction{query}"), &eviction).await
}

async fn allow(server: &Server, budget: &str, disruptions: i32) {
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": disruptions, "desiredHealthy": 2, "currentHealthy": 2}});
    let (code, patched) = server.patch(&format!("{BUDGETS}/{budget}/status"), MERGE, &status).await;
    assert_eq!(code, 200, "{patched}");
}

/// DisruptionController should block an eviction until the PDB is updated to allow it.
#[tokio::test]
async fn a_budget_is_honoured() {
    let server = Server::start().await;
    for name in ["a", "b"] {
        ready_pod(&server, name).await;
    }
    let budget =
        json!({"metadata": {"name": "x"}, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "a"}}}});
    server.json("POST", BUDGETS, &budget).await;
    let (code, status) = evict(&server, "a", "").await;
    assert_eq!((code, &status["details"]["retryAfterSeconds"]), (429, &json!(10)), "{status}");
    assert_eq!(
        status["details"]["causes"][0],
        json!({"reason": "DisruptionBudget", "message": "The disruption budget x is still being processed by the server."})
    );
    allow(&server, "x", 0).await;
    let (code, status) = evict(&server, "a", "").await;
    assert_eq!((code, status["reason"].as_str()), (429, Some("TooManyRequests")));
    assert_eq!(status["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(
        status["details"]["causes"][0]["message"],
        "The disruption budget x needs 2 healthy pods and has 2 currently"
    );

    allow(&server, "x", 1).await;
    let (code, _) = evict(&server, "a", "?dryRun=All").await;
    assert_eq!(code, 201);
    let (code, answer) = evict(&server, "a", "").await;
    assert_eq!((code, answer["status"].as_str()), (201, Some("Success")), "{answer}");
    let (code, _) = server.json("GET", &format!("{PODS}/a"), &Value::Null).await;
    assert_eq!(code, 404);
    let (_, held) = server.json("GET", &format!("{BUDGETS}/x"), &Value::Null).await;
    assert_eq!(held["status"]["disruptionsAllowed"], 0);
    assert!(held["status"]["disruptedPods"]["a"].is_string(), "{held}");
    let (code, _) = evict(&server, "b", "").await;
    assert_eq!(code, 429);

    // One that is not ready takes nothing from a budget that is met; two budgets are too many.
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    server.patch(&format!("{PODS}/b/status"), MERGE, &status).await;
    let mut second = budget.clone();
    second["metadata"]["name"] = json!("y");
    server.json("POST", BUDGETS, &second).await;
    let (code, status) = evict(&server, "b", "").await;
    assert_eq!(code, 500, "{status}");
    server.json("DELETE", &format!("{BUDGETS}/y"), &Value::Null).await;
    let (code, answer) = evict(&server, "b", "").await;
    assert_eq!(code, 201, "{answer}");
    let (code, _) = evict(&server, "none", "").await;
    assert_eq!(code, 404);
}
