//! OpenAPI v2: one document for all.

use serde_json::{Map, Value, json};
use skep_registry::Registry;
use skep_schema::Definitions;

use super::operation::{self, Operation, PathItem};
use crate::discovery;
use crate::other::GIT_VERSION;

pub(super) fn document(registry: &Registry) -> Value {
    let mut definitions = Definitions::new();
    let mut paths = Map::new();
    for (group, versions) in discovery::groups(registry) {
        for version in versions {
            let items = operation::paths(registry, group, version, &mut definitions);
            paths.extend(items.into_iter().map(|item| (item.path.clone(), path_item(&item))));
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": GIT_VERSION},
        "paths": paths,
        "definitions": skep_schema::v2_definitions(&definitions.schemas()),
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/definitions/{name}")})
}

fn path_item(item: &PathItem) -> Value {
    let mut value = Map::new();
    for operation in &item.operations {
        value.insert(operation.method.to_owned(), described(operation));
    }
    let mut parameters: Vec<Value> = item
        .names
        .iter()
        .map(|name| json!({"name": name, "in": "path", "required": true, "type": "string", "uniqueItems": true}))
        .collect();
    parameters.push(query("pretty"));
    value.insert("parameters".to_owned(), parameters.into());
    Value::Object(value)
}

fn query(name: &str) -> Value {
    json!({"name": name, "in": "query", "type": operation::parameter_type(name), "uniqueItems": true})
}

fn described(operation: &Operation) -> Value {
    let mut parameters: Vec<Value> = Vec::new();
    if let Some((_, schema)) = &operation.body {
        let required = operation.action != "delete" && operation.action != "deletecollection";
        parameters.push(json!({"name": "body", "in": "body", "required": required, "schema": reference(schema)}));
    }
    parameters.extend(operation.parameters.iter().map(|name| query(name)));
    let mut responses = Map::new();
    for code in operation.codes {
        let mut response = json!({"description": super::meaning(*code)});
        if *code < 300 {
            response["schema"] = operation.answer.as_deref().map_or_else(|| json!({"type": "string"}), reference);
        }
        responses.insert(code.to_string(), response);
    }
    let consumes: &[&str] = match &operation.body {
        Some((types, _)) if operation.action == "patch" => types,
        _ => &["*/*"],
    };
    json!({
        "tags": [operation.tag],
        "operationId": operation.id,
        "consumes": consumes,
        "produces": ["application/json", "application/yaml"],
        "schemes": ["https"],
        "parameters": parameters,
        "responses": responses,
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": operation.gvk,
    })
}
