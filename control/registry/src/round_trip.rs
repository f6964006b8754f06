//! What holds for every kind: its names are upstream's, its JSON loses nothing, and its defaults are set once.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use skep_schema::Definitions;

use crate::kind::Kind;
use crate::kinds;
use crate::registry::Registry;
use crate::strategy::Scope;
use crate::typed::Typed;
use crate::view::Viewed;

/// How deep objects are made that nothing requires.
const DEPTH_MAX: usize = 7;

/// What `kubectl api-resources -o wide` of v1.37 says: name, short names, version, namespaced, kind, categories.
const FACTS: &str = include_str!("round_trip/resources.tsv");

#[test]
fn names_are_upstreams() {
    let registry = Registry::builtin();
    let mut known = 0;
    for line in FACTS.lines() {
        let [plural, shorts, version, namespaced, kind, categories] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let Some(resource) = registry.get(group, version, plural) else { continue };
        known += 1;
        assert_eq!(resource.kind, kind, "{plural}");
        assert_eq!(resource.short_names.join(","), shorts, "{plural}");
        assert_eq!(resource.categories.join(","), categories, "{plural}");
        assert_eq!(resource.scope == Scope::Namespaced, namespaced == "true", "{plural}");
        assert_eq!(resource.singular, kind.to_lowercase(), "{plural}");
    }
    assert!(known >= 45, "{known}");
    for resource in registry.resources() {
        let version = match &*resource.group {
            "" => resource.version.to_string(),
            group => format!("{group}/{}", resource.version),
        };
        let line = format!("{}\t", resource.plural);
        let is_known = FACTS.lines().any(|fact| fact.starts_with(&line) && fact.contains(&format!("\t{version}\t")));
        assert!(is_known, "{} {version} is not upstream's", resource.plural);
    }
}

/// A source of numbers that a seed fixes.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// A value of a schema.
fn make(schema: &Value, all: &Map<String, Value>, numbers: &mut Numbers, depth: usize) -> Value {
    let reference = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref")).and_then(Value::as_str);
    if let Some(name) = reference.and_then(|reference| reference.rsplit('/').next()) {
        // An amount may be written as a number, and is kept as text.
        if name.ends_with(".Quantity") {
            return json!("1Gi");
        }
        let mut made = make(&all[name], all, numbers, depth);
        // An object inside another one says what it is.
        let has = |field: &str| all[name]["properties"].get(field).is_some();
        if depth > 0 && has("apiVersion") && has("metadata") {
            made["apiVersion"] = "v1".into();
            made["kind"] = name.rsplit('.').next().unwrap_or_default().into();
            if made.get("metadata").is_none() {
                made["metadata"] = json!({});
            }
        }
        return made;
    }
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or(""),
        _ => "",
    };
    match (kind, format) {
        ("string", "date-time") => json!("2024-01-01T00:00:00Z"),
        ("string", "byte") => json!("AAEC"),
        ("string", _) => json!(["", "a", "b-1", "Always", "10%", "x.y/z"][numbers.below(6)]),
        ("integer", _) => json!(numbers.below(100_000)),
        ("number", _) => json!(1.5),
        ("boolean", _) => json!(numbers.below(2) == 0),
        ("array", _) => (0..numbers.below(3)).map(|_| make(&schema["items"], all, numbers, depth + 1)).collect(),
        ("object", _) => make_object(schema, all, numbers, depth),
        // Numbers or strings, and what has no type of its own.
        _ => json!(numbers.below(10)),
    }
}

fn make_object(schema: &Value, all: &Map<String, Value>, numbers: &mut Numbers, depth: usize) -> Value {
    let mut object = Map::new();
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if required.contains(&json!(name)) || (depth < DEPTH_MAX && numbers.below(3) == 0) {
            object.insert(name.clone(), make(field, all, numbers, depth + 1));
        }
    }
    if let Some(rest) = schema.get("additionalProperties").filter(|rest| rest.is_object()) {
        for key in ["k", "k/l"].into_iter().take(numbers.below(3)) {
            object.insert(key.to_owned(), make(rest, all, numbers, depth + 1));
        }
    }
    Value::Object(object)
}

