//! The schemas of types in the form of Kubernetes' OpenAPI v3 documents.

use serde_json::{Map, Value, json};

use crate::facts;

/// Where documents have their schemas.
pub(crate) const PREFIX: &str = "#/components/schemas/";

/// Types whose JSON is not what their schema could say, with what upstream's document has for them.
fn special(name: &str) -> Option<Value> {
    let last = name.strip_prefix("io.k8s.").and_then(|name| name.rsplit('.').next())?;
    match last {
        "Quantity" => Some(json!({"oneOf": [{"type": "string"}, {"type": "number"}]})),
        "IntOrString" => Some(json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})),
        "JSON" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray" => Some(json!({})),
        _ => None,
    }
}

/// Turns the schema that a type gives of itself into the document's.
pub(crate) fn normalize(name: &str, schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    if let Some(mut special) = special(name) {
        if let (Some(description), Some(special)) = (fields.remove("description"), special.as_object_mut()) {
            special.shift_insert(0, "description".to_owned(), description);
        }
        *schema = special;
        return;
    }
    fields.shift_remove("title");
    // The server fills metadata in where an object has none.
    let properties = fields.get("properties").and_then(Value::as_object);
    let object =
        properties.is_some_and(|p| ["apiVersion", "kind", "metadata"].iter().all(|name| p.contains_key(*name)));
    if object && let Some(Value::Array(required)) = fields.get_mut("required") {
        required.retain(|name| name != "metadata");
        if required.is_empty() {
            fields.shift_remove("required");
        }
    }
    facts::add(name, fields);
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        for schema in properties.values_mut() {
            part(schema);
        }
    }
    if let Some(rest) = fields.get_mut("additionalProperties") {
        part(rest);
    }
}

/// A reference says nothing but where to: what stands beside it goes around it.
fn part(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    if fields.len() > 1
        && let Some(path) = fields.shift_remove("$ref")
    {
        fields.insert("allOf".to_owned(), json!([{"$ref": path}]));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = fields.get_mut(inner) {
            part(schema);
        }
    }
}

/// The schema of a list of objects.
pub(crate) fn list(kind: &str, item: &str, meta: &str) -> Map<String, Value> {
    let text = |description: &str| json!({"description": description, "type": "string"});
    let schema = json!({
        "description": format!("{kind}List is a list of {kind} objects."),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text("The version of the schema that this list is in."),
            "items": {
                "description": format!("The objects, each a {kind}."),
                "type": "array",
                "items": {"$ref": format!("{PREFIX}{item}")},
            },
            "kind": text("The name of this list's type."),
            "metadata": {"description": "The list's own metadata.", "allOf": [{"$ref": format!("{PREFIX}{meta}")}]},
        },
    });
    match schema {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
/// Every name that a schema refers to.
pub(crate) fn references<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
    match schema {
        Value::Object(fields) => {
            // A property may be called `$ref`, and is an object then.
            if fields.get("$ref").is_some_and(Value::is_string) {
                found.extend(crate::read::reference(schema));
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}
