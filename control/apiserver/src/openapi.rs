//! OpenAPI v3, made from the registry.
//!
//! Clients read from it which operations and query parameters there are (`kubectl` looks for `fieldValidation`). The
//! schemas say no more than the kind: strategic merge patch is left out of the patch types on purpose, since a client
//! would otherwise look for merge keys here instead of in the types that it has.

use serde_json::{Map, Value, json};
use skep_registry::{Registry, Resource, Scope};

use crate::discovery;
use crate::object::api_version;

/// `/openapi/v3`: where the documents are.
pub(crate) fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for (group, versions) in discovery::groups(registry) {
        for version in versions {
            let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            // The hash tells clients when to read anew: it changes with the server's version.
            let url = json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={}", env!("CARGO_PKG_VERSION"))});
            paths.insert(path, url);
        }
    }
    json!({"paths": paths})
}

/// One group version's document.
pub(crate) fn document(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for resource in registry.resources().iter().filter(|r| r.group == group && r.version == version) {
        schemas.insert(schema_name(resource), schema(resource));
        let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let collection = match resource.scope {
            Scope::Namespaced => format!("{root}/namespaces/{{namespace}}/{}", resource.plural),
            Scope::Cluster => format!("{root}/{}", resource.plural),
        };
        paths.insert(format!("{collection}/{{name}}"), one(resource));
        paths.insert(collection, many(resource));
    }
    if paths.is_empty() {
        return None;
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": crate::other::GIT_VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

fn schema_name(resource: &Resource) -> String {
    let group = if resource.group.is_empty() { "core" } else { &*resource.group };
    let group = group.trim_end_matches(".k8s.io");
    format!("io.k8s.api.{group}.{}.{}", resource.version, resource.kind)
}

fn kind(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

fn schema(resource: &Resource) -> Value {
    json!({
        "type": "object",
        "description": format!("{} in {}", resource.kind, api_version(resource)),
        "x-kubernetes-group-version-kind": [kind(resource)],
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

fn many(resource: &Resource) -> Value {
    let list = [
        "allowWatchBookmarks",
        "continue",
        "fieldSelector",
        "labelSelector",
        "limit",
        "resourceVersion",
        "resourceVersionMatch",
        "sendInitialEvents",
        "timeoutSeconds",
        "watch",
    ];
    let delete = [
        "continue",
        "dryRun",
        "fieldSelector",
        "gracePeriodSeconds",
        "labelSelector",
        "limit",
        "orphanDependents",
        "propagationPolicy",
    ];
    json!({
        "get": operation(resource, "list", &list, &[]),
        "post": operation(resource, "post", &["dryRun", "fieldManager", "fieldValidation"], &["*/*"]),
        "delete": operation(resource, "deletecollection", &delete, &["*/*"]),
        "parameters": path_parameters(resource, false),
    })
}

fn one(resource: &Resource) -> Value {
    let write = ["dryRun", "fieldManager", "fieldValidation"];
    let delete = ["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"];
    let patches = ["application/json-patch+json", "application/merge-patch+json"];
    json!({
        "get": operation(resource, "get", &[], &[]),
        "put": operation(resource, "put", &write, &["*/*"]),
        "patch": operation(resource, "patch", &write, &patches),
        "delete": operation(resource, "delete", &delete, &["*/*"]),
        "parameters": path_parameters(resource, true),
    })
}

fn operation(resource: &Resource, action: &str, parameters: &[&str], bodies: &[&str]) -> Value {
    let reference = json!({"$ref": format!("#/components/schemas/{}", schema_name(resource))});
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|name| {
            let kind = match *name {
                "allowWatchBookmarks" | "orphanDependents" | "sendInitialEvents" | "watch" => "boolean",
                "gracePeriodSeconds" | "limit" | "timeoutSeconds" => "integer",
                _ => "string",
            };
            json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
        })
        .collect();
    let mut operation = json!({
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": kind(resource),
    });
    if !bodies.is_empty() {
        let content: Map<String, Value> =
            bodies.iter().map(|body| ((*body).to_owned(), json!({"schema": {"type": "object"}}))).collect();
        operation["requestBody"] = json!({"content": content});
    }
    operation
}

fn path_parameters(resource: &Resource, named: bool) -> Vec<Value> {
    let parameter = |name: &str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}});
    let mut parameters = Vec::new();
    if named {
        parameters.push(parameter("name"));
    }
    if resource.scope == Scope::Namespaced {
        parameters.push(parameter("namespace"));
    }
    parameters
}
