//! The table of resources: a snapshot that is replaced, not changed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::Resource as _;

use crate::kind::{HasScope, Kind};
use crate::kinds;
use crate::strategy::Resource;
use crate::typed::Typed;
use crate::view::Viewed;

/// Every resource that the server has, at one time. Look-ups are by hash. A resource keeps its slot from snapshot to
/// snapshot; another one that takes its place gets a new slot.
#[derive(Clone)]
pub struct Registry {
    /// The built-in ones by group, then those of definitions, by group, version and name.
    resources: Vec<Arc<Resource>>,
    /// Plural to the resources of that name, which are few.
    plurals: HashMap<Box<str>, Vec<Arc<Resource>>>,
    next_slot: usize,
    generation: u64,
}

impl Registry {
    /// The built-in resources.
    #[must_use]
    pub fn builtin() -> Self {
        Self::of(vec![
            resource::<kinds::Bindings>(),
            resource::<kinds::ConfigMaps>(),
            resource::<kinds::EndpointsKind>(),
            resource::<kinds::Events>(),
            resource::<kinds::LimitRanges>(),
            resource::<kinds::Namespaces>(),
            resource::<kinds::Nodes>(),
            resource::<kinds::PersistentVolumeClaims>(),
            resource::<kinds::PersistentVolumes>(),
            resource::<kinds::Pods>(),
            resource::<kinds::PodTemplates>(),
            resource::<kinds::ReplicationControllers>(),
            resource::<kinds::ResourceQuotas>(),
            resource::<kinds::Secrets>(),
            resource::<kinds::ServiceAccounts>(),
            resource::<kinds::Services>(),
            resource::<kinds::MutatingAdmissionPolicies>(),
            resource::<kinds::MutatingAdmissionPolicyBindings>(),
            resource::<kinds::MutatingWebhookConfigurations>(),
            resource::<kinds::ValidatingAdmissionPolicies>(),
            resource::<kinds::ValidatingAdmissionPolicyBindings>(),
            resource::<kinds::ValidatingWebhookConfigurations>(),
            resource::<kinds::ControllerRevisions>(),
            resource::<kinds::DaemonSets>(),
            resource::<kinds::Deployments>(),
            resource::<kinds::ReplicaSets>(),
            resource::<kinds::StatefulSets>(),
            resource::<kinds::CronJobs>(),
            resource::<kinds::Jobs>(),
            resource::<kinds::HorizontalPodAutoscalers>(),
            resource::<Viewed<kinds::HorizontalPodAutoscalersV1>>(),
            resource::<kinds::CertificateSigningRequests>(),
            resource::<kinds::Leases>(),
            resource::<kinds::EndpointSlices>(),
            resource::<Viewed<kinds::EventsView>>(),
            resource::<kinds::IngressClasses>(),
            resource::<kinds::Ingresses>(),
            resource::<kinds::IpAddresses>(),
            resource::<kinds::NetworkPolicies>(),
            resource::<kinds::ServiceCidrs>(),
            resource::<kinds::RuntimeClasses>(),
            resource::<kinds::PodDisruptionBudgets>(),
            resource::<kinds::PriorityClasses>(),
            resource::<kinds::StorageClasses>(),
            resource::<kinds::SelfSubjectReviews>(),
            resource::<kinds::TokenReviews>(),
            resource::<kinds::LocalSubjectAccessReviews>(),
            resource::<kinds::SelfSubjectAccessReviews>(),
            resource::<kinds::SelfSubjectRulesReviews>(),
            resource::<kinds::SubjectAccessReviews>(),
            resource::<kinds::ClusterRoleBindings>(),
            resource::<kinds::ClusterRoles>(),
            resource::<kinds::RoleBindings>(),
            resource::<kinds::Roles>(),
            resource::<kinds::CsiDrivers>(),
            resource::<kinds::CsiNodes>(),
            resource::<kinds::CsiStorageCapacities>(),
            resource::<kinds::VolumeAttachments>(),
            resource::<kinds::VolumeAttributesClasses>(),
        ])
    }

