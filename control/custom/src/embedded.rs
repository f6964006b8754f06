//! Objects within objects: fields that are whole resources (`x-kubernetes-embedded-resource`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};
use skep_registry::{FieldError, FieldErrorKind};

use crate::structural::Structural;
use crate::validate::join;

/// Drops what is no metadata from the metadata of embedded objects. Returns the paths of what was dropped.
pub(crate) fn coerce(fields: &mut Map<String, Value>, schema: &Structural) -> Vec<String> {
    let mut dropped = Vec::new();
    coerce_fields(&mut dropped, fields, schema, "");
    dropped
}

fn coerce_fields(dropped: &mut Vec<String>, fields: &mut Map<String, Value>, schema: &Structural, path: &str) {
    for (key, value) in fields.iter_mut() {
        if let Some(child) = schema.child(key).0 {
            coerce_value(dropped, value, child, &join(path, key));
        }
    }
}

fn coerce_value(dropped: &mut Vec<String>, value: &mut Value, schema: &Structural, path: &str) {
    match value {
        Value::Object(fields) => {
            if schema.embedded
                && let Some(meta) = fields.get_mut("metadata")
                && let Ok((known, unknown)) = skep_registry::decode::<ObjectMeta>(meta.clone())
            {
                *meta = serde_json::to_value(known).unwrap_or_default();
                dropped.extend(unknown.iter().map(|field| format!("{path}.metadata.{field}")));
            }
            coerce_fields(dropped, fields, schema, path);
        }
        Value::Array(items) => {
            let Some(schema) = schema.items.as_deref() else { return };
            for (i, item) in items.iter_mut().enumerate() {
                coerce_value(dropped, item, schema, &format!("{path}[{i}]"));
            }
        }
        _ => {}
    }
}

/// What is wrong with the types and metadata of embedded objects.
pub(crate) fn validate(value: &Value, schema: &Structural) -> Vec<FieldError> {
    let mut found = Vec::new();
    walk(&mut found, value, schema, "");
    found
}

fn walk(found: &mut Vec<FieldError>, value: &Value, schema: &Structural, path: &str) {
    match value {
        Value::Object(fields) => {
            if schema.embedded {
                check(found, fields, path);
            }
            for (key, value) in fields {
                if let Some(child) = schema.child(key).0 {
                    walk(found, value, child, &join(path, key));
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.items.as_deref() else { return };
            for (i, item) in items.iter().enumerate() {
                walk(found, item, schema, &format!("{path}[{i}]"));
            }
        }
        _ => {}
    }
}

fn check(found: &mut Vec<FieldError>, fields: &Map<String, Value>, path: &str) {
    let mut push = |kind, key: &str, message: String| {
        found.push(FieldError { kind, field: join(path, key), message });
    };
    for key in ["apiVersion", "kind"] {
        match fields.get(key) {
            Some(Value::String(text)) if !text.is_empty() => {}
            _ => push(FieldErrorKind::Required, key, "Required value: must not be empty".to_owned()),
        }
    }
    if let Some(meta) = fields.get("metadata")
        && let Err(error) = skep_registry::decode::<ObjectMeta>(meta.clone())
    {
        push(FieldErrorKind::Invalid, "metadata", format!("Invalid value: {meta}: {error}"));
    }
}
