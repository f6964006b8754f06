//! Validation of values by a schema, with the words of upstream's OpenAPI validator.

use serde_json::{Map, Value};
use skep_registry::{FieldError, FieldErrorKind};

use crate::format;
use crate::structural::{Checks, Structural};

/// What is wrong with a value. `path` is where it stands, e.g. `status`; empty for a whole object.
pub(crate) fn validate(value: &Value, schema: &Structural, path: &str) -> Vec<FieldError> {
    validate_change(value, None, schema, path)
}

/// What is wrong with a value that replaces another one. What did not change is not complained about, so that a schema
/// may become stricter than what is stored.
pub(crate) fn validate_change(value: &Value, old: Option<&Value>, schema: &Structural, path: &str) -> Vec<FieldError> {
    let mut walk = Walk { root: path.to_owned(), found: Vec::new() };
    walk.check(value, old, schema, path);
    walk.found
}

struct Walk {
    root: String,
    found: Vec<FieldError>,
}

/// The name that the validator gives to a value's type.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn has_type(value: &Value, schema: &Structural) -> bool {
    if schema.int_or_string {
        return value.is_string() || is_integer(value);
    }
    match schema.kind.as_str() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => is_integer(value),
        "number" => value.is_number(),
        _ => true,
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The item of the old list that an item of a keyed list stands for.
pub(crate) fn correlated<'a>(item: &Value, old: Option<&'a Value>, schema: &Structural) -> Option<&'a Value> {
    if schema.list_type.as_deref() != Some("map") {
        return None;
    }
    let same = |before: &&Value| schema.list_keys.iter().all(|key| before.get(key) == item.get(key));
    old?.as_array()?.iter().find(same)
}

impl Walk {
    fn check(&mut self, value: &Value, old: Option<&Value>, schema: &Structural, path: &str) {
        if old == Some(value) {
            return;
        }
        let typed = !schema.kind.is_empty() || schema.int_or_string;
        if value.is_null() && (schema.nullable || !typed) {
            return;
        }
        if !has_type(value, schema) {
            let expected = if schema.int_or_string { "integer,string" } else { &schema.kind };
            let actual = type_name(value);
            let detail = format!("{path} in body must be of type {expected}: \"{actual}\"");
            return self.type_invalid(path, &Value::from(actual), &detail);
        }
        self.junctors(value, schema, path);
        self.checks(value, &schema.checks, path);
        match value {
            Value::Object(fields) => self.fields(fields, old, schema, path),
            Value::Array(items) => {
                let Some(item_schema) = schema.items.as_deref() else { return };
                for (i, item) in items.iter().enumerate() {
                    self.check(item, correlated(item, old, schema), item_schema, &format!("{path}[{i}]"));
                }
            }
            _ => {}
        }
    }

    fn fields(&mut self, fields: &Map<String, Value>, old: Option<&Value>, schema: &Structural, path: &str) {
        for key in schema.checks.required.iter().filter(|key| !fields.contains_key(*key)) {
            let message = "Required value".to_owned();
            self.found.push(FieldError { kind: FieldErrorKind::Required, field: join(path, key), message });
        }
        for (key, value) in fields {
            if let Some(child) = schema.child(key).0 {
                self.check(value, old.and_then(|old| old.get(key)), child, &join(path, key));
            }
        }
    }

    /// `allOf`, `anyOf`, `oneOf` and `not`.
    fn junctors(&mut self, value: &Value, schema: &Structural, path: &str) {
        let checks = &schema.checks;
        let errors = |schema: &Structural| validate(value, schema, path);
        let mut failed = false;
        for part in &checks.all_of {
            let errors = errors(part);
            failed |= !errors.is_empty();
            self.found.extend(errors);
        }
        if failed {
            self.whole(&format!("\"{path}\" must validate all the schemas (allOf)"));
        }
        if !checks.any_of.is_empty() {
            self.alternatives(&checks.any_of, &errors, |fitting| fitting > 0, &|_| {
                format!("\"{path}\" must validate at least one schema (anyOf)")
            });
        }
        if !checks.one_of.is_empty() {
            self.alternatives(&checks.one_of, &errors, |fitting| fitting == 1, &|fitting| {
                let why = match fitting {
                    0 => "Found none valid".to_owned(),
                    several => format!("Found {several} valid alternatives"),
                };
                format!("\"{path}\" must validate one and only one schema (oneOf). {why}")
            });
        }
        if let Some(not) = &checks.not
            && errors(not).is_empty()
        {
            self.whole(&format!("\"{path}\" must not validate the schema (not)"));
        }
    }