    /// The next snapshot, with built-in resources added.
    #[must_use]
    pub fn with(mut self, resources: Vec<Resource>) -> Self {
        self.add(resources);
        self.index();
        self
    }

    fn of(resources: Vec<Resource>) -> Self {
        let mut registry = Self { resources: Vec::new(), plurals: HashMap::new(), next_slot: 0, generation: 0 };
        registry.add(resources);
        registry.index();
        registry
    }

    /// The next snapshot: without the resources of some definitions, and with new ones.
    #[must_use]
    pub fn replaced(&self, gone: &dyn Fn(&str) -> bool, new: Vec<Resource>) -> Self {
        let mut next = self.clone();
        next.resources.retain(|r| !r.definition.as_deref().is_some_and(gone));
        next.add(new);
        let first = next.resources.partition_point(|r| r.definition.is_none());
        // The version that is preferred comes first.
        next.resources[first..].sort_by(|a, b| {
            a.group
                .cmp(&b.group)
                .then_with(|| version_order(&a.version, &b.version))
                .then_with(|| a.plural.cmp(&b.plural))
        });
        next.index();
        next.generation += 1;
        next
    }

    fn add(&mut self, resources: Vec<Resource>) {
        for mut resource in resources {
            resource.slot = self.next_slot;
            self.next_slot += 1;
            self.resources.push(Arc::new(resource));
        }
    }

    fn index(&mut self) {
        self.plurals.clear();
        for resource in &self.resources {
            self.plurals.entry((*resource.plural).into()).or_default().push(Arc::clone(resource));
        }
    }

    /// All of them: the built-in ones by group, then those of definitions.
    #[must_use]
    pub fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// Which snapshot this is; it rises with each.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The resource behind a path.
    #[must_use]
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.plurals.get(plural)?.iter().find(|r| r.group == group && r.version == version)
    }

    /// The versions of a resource, which share what is stored under a group.
    pub fn versions<'a>(&'a self, group: &'a str, plural: &str) -> impl Iterator<Item = &'a Arc<Resource>> {
        self.plurals.get(plural).into_iter().flatten().filter(move |r| r.stored_group() == group)
    }

    /// The resource of a kind.
    #[must_use]
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.resources.iter().find(|r| r.group == group && r.version == version && r.kind == kind)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::builtin()
    }
}

