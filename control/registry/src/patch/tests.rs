use proptest::prelude::*;
use std::sync::LazyLock;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::json;

use super::*;

static POD: LazyLock<ObjectShape> = LazyLock::new(ObjectShape::of::<Pod>);

fn apply(original: Value, patch: &Value) -> Value {
    strategic_merge(original, patch, &POD).unwrap()
}

#[test]
fn a_selector_that_is_replaced_keeps_nothing() {
    let budgets = ObjectShape::of::<PodDisruptionBudget>();
    let original = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "minAvailable": 1}});
    let patch = json!({"spec": {"selector": {"matchLabels": {"c": "d"}}}});
    let merged = strategic_merge(original, &patch, &budgets).unwrap();
    assert_eq!(merged, json!({"spec": {"selector": {"matchLabels": {"c": "d"}}, "minAvailable": 1}}));
}

#[test]
fn a_list_that_is_owned_whole_may_be_merged_by_key() {
    let jobs = ObjectShape::of::<Job>();
    let original =
        json!({"status": {"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "True"}]}});
    let patch = json!({"status": {"conditions": [{"type": "B", "reason": "x"}]}});
    let merged = strategic_merge(original, &patch, &jobs).unwrap();
    assert_eq!(merged["status"]["conditions"][1], json!({"type": "B", "status": "True", "reason": "x"}));
}

#[test]
fn containers_merge_by_name_and_ports_by_number() {
    let original = json!({"spec": {"containers": [
        {"name": "a", "image": "x", "ports": [{"containerPort": 80, "name": "web"}]}, {"name": "b", "image": "y"}]}});
    let patch = json!({"spec": {"containers": [
        {"name": "a", "ports": [{"containerPort": 80, "name": null, "protocol": "UDP"}, {"containerPort": 81}]},
        {"name": "c", "image": "z", "command": null}]}});
    let expected = json!({"spec": {"containers": [
        {"name": "a", "image": "x", "ports": [{"containerPort": 80, "protocol": "UDP"}, {"containerPort": 81}]},
        {"name": "b", "image": "y"}, {"name": "c", "image": "z"}]}});
    assert_eq!(apply(original, &patch), expected);
}

#[test]
fn lists_without_a_key_are_replaced() {
    let original = json!({"spec": {"tolerations": [{"key": "a"}], "nodeSelector": {"a": "1", "b": "2"}}});
    let patch = json!({"spec": {"tolerations": [{"key": "b"}], "nodeSelector": {"a": null, "c": "3"}}});
    let expected = json!({"spec": {"tolerations": [{"key": "b"}], "nodeSelector": {"b": "2", "c": "3"}}});
    assert_eq!(apply(original, &patch), expected);
}

#[test]
fn directives_delete_and_replace() {
    let original =
        || json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "securityContext": {"fsGroup": 1}}});
    let patch = json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}});
    assert_eq!(apply(original(), &patch)["spec"]["containers"], json!([{"name": "b"}]));
    let patch = json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}});
    assert_eq!(apply(original(), &patch)["spec"]["containers"], json!([{"name": "z"}]));
    let node = json!({"status": {"addresses": [{"type": "InternalIP", "address": "x"}]}});
    let two = json!([{"type": "InternalIP", "address": "a"}, {"type": "InternalIP", "address": "b"}]);
    let patch = json!({"status": {"addresses": [two[0], two[1], {"$patch": "replace"}]}});
    assert_eq!(
        strategic_merge(node, &patch, &ObjectShape::of::<Node>()).unwrap()["status"]["addresses"],
        two,
        "one key twice"
    );
    let patch = json!({"spec": {"securityContext": {"$patch": "replace", "runAsUser": 3}}});
    assert_eq!(apply(original(), &patch)["spec"]["securityContext"], json!({"runAsUser": 3}));
    let patch = json!({"spec": {"securityContext": {"$patch": "delete"}}});
    assert_eq!(apply(original(), &patch)["spec"]["securityContext"], json!({}));
    let error = strategic_merge(original(), &json!({"$patch": "x"}), &POD).unwrap_err();
    assert_eq!(error.to_string(), "unknown patch type: x");
}

#[test]
fn retain_keys_removes_what_is_not_listed() {
    let original = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let deployments = ObjectShape::of::<Deployment>();
    let merged = strategic_merge(original.clone(), &patch, &deployments).unwrap();
    assert_eq!(merged, json!({"spec": {"strategy": {"type": "Recreate"}}}));
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "other": 1}}});
    assert!(strategic_merge(original, &patch, &deployments).is_err());
}

#[test]
fn primitives_are_added_removed_and_ordered() {
    let original = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "finalizers": ["d"],
        "$setElementOrder/finalizers": ["d", "a"]}});
    assert_eq!(apply(original, &patch), json!({"metadata": {"finalizers": ["d", "a", "c"]}}));
}

#[test]
fn element_order_keeps_what_only_the_server_knows() {
    let original = json!({"spec": {"containers": [{"name": "a"}, {"name": "server"}, {"name": "b"}]}});
    let patch = json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "new"}, {"name": "a"}],
        "containers": [{"name": "new"}]}});
    let merged = apply(original, &patch);
    let names: Vec<&str> =
        merged["spec"]["containers"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["server", "b", "new", "a"]);
}

#[test]
fn malformed_patches_are_refused() {
    for patch in [
        json!([]),
        json!({"spec": {"containers": [{"image": "x"}]}}),
        json!({"spec": {"containers": ["x"]}}),
        json!({"spec": {"$setElementOrder/containers": 1, "containers": []}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}}),
    ] {
        assert!(strategic_merge(json!({}), &patch, &POD).is_err(), "{patch}");
    }
}

/// Values with the fields and directives of pods' patches.
fn any_patch() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        prop_oneof![Just("a"), Just("b"), Just("delete"), Just("replace"), Just("merge")].prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("metadata"),
        Just("spec"),
        Just("containers"),
        Just("name"),
        Just("ports"),
        Just("containerPort"),
        Just("finalizers"),
        Just("$patch"),
        Just("$retainKeys"),
        Just("$setElementOrder/containers"),
        Just("$deleteFromPrimitiveList/finalizers"),
    ];
    leaf.prop_recursive(5, 48, 4, move |inner| {
        let fields = proptest::collection::vec((key.clone(), inner.clone()), 0..4);
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(Value::from),
            fields.prop_map(|fields| Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_patch_gives_an_answer(original in any_patch(), patch in any_patch()) {
        let _ = strategic_merge(original, &patch, &POD);
    }

    #[test]
    fn a_patch_without_nulls_is_idempotent(names in proptest::collection::vec("[a-c]", 0..4), image in "[x-z]") {
        let mut containers = Vec::new();
        for name in &names {
            if !containers.iter().any(|c: &Value| c["name"] == json!(name)) {
                containers.push(json!({"name": name, "image": image}));
            }
        }
        let original = json!({"spec": {"containers": [{"name": "a", "image": "o", "stdin": true}]}});
        let patch = json!({"spec": {"containers": containers}});
        let once = apply(original, &patch);
        prop_assert_eq!(apply(once.clone(), &patch), once);
    }
}
