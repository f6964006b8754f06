//! Validation of a version's schema: which keywords it may have, and whether its defaults and rules hold.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as api;
use serde_json::{Map, Value};
use skep_registry::{Errors, Path};

use super::structure;
use crate::rule;
use crate::structural::Structural;
use crate::{default, lists, prune, validate};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const META: [&str; 3] = ["metadata", "kind", "apiVersion"];
/// Keywords at the root beside which the status can be validated by itself; upstream names them as its type has them.
const ROOT: [(&str, &str); 22] = [
    ("description", "Description"),
    ("type", "Type"),
    ("format", "Format"),
    ("title", "Title"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("required", "Required"),
    ("items", "Items"),
    ("properties", "Properties"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields"),
    ("x-kubernetes-validations", "XValidations"),
];

/// Adds what is wrong with a schema. `status`: whether the status is a subresource.
pub(super) fn validate(
    errors: &mut Errors,
    path: &Path<'_>,
    schema: Option<&api::CustomResourceValidation>,
    status: bool,
) {
    let Some(schema) = schema.and_then(|schema| schema.open_api_v3_schema.as_ref()) else { return };
    let raw = serde_json::to_value(schema).unwrap_or_default();
    let Some(fields) = raw.as_object() else { return };
    let before = errors.len();
    if status {
        root(errors, path, fields);
    }
    if fields.get("nullable") == Some(&Value::Bool(true)) {
        errors.forbidden(&path.child("openAPIV3Schema.nullable"), "nullable cannot be true at the root");
    }
    let path = path.child("openAPIV3Schema");
    let structural = Structural::read(&raw);
    structure::validate(errors, &path, &structural, &raw);
    if errors.len() == before {
        defaults(errors, &path, &structural, true);
    }
    let sound = errors.len() == before;
    let walk = Walk { forbidden_default: None, in_meta: false, uncorrelatable: None, root: true };
    walk.check(errors, &path, fields);
    if sound && errors.len() == before {
        rule::check_schema(errors, &path, &structural);
    }
}

/// Only some keywords leave the status to be validated by itself.
fn root(errors: &mut Errors, path: &Path<'_>, fields: &Map<String, Value>) {
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    if !kind.is_empty() && kind != "object" {
        let detail =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.invalid(&path.child("openAPIV3Schema.type"), kind, detail);
    }
    if fields.keys().any(|key| !ROOT.iter().any(|(known, _)| known == key)) {
        let names: Vec<&str> = ROOT.iter().map(|(_, name)| *name).collect();
        let detail = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            names.join(" ")
        );
        errors.invalid(&path.child("openAPIV3Schema"), Value::Object(fields.clone()), &detail);
    }
}

/// What of the surroundings of a schema matters to it.
#[derive(Clone, Copy)]
struct Walk<'a> {
    /// Why there may be no default here.
    forbidden_default: Option<&'a str>,
    in_meta: bool,
    /// The first place above within which old and new values cannot be told to be the same.
    uncorrelatable: Option<&'a str>,
    root: bool,
}

