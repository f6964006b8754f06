//! Structural schemas: what of an `openAPIV3Schema` says how objects look.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use crate::rule::Rule;

/// What of a map's keys beyond its properties is allowed.
#[derive(Debug)]
pub(crate) enum Additional {
    /// All, or none.
    Any(bool),
    /// Those whose values fit.
    Fit(Box<Structural>),
}

/// A schema and those of what is in it.
#[derive(Debug, Default)]
pub(crate) struct Structural {
    /// `object`, `array`, `string`, `integer`, `number`, `boolean`; empty for any.
    pub kind: String,
    pub nullable: bool,
    pub default: Option<Value>,
    pub properties: BTreeMap<String, Structural>,
    pub additional: Option<Additional>,
    pub items: Option<Box<Structural>>,
    pub preserve: bool,
    pub embedded: bool,
    pub int_or_string: bool,
    pub list_type: Option<String>,
    pub list_keys: Vec<String>,
    pub map_type: Option<String>,
    pub checks: Checks,
    pub rules: Vec<Rule>,
}

/// What a value must be beyond its type.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub format: String,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub max_length: Option<i64>,
    pub min_length: Option<i64>,
    pub pattern: Option<Pattern>,
    pub max_items: Option<i64>,
    pub min_items: Option<i64>,
    pub multiple_of: Option<f64>,
    pub max_properties: Option<i64>,
    pub min_properties: Option<i64>,
    pub required: Vec<String>,
    pub options: Vec<Value>,
    pub all_of: Vec<Structural>,
    pub any_of: Vec<Structural>,
    pub one_of: Vec<Structural>,
    pub not: Option<Box<Structural>>,
}

/// A regular expression and its text.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub text: String,
    /// `None` where it is none; such a schema is refused when it is written, and matches nothing.
    pub regex: Option<Regex>,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), regex: Regex::new(text).ok() }
    }
}

impl Structural {
    /// Reads a schema, as a definition has it. What is no schema reads as one that allows anything.
    pub(crate) fn read(schema: &Value) -> Self {
        let Some(fields) = schema.as_object() else { return Self::default() };
        let flag = |key: &str| fields.get(key).and_then(Value::as_bool).unwrap_or(false);
        let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
        let additional = match fields.get("additionalProperties") {
            Some(Value::Bool(any)) => Some(Additional::Any(*any)),
            Some(schema @ Value::Object(_)) => Some(Additional::Fit(Box::new(Self::read(schema)))),
            _ => None,
        };
        let properties = fields.get("properties").and_then(Value::as_object);
        Self {
            kind: text("type").unwrap_or_default(),
            nullable: flag("nullable"),
            default: fields.get("default").filter(|value| !value.is_null()).cloned(),
            properties: properties.into_iter().flatten().map(|(key, s)| (key.clone(), Self::read(s))).collect(),
            additional,
            items: fields.get("items").filter(|items| items.is_object()).map(|items| Box::new(Self::read(items))),
            preserve: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            list_type: text("x-kubernetes-list-type"),
            list_keys: strings(fields, "x-kubernetes-list-map-keys"),
            map_type: text("x-kubernetes-map-type"),
            checks: Checks::read(fields),
            rules: Rule::read_all(fields.get("x-kubernetes-validations")),
        }
    }

    /// The schema of a key's value, and whether there may be such a key.
    pub(crate) fn child(&self, key: &str) -> (Option<&Self>, bool) {
        match (self.properties.get(key), &self.additional) {
            (Some(property), _) => (Some(property), true),
            (None, Some(Additional::Fit(schema))) => (Some(schema), true),
            (None, Some(Additional::Any(any))) => (None, *any),
            (None, None) => (None, false),
        }
    }

    /// Whether there are rules at it or in it.
    pub(crate) fn has_rules(&self) -> bool {
        self.any(&|schema| !schema.rules.is_empty() || schema.checks.all_of.iter().any(|s| !s.rules.is_empty()))
    }

    /// The schema of the field at a path like `.spec.size` or `.labels['a']`.
    pub(crate) fn at(&self, path: &str) -> Result<&Self, String> {
        let mut schema = self;
        let mut rest = path;
        while !rest.is_empty() {
            let (key, next) = if let Some(quoted) = rest.strip_prefix("['") {
                quoted.split_once("']").ok_or("unterminated bracket")?
            } else if let Some(named) = rest.strip_prefix('.') {
                named.split_at(named.find(['.', '[']).unwrap_or(named.len()))
            } else {
                return Err(format!("expected [ or . but got: {rest}"));
            };
            if key.is_empty() {
                return Err("unexpected end of JSON path".to_owned());
            }
            schema = schema.child(key).0.ok_or("does not refer to a valid field")?;
            rest = next;
        }
        if path.is_empty() {
            return Err("unexpected end of JSON path".to_owned());
        }
        Ok(schema)
    }

    /// Whether something of this schema satisfies a test.
    pub(crate) fn any(&self, test: &dyn Fn(&Self) -> bool) -> bool {
        test(self)
            || self.properties.values().any(|s| s.any(test))
            || self.items.as_ref().is_some_and(|s| s.any(test))
            || matches!(&self.additional, Some(Additional::Fit(s)) if s.any(test))
    }
}

impl Checks {
    fn read(fields: &Map<String, Value>) -> Self {
        let number = |key: &str| fields.get(key).and_then(Value::as_f64);
        let integer = |key: &str| fields.get(key).and_then(Value::as_i64);
        let flag = |key: &str| fields.get(key).and_then(Value::as_bool).unwrap_or(false);
        let text = |key: &str| fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let list = |key: &str| -> Vec<Value> { fields.get(key).and_then(Value::as_array).cloned().unwrap_or_default() };
        let schemas = |key: &str| list(key).iter().map(Structural::read).collect();
        Self {
            format: text("format").unwrap_or_default().to_owned(),
            maximum: number("maximum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            minimum: number("minimum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            max_length: integer("maxLength"),
            min_length: integer("minLength"),
            pattern: text("pattern").map(Pattern::new),
            max_items: integer("maxItems"),
            min_items: integer("minItems"),
            multiple_of: number("multipleOf"),
            max_properties: integer("maxProperties"),
            min_properties: integer("minProperties"),
            required: strings(fields, "required"),
            options: list("enum"),
            all_of: schemas("allOf"),
            any_of: schemas("anyOf"),
            one_of: schemas("oneOf"),
            not: fields.get("not").filter(|not| not.is_object()).map(|not| Box::new(Structural::read(not))),
        }
    }
}

fn strings(fields: &Map<String, Value>, key: &str) -> Vec<String> {
    let list = fields.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}
