//! Discovery in one document: `apidiscovery.k8s.io/v2`.

use serde_json::{Value, json};
use skep_registry::{Registry, Resource, Scope};

use super::{below, groups, verbs};

/// Of `/api` if `core`, else of `/apis`.
pub(crate) fn aggregated(registry: &Registry, core: bool) -> Value {
    let items: Vec<Value> = groups(registry)
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            let versions: Vec<Value> = versions.iter().map(|version| group_version(registry, group, version)).collect();
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn group_version(registry: &Registry, group: &str, version: &str) -> Value {
    let of = registry.resources().iter().filter(|r| r.group == group && r.version == version);
    let resources: Vec<Value> = of.map(|resource| resource_value(resource)).collect();
    json!({"version": version, "freshness": "Current", "resources": resources})
}

fn kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

fn resource_value(resource: &Resource) -> Value {
    let below: Vec<Value> = resource
        .subresources
        .iter()
        .map(|subresource| {
            let below = below(resource, *subresource);
            json!({
                "subresource": below.name,
                "responseKind": kind(below.group, below.version, below.kind),
                "verbs": below.verbs,
            })
        })
        .collect();
    let scope = match resource.scope {
        Scope::Namespaced => "Namespaced",
        Scope::Cluster => "Cluster",
    };
    let mut value = json!({
        "resource": resource.plural,
        "responseKind": kind(&resource.group, &resource.version, &resource.kind),
        "scope": scope,
        "singularResource": resource.singular,
        "verbs": verbs(resource),
    });
    if !resource.short_names.is_empty() {
        value["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        value["categories"] = json!(resource.categories);
    }
    if !below.is_empty() {
        value["subresources"] = json!(below);
    }
    value
}