impl Walk<'_> {
    fn check(self, errors: &mut Errors, path: &Path<'_>, fields: &Map<String, Value>) {
        self.keywords(errors, path, fields);
        let text = |key: &str| fields.get(key).and_then(Value::as_str);
        let inner = Walk { root: false, ..self };
        if let Some(additional) = fields.get("additionalProperties") {
            let properties = fields.get("properties").and_then(Value::as_object);
            if properties.is_some_and(|properties| !properties.is_empty()) && *additional != Value::Bool(true) {
                let detail = "additionalProperties and properties are mutual exclusive";
                errors.forbidden(&path.child("additionalProperties"), detail);
            }
            let walk = match self.in_meta {
                true => {
                    Walk { forbidden_default: Some("inside additionalProperties applying to object metadata"), ..inner }
                }
                false => inner,
            };
            if let Some(schema) = additional.as_object() {
                walk.check(errors, &path.child("additionalProperties"), schema);
            }
        }
        let embedded = fields.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true));
        let properties = path.child("properties");
        let here = path.to_string();
        for (key, schema) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let Some(schema) = schema.as_object() else { continue };
            let why = format!("in top-level {key}");
            let mut walk = inner;
            if text("x-kubernetes-map-type") == Some("atomic") {
                walk.uncorrelatable = walk.uncorrelatable.or(Some(&here));
            }
            if (self.root || embedded) && META.contains(&key.as_str()) {
                walk.in_meta = true;
                if self.root {
                    walk.forbidden_default = Some(&why);
                }
            }
            walk.check(errors, &properties.key(key), schema);
        }
        if let Some(schema) = fields.get("not").and_then(Value::as_object) {
            inner.check(errors, &path.child("not"), schema);
        }
        for key in ["allOf", "oneOf", "anyOf"] {
            let list = path.child(key);
            for (i, schema) in fields.get(key).and_then(Value::as_array).into_iter().flatten().enumerate() {
                if let Some(schema) = schema.as_object() {
                    inner.check(errors, &list.index(i), schema);
                }
            }
        }
        if let Some(schema) = fields.get("items").and_then(Value::as_object) {
            let mut walk = inner;
            if text("x-kubernetes-list-type") != Some("map") {
                walk.uncorrelatable = walk.uncorrelatable.or(Some(&here));
            }
            walk.check(errors, &path.child("items"), schema);
        }
        list_and_map_types(errors, path, fields);
        self.rules(errors, path, fields);
    }

    fn keywords(self, errors: &mut Errors, path: &Path<'_>, fields: &Map<String, Value>) {
        match fields.get("type").and_then(Value::as_str) {
            None | Some("") => {}
            Some(kind) if TYPES.contains(&kind) => {}
            Some(kind) => {
                errors.not_supported(&path.child("type"), kind, &TYPES);
                if kind == "null" {
                    let detail = "type cannot be set to null, use nullable as an alternative";
                    errors.forbidden(&path.child("type"), detail);
                }
            }
        }
        if fields.contains_key("default")
            && let Some(why) = self.forbidden_default
        {
            errors.forbidden(&path.child("default"), &format!("must not be set {why}"));
        }
        for key in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
            if fields.contains_key(key) {
                errors.forbidden(&path.child(key), &format!("{key} is not supported"));
            }
        }
        if fields.get("items").is_some_and(Value::is_array) {
            errors.forbidden(&path.child("items"), "items must be a schema object and not an array");
        }
        if self.in_meta && fields.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true)) {
            errors.forbidden(&path.child("x-kubernetes-embedded-resource"), "must not be used inside of resource meta");
        }
        if fields.get("uniqueItems") == Some(&Value::Bool(true)) {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            errors.forbidden(&path.child("uniqueItems"), detail);
        }
        if fields.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
            let path = path.child("x-kubernetes-preserve-unknown-fields");
            errors.invalid(&path, false, "must be true or undefined");
        }
    }

    fn rules(self, errors: &mut Errors, path: &Path<'_>, fields: &Map<String, Value>) {
        let rules = fields.get("x-kubernetes-validations").and_then(Value::as_array);
        let list = path.child("x-kubernetes-validations");
        for (i, rule) in rules.into_iter().flatten().enumerate() {
            let at = list.index(i);
            let text = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or_default();
            let (said, message) = (text("rule"), text("message"));
            let lines = |text: &str| text.contains(['\n', '\r']);
            if said.trim().is_empty() {
                errors.required(&at.child("rule"), "rule is not specified");
            } else if !message.is_empty() && message.trim().is_empty() {
                errors.invalid(&at.child("message"), message, "must be non-empty if specified");
            } else if lines(message.trim()) {
                errors.invalid(&at.child("message"), message, "must not contain line breaks");
            } else if lines(said.trim()) && message.trim().is_empty() {
                errors.required(&at.child("message"), "message must be specified if rule contains line breaks");
            }
            let expression = text("messageExpression");
            if !expression.is_empty() && expression.trim().is_empty() {
                errors.required(&at.child("messageExpression"), "messageExpression must be non-empty if specified");
            }
            if let Some(reason) = rule.get("reason").and_then(Value::as_str)
                && !rule::REASONS.contains(&reason)
            {
                errors.not_supported(&at.child("reason"), reason, &rule::REASONS);
            }
            let field = text("fieldPath");
            if !field.is_empty() {
                if field.trim().is_empty() {
                    errors.invalid(&at.child("fieldPath"), field, "must be non-empty if specified");
                }
                if lines(field) {
                    errors.invalid(&at.child("fieldPath"), field, "must not contain line breaks");
                }
                if Structural::read(&Value::Object(fields.clone())).at(field).is_err() {
                    errors.invalid(&at.child("fieldPath"), field, "must be a valid path");
                }
            }
            if let Some(place) = self.uncorrelatable
                && rule::uses_old_self(said)
            {
                let detail =
                    format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {place}");
                errors.invalid(&at.child("rule"), said, &detail);
            }
        }
    }
}

