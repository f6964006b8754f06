//! Every kind, from its creation to its end.

use serde_json::{Value, json};

use crate::harness::Server;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A pod's template that runs for ever, or until its end.
fn template(restart: &str) -> Value {
    json!({"metadata": {"labels": {"app": "a"}},
        "spec": {"restartPolicy": restart, "containers": [{"name": "c", "image": "i"}]}})
}

/// The path of a collection, the kind, and the least that an object must have.
pub(crate) fn samples() -> Vec<(&'static str, &'static str, Value)> {
    let selector = json!({"matchLabels": {"app": "a"}});
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]});
    let hook = json!({"name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://example.com/hook"}, "rules": [rule]});
    let always = template("Always");
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    vec![
        (
            "/api/v1/namespaces/default/replicationcontrollers",
            "ReplicationController",
            json!({"spec": {"template": always}}),
        ),
        ("/api/v1/namespaces/default/podtemplates", "PodTemplate", json!({"template": always})),
        ("/api/v1/namespaces/default/persistentvolumeclaims", "PersistentVolumeClaim", json!({"spec": claim})),
        (
            "/api/v1/persistentvolumes",
            "PersistentVolume",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/a"}}}),
        ),
        (
            "/apis/apps/v1/namespaces/default/daemonsets",
            "DaemonSet",
            json!({"spec": {"selector": selector, "template": always}}),
        ),
        (
            "/apis/apps/v1/namespaces/default/statefulsets",
            "StatefulSet",
            json!({"spec": {"selector": selector, "template": always, "serviceName": "s"}}),
        ),
        (
            "/apis/apps/v1/namespaces/default/controllerrevisions",
            "ControllerRevision",
            json!({"data": {"a": 1}, "revision": 1}),
        ),
        ("/apis/batch/v1/namespaces/default/jobs", "Job", json!({"spec": {"template": template("Never")}})),
        (
            "/apis/batch/v1/namespaces/default/cronjobs",
            "CronJob",
            json!({"spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": template("Never")}}}}),
        ),
        (
            "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
            "HorizontalPodAutoscaler",
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": target}}),
        ),
        (
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            "PodDisruptionBudget",
            json!({"spec": {"minAvailable": 1, "selector": selector}}),
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
            "Ingress",
            json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}),
        ),
        ("/apis/networking.k8s.io/v1/ingressclasses", "IngressClass", json!({"spec": {"controller": "example.com/c"}})),
        ("/apis/networking.k8s.io/v1/servicecidrs", "ServiceCIDR", json!({"spec": {"cidrs": ["10.100.0.0/24"]}})),
        ("/apis/node.k8s.io/v1/runtimeclasses", "RuntimeClass", json!({"handler": "runc"})),
        ("/apis/storage.k8s.io/v1/csidrivers", "CSIDriver", json!({"spec": {}})),
        ("/apis/storage.k8s.io/v1/csinodes", "CSINode", json!({"spec": {"drivers": []}})),
        (
            "/apis/storage.k8s.io/v1/namespaces/default/csistoragecapacities",
            "CSIStorageCapacity",
            json!({"storageClassName": "s", "capacity": "1Gi"}),
        ),
        (
            "/apis/storage.k8s.io/v1/volumeattachments",
            "VolumeAttachment",
            json!({"spec": {"attacher": "a.b", "nodeName": "n", "source": {"persistentVolumeName": "v"}}}),
        ),
        (
            "/apis/storage.k8s.io/v1/volumeattributesclasses",
            "VolumeAttributesClass",
            json!({"driverName": "a.b", "parameters": {"iops": "1"}}),
        ),
        (
            "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
            json!({"webhooks": [hook]}),
        ),
        (
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
            "MutatingWebhookConfiguration",
            json!({"webhooks": [hook]}),
        ),
        (
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
            "ValidatingAdmissionPolicy",
            json!({"spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "true"}]}}),
        ),
        (
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
            "ValidatingAdmissionPolicyBinding",
            json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}}),
        ),
    ]
}

pub(crate) fn group_version(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    if parts[1] == "api" { parts[2].to_owned() } else { format!("{}/{}", parts[2], parts[3]) }
}

/// Of conformance, the operations of: Ingress API, IngressClass API, CronJob API, ControllerRevision, PodTemplates,
/// RuntimeClass API, DisruptionController create, ReplicationController lifecycle.
#[tokio::test]
async fn each_is_created_read_printed_patched_and_deleted() {
    let server = Server::start().await;
    for (path, kind, mut body) in samples() {
        body["apiVersion"] = group_version(path).into();
        body["kind"] = kind.into();
        body["metadata"] = json!({"name": "a", "labels": {"test": "yes"}});
        let (code, created) = server.json("POST", path, &body).await;
        assert_eq!(code, 201, "{kind}: {created}");
        let one = format!("{path}/a");
        let (_, read) = server.json("GET", &one, &Value::Null).await;
        assert_eq!(read, created, "{kind}");

        // What is read can be written back, and changes nothing.
        let (code, again) = server.json("PUT", &one, &created).await;
        assert_eq!((code, &again), (200, &created), "{kind}");
        let label = json!({"metadata": {"labels": {"more": "yes"}}});
        let (code, patched) = server.patch(&one, MERGE, &label).await;
        assert_eq!((code, &patched["metadata"]["labels"]["more"]), (200, &json!("yes")), "{kind}: {patched}");
        assert_eq!(patched["metadata"]["generation"], created["metadata"]["generation"], "{kind}");

        let (code, text) = server.raw("GET", path, &[("accept", TABLE)], "").await;
        let table: Value = serde_json::from_str(&text).unwrap();
        let columns = table["columnDefinitions"].as_array().unwrap().len();
        assert_eq!((code, table["rows"][0]["cells"].as_array().unwrap().len()), (200, columns), "{kind}");
        assert_eq!(table["rows"][0]["cells"][0], "a", "{kind}");

        // What is protected while it is used has nobody here who ends that.
        server.patch(&one, MERGE, &json!({"metadata": {"finalizers": null}})).await;
        let (code, gone) = server.json("DELETE", &format!("{path}?labelSelector=test=yes"), &Value::Null).await;
        assert_eq!(code, 200, "{kind}: {gone}");
        let (code, _) = server.json("GET", &one, &Value::Null).await;
        assert_eq!(code, 404, "{kind}");
    }
}

/// StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should have a working scale subresource; ReplicationController
/// should get and update a ReplicationController scale.
#[tokio::test]
async fn what_has_replicas_can_be_scaled() {
    let server = Server::start().await;
    for (path, kind, mut body) in samples() {
        if !matches!(kind, "StatefulSet" | "ReplicationController") {
            continue;
        }
        body["metadata"] = json!({"name": "a"});
        let (code, created) = server.json("POST", path, &body).await;
        assert_eq!(code, 201, "{created}");
        let (_, mut scale) = server.json("GET", &format!("{path}/a/scale"), &Value::Null).await;
        assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(1), &json!("app=a")), "{kind}");
        scale["spec"]["replicas"] = json!(3);
        let (code, _) = server.json("PUT", &format!("{path}/a/scale"), &scale).await;
        let (_, read) = server.json("GET", &format!("{path}/a"), &Value::Null).await;
        assert_eq!(
            (code, &read["spec"]["replicas"], &read["metadata"]["generation"]),
            (200, &json!(3), &json!(2)),
            "{kind}"
        );
    }
}

/// Job should apply changes to a job status; DisruptionController should update/patch PodDisruptionBudget status.
#[tokio::test]
async fn a_status_is_changed_by_itself() {
    let server = Server::start().await;
    for (path, kind, mut body) in samples() {
        let status = match kind {
            "Job" => json!({"active": 1}),
            "PodDisruptionBudget" => json!({"disruptionsAllowed": 1}),
            "Ingress" => json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}),
            "PersistentVolume" => json!({"phase": "Available"}),
            "PersistentVolumeClaim" => json!({"phase": "Bound"}),
            "DaemonSet" => json!({"numberReady": 1}),
            "CronJob" => json!({"active": [{"name": "j"}]}),
            "HorizontalPodAutoscaler" => json!({"desiredReplicas": 2}),
            "VolumeAttachment" => json!({"attached": true}),
            "ServiceCIDR" => json!({"conditions": [{"type": "Ready", "status": "True", "reason": "R", "message": "",
                "lastTransitionTime": "2024-01-01T00:00:00Z"}]}),
            _ => continue,
        };
        body["metadata"] = json!({"name": "a"});
        body["status"] = status.clone();
        let (code, created) = server.json("POST", path, &body).await;
        assert_eq!(code, 201, "{created}");
        let (field, value) = status.as_object().unwrap().iter().next().unwrap();
        assert_ne!(&created["status"][field], value, "{kind}: a status is not set on creation");
        let change = json!({"metadata": {"labels": {"ignored": "yes"}}, "status": status});
        let (code, patched) = server.patch(&format!("{path}/a/status"), MERGE, &change).await;
        assert_eq!((code, &patched["status"][field]), (200, value), "{kind}: {patched}");
        assert_eq!(patched["metadata"]["generation"], created["metadata"]["generation"], "{kind}");
    }
}

/// Ephemeral Containers [NodeConformance] should update the ephemeral containers in an existing pod.
#[tokio::test]
async fn containers_for_debugging_are_added_to_a_pod() {
    let server = Server::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}});
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [container]}});
    let (code, created) = server.json("POST", pods, &pod).await;
    assert_eq!(code, 201, "{created}");
    for (i, name) in ["d1", "d2"].into_iter().enumerate() {
        let more = json!({"spec": {"ephemeralContainers": [{"name": name, "image": "b", "targetContainerName": "c"}]}});
        let (code, patched) = server.patch(&format!("{pods}/a/ephemeralcontainers"), STRATEGIC, &more).await;
        assert_eq!(code, 200, "{patched}");
        assert_eq!(patched["spec"]["ephemeralContainers"].as_array().unwrap().len(), i + 1);
        assert_eq!(patched["metadata"]["generation"], i + 2);
    }
    let all = json!({"spec": {"ephemeralContainers": []}});
    let (code, status) = server.patch(&format!("{pods}/a/ephemeralcontainers"), MERGE, &all).await;
    assert_eq!((code, status["details"]["causes"][0]["field"].as_str()), (422, Some("spec.ephemeralContainers")));

    let more = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}});
    let (code, resized) = server.patch(&format!("{pods}/a/resize"), STRATEGIC, &more).await;
    assert_eq!(
        (code, &resized["spec"]["containers"][0]["resources"]["requests"]["cpu"]),
        (200, &json!("2")),
        "{resized}"
    );
}