/// Upstream's order of versions: `v2`, `v1`, `v1beta2`, `v1alpha1`, and then all others by name.
fn version_order(a: &str, b: &str) -> std::cmp::Ordering {
    match (version_rank(a), version_rank(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, major and minor number; `None` for what is no Kubernetes version.
fn version_rank(version: &str) -> Option<(u8, u64, u64)> {
    let number = |text: &str| {
        let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten()
    };
    let rest = version.strip_prefix('v')?;
    for (word, stability) in [("alpha", 0), ("beta", 1)] {
        if let Some((major, minor)) = rest.split_once(word) {
            return Some((stability, number(major)?, number(minor)?));
        }
    }
    Some((2, number(rest)?, 0))
}

/// A resource of a kind; a [`Registry`] gives it its slot.
#[must_use]
pub fn resource<K: Kind>() -> Resource {
    let names = |names: &'static [&'static str]| names.iter().copied().map(Cow::Borrowed).collect();
    Resource {
        group: Cow::Borrowed(K::Object::GROUP),
        version: Cow::Borrowed(K::Object::VERSION),
        kind: Cow::Borrowed(K::Object::KIND),
        list_kind: Cow::Owned(format!("{}List", K::Object::KIND)),
        plural: Cow::Borrowed(K::Object::URL_PATH_SEGMENT),
        singular: Cow::Borrowed(K::SINGULAR),
        short_names: names(K::SHORT_NAMES),
        categories: names(K::CATEGORIES),
        scope: <<K::Object as k8s_openapi::Resource>::Scope as HasScope>::SCOPE,
        subresources: Cow::Borrowed(K::SUBRESOURCES),
        definition: None,
        slot: 0,
        stored: K::STORED,
        strategy: Box::new(Typed::<K>::new()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::metadata::{validate_metadata, validate_metadata_update};
    use crate::strategy::Scope;

    #[test]
    fn names_are_unique_and_lookups_find_them() {
        let registry = Registry::builtin();
        let mut names = BTreeSet::new();
        for resource in registry.resources() {
            for name in [&resource.plural, &resource.singular].into_iter().chain(&resource.short_names) {
                names.insert((&*resource.group, &**name, &*resource.kind));
            }
            let found = registry.get(&resource.group, &resource.version, &resource.plural).unwrap();
            assert_eq!(found.kind, resource.kind);
            assert!(registry.by_kind(&resource.group, &resource.version, &resource.kind).is_some());
            assert!(resource.strategy.field_names().contains(&"metadata.name"));
        }
        let shorts: BTreeSet<&str> = names.iter().map(|(_, name, _)| *name).collect();
        let owners: BTreeSet<(&str, &str)> = names.iter().map(|(_, name, kind)| (*name, *kind)).collect();
        assert_eq!(shorts.len(), owners.len());
        assert_eq!(registry.get("", "v1", "nodes").unwrap().scope, Scope::Cluster);
        assert_eq!(registry.get("apps", "v1", "deployments").unwrap().scope, Scope::Namespaced);
        assert!(registry.get("apps", "v2", "deployments").is_none());
    }

    #[test]
    fn versions_come_in_upstreams_order() {
        let mut versions = vec!["foo", "v1alpha1", "v10", "v1", "v2beta1", "v1beta1", "bar", "v2", "v1beta2", "v01"];
        versions.sort_by(|a, b| version_order(a, b));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1beta1", "v1alpha1", "bar", "foo", "v01"]);
    }

    #[test]
    fn a_snapshot_keeps_slots_and_gives_new_ones() {
        let custom = |version: &'static str| Resource {
            group: "example.com".into(),
            version: version.into(),
            definition: Some("configmaps.example.com".into()),
            ..resource::<kinds::ConfigMaps>()
        };
        let first = Registry::builtin();
        let second = first.replaced(&|_| false, vec![custom("v1beta1"), custom("v1")]);
        let versions: Vec<&str> = second.versions("example.com", "configmaps").map(|r| &*r.version).collect();
        assert_eq!(versions, ["v1", "v1beta1"]);
        let slot = |registry: &Registry, version| registry.get("example.com", version, "configmaps").map(|r| r.slot);
        let third = second.replaced(&|name| name == "configmaps.example.com", vec![custom("v1")]);
        assert_eq!(slot(&third, "v1beta1"), None);
        assert!(slot(&third, "v1") > slot(&second, "v1").max(slot(&second, "v1beta1")));
        assert_eq!(first.get("", "v1", "configmaps").unwrap().slot, third.get("", "v1", "configmaps").unwrap().slot);
        assert_eq!(third.resources().len(), first.resources().len() + 1);
        assert!(third.generation() > second.generation());
    }

    #[test]
    fn every_kind_takes_an_empty_object_through_all_steps() {
        for resource in Registry::builtin().resources() {
            let strategy = &resource.strategy;
            let mut object = strategy.decode(json!({"metadata": {"name": "a"}})).unwrap().object;
            strategy.default(&mut *object);
            strategy.prepare_for_create(&mut *object);
            let old = object.clone_object();
            strategy.prepare_for_update(&mut *object, &*old);
            strategy.prepare_for_status_update(&mut *object, &*old);
            let _ = strategy.validate(&*object);
            let _ = strategy.validate_update(&*object, &*old);
            let _ = strategy.validate_status_update(&*object, &*old);
            let row = strategy.row(&*object, jiff::Timestamp::UNIX_EPOCH);
            assert_eq!(row.len(), strategy.columns().len(), "{}", resource.kind);
            for (field, _) in strategy.fields(&*object) {
                assert!(strategy.field_names().contains(&&*field), "{} {field}", resource.kind);
            }
            let twice = strategy.decode(object.to_value()).unwrap();
            assert_eq!(twice.object.to_value(), object.to_value());
            assert_eq!(twice.unknown_fields, Vec::<String>::new());
        }
    }

    #[test]
    fn json_begins_with_what_tells_it_apart() {
        let registry = Registry::builtin();
        let strategy = &registry.get("", "v1", "configmaps").unwrap().strategy;
        let value =
            json!({"data": {"b": "1"}, "metadata": {"name": "a", "annotations": {"a": "b"}, "resourceVersion": "7"}});
        let object = strategy.decode(value).unwrap().object;
        assert_eq!(
            object.to_value().to_string(),
            "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"resourceVersion\":\"7\",\
             \"annotations\":{\"a\":\"b\"},\"name\":\"a\"},\"data\":{\"b\":\"1\"}}"
        );
    }

    #[test]
    fn metadata_is_checked_as_upstream_does() {
        let registry = Registry::builtin();
        let resource = registry.get("", "v1", "services").unwrap();
        let text = |meta: Value| -> Vec<String> {
            let meta = crate::decode::decode(meta).unwrap().0;
            let errors = validate_metadata(&meta, resource.scope, &*resource.strategy);
            errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
        };
        assert!(text(json!({"name": "a", "namespace": "b", "generateName": "c-", "labels": {"a/b": "c"}})).is_empty());
        assert_eq!(
            text(json!({})),
            ["metadata.name: Required value: name or generateName is required", "metadata.namespace: Required value"]
        );
        let errors = text(json!({"name": "0", "namespace": "B", "labels": {"": "-"}, "finalizers": ["x"]}));
        assert!(errors[0].starts_with("metadata.name: Invalid value: \"0\": a DNS-1035 label must consist of"));
        assert!(errors[1].starts_with("metadata.namespace: Invalid value: \"B\": a lowercase RFC 1123 label must"));
        assert_eq!(errors[2], "metadata.labels: Invalid value: \"\": name part must be non-empty");
        assert!(errors.last().unwrap().contains("name is neither a standard finalizer name nor is it fully qualified"));
        let big = json!({"name": "a", "namespace": "b", "annotations": {"a": "x".repeat(262_144)}});
        assert_eq!(text(big), ["metadata.annotations: Too long: may not be more than 262144 bytes"]);

        let meta = |value: Value| crate::decode::decode(value).unwrap().0;
        let errors = validate_metadata_update(&meta(json!({"uid": "b"})), &meta(json!({"uid": "a"})));
        assert_eq!(errors[0].message, "Invalid value: \"b\": field is immutable");
    }

    fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("metadata"),
            Just("name"),
            Just("labels"),
            Just("spec"),
            Just("status"),
            Just("template"),
            Just("containers"),
            Just("ports"),
            Just("port"),
            Just("selector"),
            Just("data"),
            Just("endpoints"),
            Just("conditions"),
            Just("type"),
            Just("resources"),
            Just("limits"),
            Just("cpu"),
            Just("other"),
        ];
        leaf.prop_recursive(5, 64, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((key.clone(), inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_gives_an_answer_and_what_decodes_encodes_to_itself(value in any_json()) {
            for resource in Registry::builtin().resources() {
                let strategy = &resource.strategy;
                let Ok(decoded) = strategy.decode(value.clone()) else { continue };
                let mut object = decoded.object;
                strategy.default(&mut *object);
                strategy.prepare_for_create(&mut *object);
                let _ = strategy.validate(&*object);
                let _ = strategy.row(&*object, jiff::Timestamp::UNIX_EPOCH);
                let again = strategy.decode(object.to_value()).unwrap().object;
                prop_assert_eq!(again.to_value(), object.to_value());
            }
        }
    }
}
