//! Whether a schema is structural: what says how values look stands outside of what only restricts them.

use serde_json::{Value, json};
use skep_registry::{Errors, Path};

use crate::structural::{Additional, Structural};

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Adds what keeps a schema from being structural; `raw` is the schema as it is written.
pub(super) fn validate(errors: &mut Errors, path: &Path<'_>, schema: &Structural, raw: &Value) {
    invariants(errors, path, schema, raw, Level::Root);
    complete(errors, path, path, schema, schema);
}

fn invariants(errors: &mut Errors, path: &Path<'_>, schema: &Structural, raw: &Value, level: Level) {
    if schema.kind == "array" && schema.items.is_none() {
        errors.required(&path.child("items"), "must be specified");
    }
    if let (Some(items), Some(raw)) = (&schema.items, raw.get("items")) {
        invariants(errors, &path.child("items"), items, raw, Level::Item);
    }
    let properties = path.child("properties");
    for (key, child) in &schema.properties {
        let raw = raw.get("properties").and_then(|properties| properties.get(key)).unwrap_or(&Value::Null);
        let place = properties.key(key);
        // At the root the metadata is looked at below.
        invariants(errors, &place, child, raw, Level::Field);
    }
    if schema.additional.is_some() && level == Level::Root {
        errors.forbidden(&path.child("additionalProperties"), "must not be used at the root");
    }
    if let (Some(Additional::Fit(child)), Some(raw)) = (&schema.additional, raw.get("additionalProperties")) {
        invariants(errors, &path.child("additionalProperties"), child, raw, Level::Field);
    }
    extensions(errors, path, schema);
    values(errors, path, raw);
    types(errors, path, schema, level);
    let whole = level == Level::Root || schema.embedded;
    for key in ["kind", "apiVersion"] {
        if whole && let Some(child) = schema.properties.get(key).filter(|child| child.kind != "string") {
            errors.invalid(&properties.key(key).child("type"), child.kind.as_str(), "must be string");
        }
    }
    if whole && let Some(meta) = schema.properties.get("metadata") {
        let at = properties.key("metadata");
        if meta.kind != "object" {
            errors.invalid(&at.child("type"), meta.kind.as_str(), "must be object");
        }
        let raw = raw.pointer("/properties/metadata").and_then(Value::as_object);
        let plain =
            raw.into_iter().flatten().all(|(key, _)| matches!(key.as_str(), "type" | "properties" | "description"));
        let names = meta.properties.keys().all(|key| key == "name" || key == "generateName");
        if level == Level::Root && !(plain && names) {
            let detail =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.forbidden(&at, detail);
        }
    }
}

fn types(errors: &mut Errors, path: &Path<'_>, schema: &Structural, level: Level) {
    let at = path.child("type");
    if schema.embedded && schema.kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        match schema.kind.as_str() {
            "" => errors.required(&at, detail),
            other => errors.invalid(&at, other, detail),
        }
    } else if schema.kind.is_empty() && !schema.int_or_string && !schema.preserve {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.required(&at, detail);
    }
    if schema.embedded && schema.additional.is_some() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.forbidden(&path.child("additionalProperties"), detail);
    }
    if level == Level::Root && !schema.kind.is_empty() && schema.kind != "object" {
        errors.invalid(&at, schema.kind.as_str(), "must be object at the root");
    }
    if schema.embedded && !schema.preserve && schema.properties.is_empty() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                      x-kubernetes-preserve-unknown-fields";
        errors.required(&path.child("properties"), detail);
    }
}

fn extensions(errors: &mut Errors, path: &Path<'_>, schema: &Structural) {
    if !schema.int_or_string {
        return;
    }
    for (key, set) in
        [("x-kubernetes-preserve-unknown-fields", schema.preserve), ("x-kubernetes-embedded-resource", schema.embedded)]
    {
        if set {
            errors.invalid(&path.child(key), true, "must be false if x-kubernetes-int-or-string is true");
        }
    }
}

/// What restricts values, and may say nothing of how they look.
fn values(errors: &mut Errors, path: &Path<'_>, raw: &Value) {
    let int_or_string = json!([{"type": "integer"}, {"type": "string"}]);
    for key in ["anyOf", "allOf", "oneOf"] {
        // The two ways in which an int-or-string may say so.
        if key == "anyOf" && raw.get(key) == Some(&int_or_string) {
            continue;
        }
        let list = path.child(key);
        for (i, nested) in raw.get(key).and_then(Value::as_array).into_iter().flatten().enumerate() {
            let skip = key == "allOf" && i == 0 && nested.get("anyOf") == Some(&int_or_string);
            self::nested(errors, &list.index(i), nested, skip);
        }
    }
    if let Some(not) = raw.get("not") {
        nested(errors, &path.child("not"), not, false);
    }
    if let Some(pattern) = raw.get("pattern").and_then(Value::as_str)
        && let Err(error) = regex::Regex::new(pattern)
    {
        let why = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let detail = format!("must be a valid regular expression, but isn't: {why}");
        errors.invalid(&path.child("pattern"), pattern, &detail);
    }
}

fn nested(errors: &mut Errors, path: &Path<'_>, raw: &Value, skip_any_of: bool) {
    if skip_any_of {
        let mut rest = raw.clone();
        if let Some(rest) = rest.as_object_mut() {
            rest.shift_remove("anyOf");
        }
        values(errors, path, &rest);
    } else {
        values(errors, path, raw);
    }
    if let Some(items) = raw.get("items") {
        nested(errors, &path.child("items"), items, false);
    }
    let properties = path.child("properties");
    for (key, child) in raw.get("properties").and_then(Value::as_object).into_iter().flatten() {
        nested(errors, &properties.key(key), child, false);
        if key == "metadata" {
            errors.forbidden(&properties.key(key), "must not be specified in a nested context");
        }
    }
    let forbidden = [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ];
    for (key, detail) in forbidden {
        if raw.get(key).is_some_and(|value| *value != Value::Bool(false) || key == "additionalProperties") {
            errors.forbidden(&path.child(key), detail);
        }
    }
}

/// Every field that is restricted must be specified. `structure` and its path say where it would have to be.
fn complete(errors: &mut Errors, path: &Path<'_>, at: &Path<'_>, structure: &Structural, values: &Structural) {
    let checks = &values.checks;
    for (key, list) in [("allOf", &checks.all_of), ("anyOf", &checks.any_of), ("oneOf", &checks.one_of)] {
        let place = at.child(key);
        for (i, nested) in list.iter().enumerate() {
            complete_nested(errors, path, &place.index(i), Some(structure), nested);
        }
    }
    if let Some(not) = &checks.not {
        complete_nested(errors, path, &at.child("not"), Some(structure), not);
    }
}

fn complete_nested(
    errors: &mut Errors,
    path: &Path<'_>,
    at: &Path<'_>,
    structure: Option<&Structural>,
    nested: &Structural,
) {
    let Some(structure) = structure else {
        return errors.required(path, &format!("because it is defined in {at}"));
    };
    complete(errors, path, at, structure, nested);
    if let Some(items) = &nested.items {
        complete_nested(errors, &path.child("items"), &at.child("items"), structure.items.as_deref(), items);
    }
    let (properties, places) = (path.child("properties"), at.child("properties"));
    for (key, child) in &nested.properties {
        let (path, at) = (properties.key(key), places.key(key));
        complete_nested(errors, &path, &at, structure.properties.get(key), child);
    }
}