fn list_and_map_types(errors: &mut Errors, path: &Path<'_>, fields: &Map<String, Value>) {
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    let kind = text("type").unwrap_or_default();
    for (key, wanted, allowed) in [
        ("x-kubernetes-map-type", "object", &["atomic", "granular"][..]),
        ("x-kubernetes-list-type", "array", &["atomic", "set", "map"][..]),
    ] {
        let Some(value) = text(key) else { continue };
        let detail = format!("must be {wanted} if {key} is specified");
        if kind.is_empty() {
            errors.required(&path.child("type"), &detail);
        } else if kind != wanted {
            errors.invalid(&path.child("type"), kind, &detail);
        }
        if !allowed.contains(&value) {
            errors.not_supported(&path.child(key), value, allowed);
        }
    }
    let items = fields.get("items").and_then(Value::as_object);
    let item_text = |key: &str| items.and_then(|items| items.get(key)).and_then(Value::as_str);
    let list_type = text("x-kubernetes-list-type");
    let item_path = path.child("items");
    if list_type == Some("set") && kind == "array" {
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        match item_text("type") {
            Some("array") if item_text("x-kubernetes-list-type").is_some_and(|of| of != "atomic") => {
                errors.invalid(&item_path.child("x-kubernetes-list-type"), item_text("x-kubernetes-list-type"), detail);
            }
            Some("object") if item_text("x-kubernetes-map-type") != Some("atomic") => {
                errors.invalid(&item_path.child("x-kubernetes-map-type"), item_text("x-kubernetes-list-type"), detail);
            }
            _ => {}
        }
    }
    let keys: Vec<&str> = fields
        .get("x-kubernetes-list-map-keys")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !keys.is_empty() && list_type != Some("map") {
        let (at, detail) =
            (path.child("x-kubernetes-list-type"), "must be map if x-kubernetes-list-map-keys is non-empty");
        match list_type {
            None => errors.required(&at, detail),
            Some(other) => errors.invalid(&at, other, detail),
        }
    }
    if list_type == Some("map") {
        keyed(errors, path, items, &keys);
    }
    if matches!(list_type, Some("map" | "set"))
        && items.and_then(|items| items.get("nullable")) == Some(&Value::Bool(true))
    {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {}", list_type.unwrap_or_default());
        errors.forbidden(&item_path.child("nullable"), &detail);
    }
}

fn keyed(errors: &mut Errors, path: &Path<'_>, items: Option<&Map<String, Value>>, keys: &[&str]) {
    let list = path.child("x-kubernetes-list-map-keys");
    if keys.is_empty() {
        errors.required(&list, "must not be empty if x-kubernetes-list-type is map");
    }
    let at = path.child("items");
    let Some(items) = items else {
        return errors.required(&at, "must have a schema if x-kubernetes-list-type is map");
    };
    let kind = items.get("type").and_then(Value::as_str).unwrap_or_default();
    if kind != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        return errors.invalid(&at.child("type"), kind, detail);
    }
    let required = items.get("required").and_then(Value::as_array);
    let is_required = |key: &str| required.into_iter().flatten().any(|name| name == key);
    let properties = at.child("properties");
    for (i, key) in keys.iter().enumerate() {
        let place = properties.key(key);
        match items.get("properties").and_then(|properties| properties.get(*key)) {
            None => errors.invalid(&list, serde_json::json!(keys), "entries must all be names of item properties"),
            Some(property) => {
                if matches!(property.get("type").and_then(Value::as_str), Some("array" | "object")) {
                    let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    errors.invalid(&place.child("type"), kind, detail);
                }
                if !is_required(key) && property.get("default").is_none() {
                    let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a \
                                  required property";
                    errors.required(&place.child("default"), detail);
                }
                if property.get("nullable") == Some(&Value::Bool(true)) {
                    let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                    errors.forbidden(&place.child("nullable"), detail);
                }
            }
        }
        if keys[..i].contains(key) {
            errors.invalid(&list, serde_json::json!(keys), "must not contain duplicate entries");
        }
    }
}

/// Defaults must be what their schemas ask for, and nothing of them may be pruned.
fn defaults(errors: &mut Errors, path: &Path<'_>, schema: &Structural, root: bool) {
    if let Some(value) = &schema.default {
        let at = path.child("default");
        let mut pruned = value.clone();
        prune::prune_value(&mut pruned, schema);
        if pruned != *value {
            errors.invalid(&at, value.clone(), "must be specified without unknown fields");
        } else {
            let mut full = value.clone();
            if let Some(fields) = full.as_object_mut() {
                default::default(fields, schema);
            }
            let place = at.to_string();
            errors.extend(validate::validate(&full, schema, &place));
            if let Some(fields) = full.as_object() {
                errors.extend(lists::validate(fields, schema));
            }
        }
    }
    let properties = path.child("properties");
    for (key, child) in &schema.properties {
        if root && META.contains(&key.as_str()) {
            continue;
        }
        defaults(errors, &properties.key(key), child, false);
    }
    if let Some(items) = &schema.items {
        defaults(errors, &path.child("items"), items, false);
    }
    if let Some(crate::structural::Additional::Fit(child)) = &schema.additional {
        defaults(errors, &path.child("additionalProperties"), child, false);
    }
}
