//! Pruning: fields that the schema does not have are dropped, and named.

use serde_json::{Map, Value};

use crate::structural::{Additional, Structural};

/// Handled as metadata of an object, not by its schema.
const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Drops what the schema of a whole object does not have. Returns the paths of what was dropped, in order.
pub(crate) fn prune(object: &mut Map<String, Value>, schema: &Structural) -> Vec<String> {
    let mut walk = Walk { path: Vec::new(), dropped: Vec::new() };
    walk.fields(object, Some(schema), true, schema.preserve);
    walk.dropped.sort();
    walk.dropped
}

/// Drops what a schema does not have from a value below an object.
pub(crate) fn prune_value(value: &mut Value, schema: &Structural) {
    Walk { path: Vec::new(), dropped: Vec::new() }.value(value, Some(schema), false);
}

struct Walk {
    path: Vec<String>,
    dropped: Vec<String>,
}

impl Walk {
    /// `preserving`: whether unknown fields of the surrounding schema, which this value is no part of, are kept.
    fn value(&mut self, value: &mut Value, schema: Option<&Structural>, preserving: bool) {
        let preserving = preserving || schema.is_some_and(|s| s.preserve);
        match value {
            Value::Object(fields) => {
                self.fields(fields, schema, schema.is_some_and(|s| s.embedded), preserving);
            }
            Value::Array(items) => {
                let item_schema = schema.and_then(|s| s.items.as_deref());
                if item_schema.is_none() && preserving {
                    return;
                }
                for (i, item) in items.iter_mut().enumerate() {
                    self.path.push(format!("[{i}]"));
                    self.value(item, item_schema, preserving);
                    self.path.pop();
                }
            }
            _ => {}
        }
    }

    fn fields(&mut self, fields: &mut Map<String, Value>, schema: Option<&Structural>, root: bool, preserving: bool) {
        let none = Structural::default();
        let schema = schema.unwrap_or(&none);
        let mut gone = Vec::new();
        for (key, value) in fields.iter_mut() {
            if root && META.contains(&key.as_str()) {
                continue;
            }
            self.path.push(key.clone());
            match (schema.properties.get(key), &schema.additional) {
                (Some(child), _) => self.value(value, Some(child), false),
                (None, Some(Additional::Fit(child))) => self.value(value, Some(child), false),
                (None, _) if preserving => {}
                (None, Some(Additional::Any(_))) => self.value(value, None, false),
                (None, None) => {
                    self.dropped.push(self.text());
                    gone.push(key.clone());
                }
            }
            self.path.pop();
        }
        for key in gone {
            fields.shift_remove(&key);
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for part in &self.path {
            if !text.is_empty() && !part.starts_with('[') {
                text.push('.');
            }
            text.push_str(part);
        }
        text
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pruned(schema: Value, object: Value) -> (Value, Vec<String>) {
        let Value::Object(mut fields) = object else { panic!("no object") };
        let dropped = prune(&mut fields, &Structural::read(&schema));
        (Value::Object(fields), dropped)
    }

    #[test]
    fn what_is_not_in_the_schema_goes() {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "a": {"type": "string"},
                "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"y": {}}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"known": {"type": "object"}}},
            }},
        }});
        let object = json!({"apiVersion": "v1", "kind": "K", "metadata": {"odd": 1}, "other": 1, "spec": {
            "a": "b", "b": 1, "list": [{"x": 1, "z": 2}], "map": {"k": {"y": 1, "z": 2}},
            "free": {"any": {"thing": 1}, "known": {"gone": 1}},
        }});
        let (object, dropped) = pruned(schema, object);
        assert_eq!(
            object,
            json!({"apiVersion": "v1", "kind": "K", "metadata": {"odd": 1}, "spec": {
                "a": "b", "list": [{"x": 1}], "map": {"k": {"y": 1}}, "free": {"any": {"thing": 1}, "known": {}},
            }})
        );
        assert_eq!(dropped, ["other", "spec.b", "spec.free.known.gone", "spec.list[0].z", "spec.map.k.z"]);
    }

    #[test]
    fn a_root_that_preserves_keeps_all() {
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let object = json!({"a": {"b": [{"c": 1}]}});
        assert_eq!(pruned(schema, object.clone()), (object, Vec::new()));
    }
}
