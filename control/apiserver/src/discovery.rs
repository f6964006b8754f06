//! What the server has: groups, versions, resources and their verbs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use skep_registry::{Registry, Resource, Scope, Subresource};

use crate::object;
use crate::resource::subresource_name;

mod aggregated;

pub(crate) use aggregated::aggregated;

/// Bytes of the hash of a storage version.
const STORAGE_VERSION_HASH_LEN: usize = 8;

/// What may be done to a resource: everything, or where nothing is kept only asked.
pub(crate) fn verbs(resource: &Resource) -> &'static [&'static str] {
    if resource.stored {
        &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    } else {
        &["create"]
    }
}

/// What is served below objects of a resource, as discovery has it.
pub(crate) struct Below<'a> {
    pub(crate) name: &'static str,
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) verbs: &'static [&'static str],
}

pub(crate) fn below(resource: &Resource, subresource: Subresource) -> Below<'_> {
    let name = subresource_name(subresource);
    let own = |verbs| Below { name, group: &resource.group, version: &resource.version, kind: &resource.kind, verbs };
    match subresource {
        Subresource::Status | Subresource::Approval | Subresource::EphemeralContainers | Subresource::Resize => {
            own(&["get", "patch", "update"])
        }
        Subresource::Eviction => Below { group: "policy", version: "v1", kind: "Eviction", ..own(&["create"]) },
        Subresource::Scale => {
            Below { group: "autoscaling", version: "v1", kind: "Scale", ..own(&["get", "patch", "update"]) }
        }
        Subresource::Binding => Below { group: "", version: "v1", kind: "Binding", ..own(&["create"]) },
        Subresource::Token => {
            Below { group: "authentication.k8s.io", version: "v1", kind: "TokenRequest", ..own(&["create"]) }
        }
        Subresource::Log => own(&["get"]),
        Subresource::Exec => Below { kind: "PodExecOptions", ..own(&["create", "get"]) },
        Subresource::Attach => Below { kind: "PodAttachOptions", ..own(&["create", "get"]) },
        Subresource::PortForward => Below { kind: "PodPortForwardOptions", ..own(&["create", "get"]) },
        Subresource::Proxy => {
            let kind = match &*resource.kind {
                "Pod" => "PodProxyOptions",
                "Service" => "ServiceProxyOptions",
                _ => "NodeProxyOptions",
            };
            Below { kind, ..own(&["create", "delete", "get", "patch", "update"]) }
        }
        Subresource::Finalize => own(&["update"]),
    }
}

/// By what clients see that objects are stored in another version than before: of a definition's versions only that one has it.
fn storage_version_hash(resource: &Resource) -> Option<String> {
    let served = object::api_version(resource);
    let stored = resource.strategy.stored_api_version().unwrap_or(&served);
    if !resource.stored || (resource.definition.is_some() && stored != served) {
        return None;
    }
    let (group, version) = stored.rsplit_once('/').unwrap_or(("", stored));
    let digest = Sha256::digest(format!("{group}/{version}/{}", resource.kind));
    Some(STANDARD.encode(&digest[..STORAGE_VERSION_HASH_LEN]))
}

/// Named groups and their versions, in the registry's order.
pub(crate) fn groups(registry: &Registry) -> Vec<(&str, Vec<&str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for resource in registry.resources() {
        match groups.iter_mut().find(|(group, _)| *group == resource.group) {
            Some((_, versions)) if versions.contains(&&*resource.version) => {}
            Some((_, versions)) => versions.push(&resource.version),
            None => groups.push((&resource.group, vec![&resource.version])),
        }
    }
    groups
}

/// `/api`
pub(crate) fn core_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `/apis`
pub(crate) fn group_list(registry: &Registry) -> Value {
    let named = groups(registry).into_iter().filter(|(group, _)| !group.is_empty());
    let groups: Vec<Value> = named.map(|(group, versions)| group_value(group, &versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/{group}`
pub(crate) fn group(registry: &Registry, name: &str) -> Option<Value> {
    let (group, versions) = groups(registry).into_iter().find(|(group, _)| !group.is_empty() && *group == name)?;
    let mut value = json!({"kind": "APIGroup", "apiVersion": "v1"});
    if let (Some(value), Value::Object(fields)) = (value.as_object_mut(), group_value(group, &versions)) {
        value.extend(fields);
    }
    Some(value)
}

fn group_value(group: &str, versions: &[&str]) -> Value {
    let version = |v: &&str| json!({"groupVersion": format!("{group}/{v}"), "version": v});
    json!({
        "name": group,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    })
}

/// `/api/v1`, `/apis/{group}/{version}`
pub(crate) fn resource_list(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    for resource in registry.resources().iter().filter(|r| r.group == group && r.version == version) {
        let namespaced = resource.scope == Scope::Namespaced;
        let mut value = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": namespaced,
            "kind": resource.kind,
            "verbs": verbs(resource),
        });
        if !resource.short_names.is_empty() {
            value["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            value["categories"] = json!(resource.categories);
        }
        if let Some(hash) = storage_version_hash(resource) {
            value["storageVersionHash"] = hash.into();
        }
        list.push(value);
        for subresource in &*resource.subresources {
            let below = below(resource, *subresource);
            let mut value = json!({
                "name": format!("{}/{}", resource.plural, below.name),
                "singularName": "",
                "namespaced": namespaced,
                "kind": below.kind,
                "verbs": below.verbs,
            });
            if (below.group, below.version) != (&*resource.group, &*resource.version) {
                value["group"] = below.group.into();
                value["version"] = below.version.into();
            }
            list.push(value);
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    if list.is_empty() {
        return None;
    }
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": list,
    }))
}
