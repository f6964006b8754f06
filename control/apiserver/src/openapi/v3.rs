//! OpenAPI v3: a document for each group version.

use serde_json::{Map, Value, json};
use skep_registry::Registry;
use skep_schema::Definitions;

use super::operation::{self, Operation, PathItem};
use crate::other::GIT_VERSION;

/// One group version's document.
pub(super) fn document(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut definitions = Definitions::new();
    let items = operation::paths(registry, group, version, &mut definitions);
    if items.is_empty() {
        return None;
    }
    let paths: Map<String, Value> = items.iter().map(|item| (item.path.clone(), path_item(item))).collect();
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": GIT_VERSION},
        "paths": paths,
        "components": {"schemas": definitions.schemas()},
    }))
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn parameter(name: &str, place: &str) -> Value {
    let kind = if place == "path" { "string" } else { operation::parameter_type(name) };
    let mut value = json!({"name": name, "in": place, "schema": {"type": kind, "uniqueItems": true}});
    if place == "path" {
        value["required"] = true.into();
    }
    value
}

fn path_item(item: &PathItem) -> Value {
    let mut value = Map::new();
    for operation in &item.operations {
        value.insert(operation.method.to_owned(), described(operation));
    }
    let mut parameters: Vec<Value> = item.names.iter().map(|name| parameter(name, "path")).collect();
    parameters.push(parameter("pretty", "query"));
    value.insert("parameters".to_owned(), parameters.into());
    Value::Object(value)
}

fn described(operation: &Operation) -> Value {
    let content = |types: &[&str], schema: &Value| -> Map<String, Value> {
        types.iter().map(|kind| ((*kind).to_owned(), json!({"schema": schema}))).collect()
    };
    let mut responses = Map::new();
    for code in operation.codes {
        let mut response = json!({"description": super::meaning(*code)});
        if *code < 300 {
            response["content"] = match &operation.answer {
                Some(name) => content(&["application/json", "application/yaml"], &reference(name)).into(),
                None => content(&["*/*"], &json!({"type": "string"})).into(),
            };
        }
        responses.insert(code.to_string(), response);
    }
    let parameters: Vec<Value> = operation.parameters.iter().map(|name| parameter(name, "query")).collect();
    let mut value = json!({
        "tags": [operation.tag],
        "operationId": operation.id,
        "parameters": parameters,
        "responses": responses,
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": operation.gvk,
    });
    if let Some((types, schema)) = &operation.body {
        // Other bodies may be written in whatever the server reads.
        let types = if operation.action == "patch" { types } else { &["*/*"][..] };
        value["requestBody"] = json!({"content": content(types, &reference(schema))});
        if operation.action != "delete" && operation.action != "deletecollection" {
            value["requestBody"]["required"] = true.into();
        }
    }
    value
}
