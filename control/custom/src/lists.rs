//! Uniqueness in lists that are sets or maps.

use std::collections::HashMap;

use serde_json::{Map, Value};
use skep_registry::{FieldError, FieldErrorKind};

use crate::structural::Structural;
use crate::validate::join;

/// Items that stand twice in a set, or share the keys of a map, in an object.
pub(crate) fn validate(object: &Map<String, Value>, schema: &Structural) -> Vec<FieldError> {
    let mut found = Vec::new();
    fields(&mut found, object, schema, "");
    found
}

fn fields(found: &mut Vec<FieldError>, fields: &Map<String, Value>, schema: &Structural, path: &str) {
    for (key, value) in fields {
        let place = match schema.properties.contains_key(key) {
            true => join(path, key),
            false => format!("{path}[{key}]"),
        };
        if let Some(child) = schema.child(key).0 {
            one(found, value, child, &place);
        }
    }
}

fn one(found: &mut Vec<FieldError>, value: &Value, schema: &Structural, path: &str) {
    match value {
        Value::Object(children) => fields(found, children, schema, path),
        Value::Array(items) => {
            match schema.list_type.as_deref() {
                Some("set") => duplicates(found, items.iter().cloned(), path),
                Some("map") => keyed(found, items, schema, path),
                _ => {}
            }
            if let Some(schema) = schema.items.as_deref() {
                for (i, item) in items.iter().enumerate() {
                    one(found, item, schema, &format!("{path}[{i}]"));
                }
            }
        }
        _ => {}
    }
}

fn keyed(found: &mut Vec<FieldError>, items: &[Value], schema: &Structural, path: &str) {
    if let Some((i, item)) = items.iter().enumerate().find(|(_, item)| !item.is_null() && !item.is_object()) {
        let message = format!("Invalid value: {item}: must be an object for an array of list-type map");
        found.push(FieldError { kind: FieldErrorKind::Invalid, field: format!("{path}[{i}]"), message });
        return;
    }
    let key = |item: &Value| -> Value {
        let keys = schema.list_keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
        Value::Object(keys.collect())
    };
    duplicates(found, items.iter().map(key), path);
}

/// Names the second of what stands several times, once.
fn duplicates(found: &mut Vec<FieldError>, items: impl Iterator<Item = Value>, path: &str) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (i, item) in items.enumerate() {
        let text = sorted(&item).to_string();
        let times = seen.entry(text).or_default();
        *times += 1;
        if *times == 2 {
            let message = format!("Duplicate value: {}", sorted(&item));
            found.push(FieldError { kind: FieldErrorKind::Duplicate, field: format!("{path}[{i}]"), message });
        }
    }
}

/// The value with its keys in order, as upstream writes it.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut pairs: Vec<(&String, &Value)> = fields.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            Value::Object(pairs.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_second_of_two_is_named() {
        let schema = Structural::read(&json!({"type": "object", "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "l"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "l": {"type": "string"}}}},
        }}));
        let object = json!({"set": ["a", "b", "a", "a"], "map": [{"l": "m", "k": "x"}, {"k": "x"}, {"k": "x", "l": "m", "v": 1}]});
        let errors = validate(object.as_object().unwrap(), &schema);
        let texts: Vec<String> = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        assert_eq!(texts, ["set[2]: Duplicate value: \"a\"", "map[2]: Duplicate value: {\"k\":\"x\",\"l\":\"m\"}"]);
    }
}
