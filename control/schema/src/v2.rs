//! From the schemas of OpenAPI v3 to those of v2, which can say less.

use serde_json::{Map, Value, json};

use crate::read;

/// What v2 does not know, and what is left out of it as upstream does.
const DROPPED: [&str; 9] = ["anyOf", "default", "nullable", "not", "oneOf", "externalDocs", "example", "$schema", "id"];

/// The schemas of a v2 document.
#[must_use]
pub fn definitions(schemas: &Map<String, Value>) -> Map<String, Value> {
    schemas.iter().map(|(name, schema)| (name.clone(), definition(schema))).collect()
}

fn definition(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return json!({}) };
    if fields.get("format").is_some_and(|format| format == "int-or-string") {
        return described(fields, json!({"type": "string", "format": "int-or-string"}));
    }
    if fields.contains_key("oneOf") && !fields.contains_key("type") && !fields.contains_key("properties") {
        return described(fields, json!({"type": "string"}));
    }
    if let Some(name) = read::reference(schema) {
        let path = format!("#/definitions/{name}");
        return described(fields, json!({"$ref": path}));
    }
    let mut out = Map::new();
    for (name, value) in fields.iter().filter(|(name, _)| !DROPPED.contains(&name.as_str())) {
        let value = match (name.as_str(), value) {
            ("properties", Value::Object(properties)) => Value::Object(definitions(properties)),
            ("items", Value::Object(_)) | ("additionalProperties", Value::Object(_)) => definition(value),
            ("allOf", Value::Array(all)) => all.iter().map(definition).collect(),
            _ => value.clone(),
        };
        out.insert(name.clone(), value);
    }
    Value::Object(out)
}

/// A schema with the description and the extensions of another.
fn described(fields: &Map<String, Value>, mut schema: Value) -> Value {
    for (name, value) in fields {
        if name == "description" || name.starts_with("x-kubernetes-") {
            schema[name] = value.clone();
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v2_cannot_say_is_left_out() {
        let v3 = json!({"type": "object", "properties": {
            "a": {"description": "x", "allOf": [{"$ref": "#/components/schemas/B"}], "default": {}},
            "b": {"type": "array", "items": {"$ref": "#/components/schemas/B"}, "x-kubernetes-list-type": "atomic"},
            "c": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
            "default": {"type": "string", "default": "y"},
        }});
        let v2 = json!({"type": "object", "properties": {
            "a": {"$ref": "#/definitions/B", "description": "x"},
            "b": {"type": "array", "items": {"$ref": "#/definitions/B"}, "x-kubernetes-list-type": "atomic"},
            "c": {"type": "string", "format": "int-or-string"},
            "default": {"type": "string"},
        }});
        assert_eq!(definition(&v3), v2);
    }
}