/// Times have fractions only where the type does; their text is not what is tried here.
fn without_fractions(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with("2024-01-01T00:00:00") => "2024-01-01T00:00:00Z".clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(without_fractions),
        Value::Object(fields) => fields.values_mut().for_each(without_fractions),
        _ => {}
    }
}

fn compare(back: &Value, made: &Value, path: String, differences: &mut Vec<String>) {
    match (back, made) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let (a, b) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
                compare(a, b, format!("{path}.{key}"), differences);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                compare(a, b, format!("{path}[{i}]"), differences);
            }
        }
        _ if back != made => differences.push(format!("{path}: {made} became {back}")),
        _ => {}
    }
}

fn holds<K: Kind>(seed: u64) {
    let mut definitions = Definitions::new();
    let name = definitions.add::<K::Object>();
    let all = definitions.schemas();
    let name = name.rsplit('/').next().unwrap_or_default();
    let mut made = make(&all[name], &all, &mut Numbers(seed), 0);
    made["apiVersion"] = <K::Object as k8s_openapi::Resource>::API_VERSION.into();
    made["kind"] = <K::Object as k8s_openapi::Resource>::KIND.into();
    if !made["metadata"].is_object() {
        made["metadata"] = json!({});
    }
    let strategy: Box<dyn crate::strategy::Strategy> = Box::new(Typed::<K>::new());
    let decoded = strategy.decode(made.clone()).unwrap_or_else(|error| panic!("{name}: {error}: {made}"));
    assert_eq!(decoded.unknown_fields, Vec::<String>::new(), "{name}");
    let mut back = decoded.object.to_value();
    without_fractions(&mut back);
    let mut differences = Vec::new();
    compare(&back, &made, String::new(), &mut differences);
    assert_eq!(differences, Vec::<String>::new(), "{name}");

    let mut object = decoded.object;
    strategy.default(&mut *object);
    let once = object.to_value();
    strategy.default(&mut *object);
    assert_eq!(object.to_value(), once, "{name}: defaults are set once");
    let _ = strategy.validate(&*object);
    assert_eq!(strategy.row(&*object, jiff::Timestamp::UNIX_EPOCH).len(), strategy.columns().len(), "{name}");
    if let Some(stored) = strategy.encode_stored(&*object) {
        let seen = strategy.decode_stored(stored.to_value()).unwrap();
        let again = strategy.encode_stored(&*seen).unwrap();
        assert_eq!(again.to_value(), stored.to_value(), "{name}: the stored form is kept");
    }
}

macro_rules! all_hold {
    ($seed:expr; $($kind:ty),* $(,)?) => { $(holds::<$kind>($seed);)* };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn json_loses_nothing_and_defaults_are_set_once(seed in any::<u64>()) {
        all_hold!(seed;
            kinds::ConfigMaps, kinds::EndpointsKind, kinds::Events, kinds::Namespaces, kinds::Nodes,
            kinds::PersistentVolumeClaims, kinds::PersistentVolumes, kinds::Pods, kinds::PodTemplates,
            kinds::ReplicationControllers, kinds::Secrets, kinds::ServiceAccounts, kinds::Services,
            kinds::MutatingAdmissionPolicies, kinds::MutatingAdmissionPolicyBindings,
            kinds::MutatingWebhookConfigurations, kinds::ValidatingAdmissionPolicies,
            kinds::ValidatingAdmissionPolicyBindings, kinds::ValidatingWebhookConfigurations,
            kinds::ControllerRevisions, kinds::DaemonSets, kinds::Deployments, kinds::ReplicaSets, kinds::StatefulSets,
            kinds::CronJobs, kinds::Jobs, kinds::HorizontalPodAutoscalers, Viewed<kinds::HorizontalPodAutoscalersV1>,
            kinds::CertificateSigningRequests, kinds::Leases, kinds::EndpointSlices, Viewed<kinds::EventsView>,
            kinds::IngressClasses, kinds::Ingresses, kinds::IpAddresses, kinds::NetworkPolicies, kinds::ServiceCidrs,
            kinds::RuntimeClasses, kinds::PodDisruptionBudgets, kinds::LimitRanges, kinds::ResourceQuotas,
            kinds::PriorityClasses, kinds::StorageClasses, kinds::CsiDrivers, kinds::CsiNodes,
            kinds::CsiStorageCapacities, kinds::VolumeAttachments, kinds::VolumeAttributesClasses,
        );
    }
}