    fn alternatives(
        &mut self,
        schemas: &[Structural],
        errors: &dyn Fn(&Structural) -> Vec<FieldError>,
        enough: impl Fn(usize) -> bool,
        message: &dyn Fn(usize) -> String,
    ) {
        let results: Vec<Vec<FieldError>> = schemas.iter().map(errors).collect();
        let fitting = results.iter().filter(|errors| errors.is_empty()).count();
        if enough(fitting) {
            return;
        }
        self.whole(&message(fitting));
        if fitting == 0 {
            // What is nearest to fitting says most.
            self.found.extend(results.into_iter().min_by_key(Vec::len).unwrap_or_default());
        }
    }

    fn checks(&mut self, value: &Value, checks: &Checks, path: &str) {
        match value {
            Value::String(text) => self.string(text, checks, path),
            Value::Number(_) => self.number(value, checks, path),
            Value::Array(items) => {
                if let Some(max) = checks.max_items.filter(|max| exceeds(items.len(), *max)) {
                    self.too_many(path, items.len(), max);
                }
                if let Some(min) = checks.min_items.filter(|min| below(items.len(), *min)) {
                    let detail = format!("{path} in body should have at least {min} items");
                    self.invalid(path, &Value::from(items.len()), &detail);
                }
            }
            Value::Object(fields) => {
                if let Some(max) = checks.max_properties.filter(|max| exceeds(fields.len(), *max)) {
                    self.too_many(path, fields.len(), max);
                }
                if let Some(min) = checks.min_properties.filter(|min| below(fields.len(), *min)) {
                    let detail = format!("{path} in body should have at least {min} properties");
                    self.invalid(path, &Value::from(fields.len()), &detail);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
        if !checks.options.is_empty() && !checks.options.iter().any(|option| same(option, value)) {
            let options = checks.options.iter().map(|o| o.as_str().map_or_else(|| o.to_string(), str::to_owned));
            let options: Vec<String> = options.map(|option| format!("\"{option}\"")).collect();
            let message = format!("Unsupported value: {value}: supported values: {}", options.join(", "));
            self.push(FieldErrorKind::NotSupported, path, message);
        }
    }

    fn string(&mut self, text: &str, checks: &Checks, path: &str) {
        let length = text.chars().count();
        if let Some(max) = checks.max_length.filter(|max| exceeds(length, *max)) {
            let unit = if max == 1 { "byte" } else { "bytes" };
            self.push(FieldErrorKind::TooLong, path, format!("Too long: may not be more than {max} {unit}"));
        }
        if let Some(min) = checks.min_length.filter(|min| below(length, *min)) {
            let detail = format!("{path} in body should be at least {min} chars long");
            self.invalid(path, &Value::from(text), &detail);
        }
        if let Some(pattern) = &checks.pattern
            && !pattern.regex.as_ref().is_some_and(|regex| regex.is_match(text))
        {
            let detail = format!("{path} in body should match '{}'", pattern.text);
            self.invalid(path, &Value::from(text), &detail);
        }
        if !format::matches(text, &checks.format) {
            let detail = format!("{path} in body must be of type {}: {}", checks.format, Value::from(text));
            self.type_invalid(path, &Value::from(text), &detail);
        }
    }

    fn number(&mut self, value: &Value, checks: &Checks, path: &str) {
        let Some(number) = value.as_f64() else { return };
        if let Some(max) = checks.maximum {
            let bad = if checks.exclusive_maximum { number >= max } else { number > max };
            if bad {
                let relation = if checks.exclusive_maximum { "less than" } else { "less than or equal to" };
                let detail = format!("{path} in body should be {relation} {}", plain(max));
                self.invalid(path, value, &detail);
            }
        }
        if let Some(min) = checks.minimum {
            let bad = if checks.exclusive_minimum { number <= min } else { number < min };
            if bad {
                let relation = if checks.exclusive_minimum { "greater than" } else { "greater than or equal to" };
                let detail = format!("{path} in body should be {relation} {}", plain(min));
                self.invalid(path, value, &detail);
            }
        }
        if let Some(factor) = checks.multiple_of.filter(|factor| *factor > 0.0) {
            let times = number / factor;
            if (times - times.round()).abs() > 1e-9 * times.abs().max(1.0) {
                let detail = format!("{path} in body should be a multiple of {}", plain(factor));
                self.invalid(path, value, &detail);
            }
        }
        let fits = match checks.format.as_str() {
            "int32" => value.as_i64().is_some_and(|v| i32::try_from(v).is_ok()) || value.is_f64(),
            "int64" => value.is_i64() || value.is_f64(),
            _ => true,
        };
        if !fits {
            let detail = format!("{path} in body must be of type {}: \"{value}\"", checks.format);
            self.type_invalid(path, value, &detail);
        }
    }

    /// An error about more than a field. Upstream's has no path below the part that is validated.
    fn whole(&mut self, detail: &str) {
        let field = if self.root.is_empty() { "<nil>".to_owned() } else { self.root.clone() };
        let message = format!("Invalid value: \"\": {detail}");
        self.found.push(FieldError { kind: FieldErrorKind::Invalid, field, message });
    }

    fn too_many(&mut self, path: &str, actual: usize, max: i64) {
        let unit = if max == 1 { "item" } else { "items" };
        self.push(FieldErrorKind::TooMany, path, format!("Too many: {actual}: must have at most {max} {unit}"));
    }

    fn type_invalid(&mut self, path: &str, value: &Value, detail: &str) {
        self.push(FieldErrorKind::TypeInvalid, path, format!("Invalid value: {value}: {detail}"));
    }

    fn invalid(&mut self, path: &str, value: &Value, detail: &str) {
        self.push(FieldErrorKind::Invalid, path, format!("Invalid value: {value}: {detail}"));
    }

    fn push(&mut self, kind: FieldErrorKind, path: &str, message: String) {
        let field = if path.is_empty() { "<nil>".to_owned() } else { path.to_owned() };
        self.found.push(FieldError { kind, field, message });
    }
}

fn exceeds(length: usize, max: i64) -> bool {
    i64::try_from(length).is_ok_and(|length| length > max)
}

fn below(length: usize, min: i64) -> bool {
    i64::try_from(length).is_ok_and(|length| length < min)
}

/// Equality of an enumeration's value: numbers count, not how they are written.
fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a, b), (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64())
}

/// A number without `.0`.
fn plain(number: f64) -> String {
    format!("{number}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(schema: Value, value: Value) -> Vec<String> {
        let errors = validate(&value, &Structural::read(&schema), "");
        errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
    }

    fn of_x(schema: Value, value: Value) -> Vec<String> {
        texts(json!({"type": "object", "properties": {"x": schema}}), json!({"x": value}))
    }

    #[test]
    fn messages_read_as_upstreams() {
        assert_eq!(
            of_x(json!({"type": "integer"}), json!("a")),
            ["x: Invalid value: \"string\": x in body must be of type integer: \"string\""]
        );
        assert_eq!(
            of_x(json!({"type": "string"}), json!(null)),
            ["x: Invalid value: \"null\": x in body must be of type string: \"null\""]
        );
        assert_eq!(
            of_x(json!({"type": "integer", "minimum": 1, "maximum": 3, "exclusiveMaximum": true}), json!(3)),
            ["x: Invalid value: 3: x in body should be less than 3"]
        );
        assert_eq!(
            of_x(json!({"type": "string", "enum": ["a", "b"]}), json!("c")),
            ["x: Unsupported value: \"c\": supported values: \"a\", \"b\""]
        );
        assert_eq!(
            of_x(json!({"type": "string", "pattern": "^a$", "minLength": 3, "maxLength": 1}), json!("bc")),
            [
                "x: Too long: may not be more than 1 byte",
                "x: Invalid value: \"bc\": x in body should be at least 3 chars long",
                "x: Invalid value: \"bc\": x in body should match '^a$'",
            ]
        );
        assert_eq!(
            of_x(json!({"type": "array", "maxItems": 1, "items": {"type": "string"}}), json!(["a", 1])),
            [
                "x: Too many: 2: must have at most 1 item",
                "x[1]: Invalid value: \"integer\": x[1] in body must be of type string: \"integer\"",
            ]
        );
        assert_eq!(texts(json!({"type": "object", "required": ["spec"]}), json!({})), ["spec: Required value"]);
        let one_of = json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
        assert_eq!(
            of_x(one_of, json!({"a": 1, "b": 2})),
            [
                "<nil>: Invalid value: \"\": \"x\" must validate one and only one schema (oneOf). Found 2 valid alternatives"
            ]
        );
    }

    #[test]
    fn int_or_string_takes_both() {
        let schema = json!({"x-kubernetes-int-or-string": true});
        assert!(of_x(schema.clone(), json!(1)).is_empty() && of_x(schema.clone(), json!("1")).is_empty());
        assert_eq!(of_x(schema, json!(true)).len(), 1);
    }

    #[test]
    fn what_did_not_change_is_left_alone() {
        let schema = Structural::read(&json!({"type": "object", "properties": {
            "a": {"type": "string", "maxLength": 1},
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "maximum": 1}}}},
        }}));
        let old = json!({"a": "long", "list": [{"k": "x", "v": 5}]});
        let new = json!({"a": "long", "list": [{"k": "y", "v": 1}, {"k": "x", "v": 5}]});
        assert!(validate_change(&new, Some(&old), &schema, "").is_empty());
        let worse = json!({"a": "longer", "list": [{"k": "x", "v": 6}]});
        assert_eq!(validate_change(&worse, Some(&old), &schema, "").len(), 2);
    }
}
