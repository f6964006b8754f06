//! What upstream's OpenAPI document says of the built-in types, and the types themselves do not carry.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

/// The table of all types.
static FACTS: LazyLock<HashMap<&'static str, TypeFacts>> = LazyLock::new(|| parse(include_str!("facts.tsv")));

/// What is known of a type.
#[derive(Debug, Default)]
pub(crate) struct TypeFacts {
    /// Replaced whole.
    atomic: bool,
    /// By name; each as the columns of its line.
    fields: HashMap<&'static str, Vec<(&'static str, &'static str)>>,
}

fn parse(text: &'static str) -> HashMap<&'static str, TypeFacts> {
    let mut types: HashMap<&str, TypeFacts> = HashMap::new();
    let mut current = "";
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(field) = line.strip_prefix('\t') {
            let mut columns = field.split('\t');
            let name = columns.next().unwrap_or_default();
            let facts = columns.filter_map(|column| column.split_once('=')).collect();
            types.entry(current).or_default().fields.insert(name, facts);
        } else {
            let (name, rest) = line.split_once('\t').unwrap_or((line, ""));
            current = name;
            types.entry(name).or_default().atomic = rest == "atomic";
        }
    }
    types
}

/// Adds what is known of a type to its schema.
pub(crate) fn add(name: &str, schema: &mut Map<String, Value>) {
    let facts = FACTS.get(name);
    if facts.is_some_and(|facts| facts.atomic) {
        schema.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    let required: Vec<String> = match schema.get("required") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for (field, schema) in properties {
        let Value::Object(schema) = schema else { continue };
        let facts = facts.and_then(|facts| facts.fields.get(field.as_str()));
        for (fact, value) in facts.into_iter().flatten() {
            add_fact(schema, fact, value);
        }
        // A required scalar is a plain value in Go, whose absence is its zero.
        let said = facts.into_iter().flatten().any(|(fact, _)| *fact == "default");
        if !said
            && required.contains(field)
            && let Some(zero) = zero(schema)
        {
            schema.insert("default".to_owned(), zero);
        }
    }
}

fn add_fact(schema: &mut Map<String, Value>, fact: &str, value: &str) {
    let (kind, names) = value.split_once(':').unwrap_or((value, ""));
    match fact {
        "list" => {
            schema.insert("x-kubernetes-list-type".to_owned(), kind.into());
            if !names.is_empty() {
                let keys: Vec<&str> = names.split(',').collect();
                schema.insert("x-kubernetes-list-map-keys".to_owned(), json!(keys));
            }
        }
        "map" => drop(schema.insert("x-kubernetes-map-type".to_owned(), kind.into())),
        "patch" => {
            schema.insert("x-kubernetes-patch-strategy".to_owned(), kind.into());
            if !names.is_empty() {
                schema.insert("x-kubernetes-patch-merge-key".to_owned(), names.into());
            }
        }
        "default" => {
            if let Ok(default) = serde_json::from_str(value) {
                let _: Option<Value> = schema.insert("default".to_owned(), default);
            }
        }
        "enum" => {
            let values: Vec<&str> = value.split('|').collect();
            match schema.get_mut("items") {
                Some(Value::Object(items)) => items.insert("enum".to_owned(), json!(values)),
                _ => schema.insert("enum".to_owned(), json!(values)),
            };
        }
        _ => {}
    }
}

fn zero(schema: &Map<String, Value>) -> Option<Value> {
    match schema.get("type")?.as_str()? {
        "string" if schema.get("format").is_none() => Some(json!("")),
        "integer" | "number" => Some(json!(0)),
        "boolean" => Some(json!(false)),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Definitions, v3};

    /// Every kind of a stable group.
    macro_rules! add {
        ($definitions:ident, $($module:path: $($kind:ident)+;)+) => {
            $({ use $module as module; $($definitions.add::<module::$kind>();)+ })+
        };
    }

    fn everything() -> Map<String, Value> {
        use k8s_openapi::{api, apiextensions_apiserver, apimachinery, kube_aggregator};
        let mut definitions = Definitions::new();
        add! { definitions,
            api::admissionregistration::v1: MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration;
            api::apps::v1: ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet;
            api::authentication::v1: SelfSubjectReview TokenRequest TokenReview;
            api::authorization::v1: LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview;
            api::autoscaling::v1: HorizontalPodAutoscaler Scale;
            api::autoscaling::v2: HorizontalPodAutoscaler;
            api::batch::v1: CronJob Job;
            api::certificates::v1: CertificateSigningRequest ClusterTrustBundle PodCertificateRequest;
            api::coordination::v1: Lease;
            api::core::v1: Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount;
            api::discovery::v1: EndpointSlice;
            api::events::v1: Event;
            api::flowcontrol::v1: FlowSchema PriorityLevelConfiguration;
            api::networking::v1: IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR;
            api::node::v1: RuntimeClass;
            api::policy::v1: Eviction PodDisruptionBudget;
            api::rbac::v1: ClusterRole ClusterRoleBinding Role RoleBinding;
            api::resource::v1: DeviceClass DeviceTaintRule ResourceClaim ResourceClaimTemplate ResourceSlice;
            api::scheduling::v1: PriorityClass;
            api::storage::v1: CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass;
            api::storagemigration::v1: StorageVersionMigration;
            apiextensions_apiserver::pkg::apis::apiextensions::v1: CustomResourceDefinition;
            apimachinery::pkg::apis::meta::v1: APIGroup APIGroupList APIResourceList APIVersions Status DeleteOptions;
            kube_aggregator::pkg::apis::apiregistration::v1: APIService;
        }
        definitions.schemas()
    }

    #[test]
    fn every_row_names_what_there_is() {
        let schemas = everything();
        for (name, facts) in &*FACTS {
            assert!(schemas.contains_key(*name), "{name}");
            for field in facts.fields.keys() {
                assert!(schemas[*name]["properties"].get(*field).is_some(), "{name}.{field}");
            }
        }
    }

    /// Upstream says of every list what it is; one that is missing here would silently be replaced whole.
    #[test]
    fn no_list_lacks_its_row() {
        for (name, schema) in everything() {
            for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
                let list = schema["type"] == "array" && !name.ends_with("APIResource");
                assert!(!list || schema.get("x-kubernetes-list-type").is_some(), "{name}.{field}");
                let keys = schema["x-kubernetes-list-map-keys"].as_array().map_or(0, Vec::len);
                assert_eq!(schema["x-kubernetes-list-type"] == "map", keys > 0, "{name}.{field}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let schemas = everything();
        for (name, schema) in &schemas {
            let mut names = Vec::new();
            v3::references(schema, &mut names);
            for reference in names {
                assert!(schemas.contains_key(reference), "{name} refers to {reference}");
            }
        }
    }

    #[test]
    fn every_column_is_understood() {
        for (name, facts) in &*FACTS {
            assert!(facts.atomic || !facts.fields.is_empty(), "{name}");
            for (field, columns) in &facts.fields {
                assert!(!columns.is_empty(), "{name}.{field}");
                for (fact, value) in columns {
                    let (kind, names) = value.split_once(':').unwrap_or((value, ""));
                    let known = match *fact {
                        "list" => (kind == "map") != names.is_empty() && ["map", "set", "atomic"].contains(&kind),
                        "map" => ["atomic", "granular"].contains(&kind),
                        "patch" => ["merge", "replace", "retainKeys", "merge,retainKeys"].contains(&kind),
                        "default" => *value == "none" || serde_json::from_str::<Value>(value).is_ok(),
                        "enum" => value.contains('|') || !value.is_empty(),
                        _ => false,
                    };
                    assert!(known, "{name}.{field}: {fact}={value}");
                }
            }
        }
    }
}
