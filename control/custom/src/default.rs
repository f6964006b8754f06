//! Defaults of a schema, filled into objects when they are written and when they are read.

use serde_json::{Map, Value};

use crate::structural::Structural;

/// Drops nulls where null is not allowed and no default stands in, then fills in defaults.
pub(crate) fn default(object: &mut Map<String, Value>, schema: &Structural) {
    prune_nulls(object, schema);
    fill(object, schema);
}

fn is_refused_null(value: &Value, schema: &Structural) -> bool {
    value.is_null() && !schema.nullable
}

fn fill(fields: &mut Map<String, Value>, schema: &Structural) {
    for (key, property) in &schema.properties {
        let Some(default) = &property.default else { continue };
        if fields.get(key).is_none_or(|value| is_refused_null(value, property)) {
            fields.insert(key.clone(), default.clone());
        }
    }
    for (key, value) in fields.iter_mut() {
        if let Some(child) = schema.child(key).0 {
            fill_one(value, child);
        }
    }
}

fn fill_one(value: &mut Value, schema: &Structural) {
    if is_refused_null(value, schema)
        && let Some(default) = &schema.default
    {
        *value = default.clone();
    }
    match value {
        Value::Object(fields) => fill(fields, schema),
        Value::Array(items) => {
            if let Some(schema) = schema.items.as_deref() {
                items.iter_mut().for_each(|item| fill_one(item, schema));
            }
        }
        _ => {}
    }
}

/// A null that is not allowed and that no default replaces is dropped.
fn prune_nulls(fields: &mut Map<String, Value>, schema: &Structural) {
    let mut gone = Vec::new();
    for (key, value) in fields.iter_mut() {
        let Some(child) = schema.child(key).0 else { continue };
        if is_refused_null(value, child) && child.default.is_none() {
            gone.push(key.clone());
        } else {
            prune_nulls_in(value, child);
        }
    }
    for key in gone {
        fields.shift_remove(&key);
    }
}

fn prune_nulls_in(value: &mut Value, schema: &Structural) {
    match value {
        Value::Object(fields) => prune_nulls(fields, schema),
        Value::Array(items) => {
            if let Some(schema) = schema.items.as_deref() {
                items.iter_mut().for_each(|item| prune_nulls_in(item, schema));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_fill_what_is_missing_or_null() {
        let schema = Structural::read(
            &json!({"type": "object", "properties": {"spec": {"type": "object", "default": {},
            "properties": {
                "a": {"type": "string", "default": "A"},
                "b": {"type": "string", "nullable": true, "default": "B"},
                "c": {"type": "string"},
                "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer", "default": 7}}}},
            }}}}),
        );
        let filled = |value: Value| {
            let Value::Object(mut fields) = value else { panic!("no object") };
            default(&mut fields, &schema);
            Value::Object(fields)
        };
        assert_eq!(filled(json!({})), json!({"spec": {"a": "A", "b": "B"}}));
        assert_eq!(
            filled(json!({"spec": {"a": null, "b": null, "c": null, "list": [{}, {"x": 1}]}})),
            json!({"spec": {"a": "A", "b": null, "list": [{"x": 7}, {"x": 1}]}})
        );
    }
}
