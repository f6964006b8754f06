//! Rules in schemas (`x-kubernetes-validations`): when they are asked, and what is said where they do not hold.

use serde_json::Value;
use skep_registry::{Errors, FieldError, FieldErrorKind, Path};

use crate::cel::{self, Budget, Outcome, Program};
use crate::object::CustomObject;
use crate::structural::{Additional, Structural};
use crate::validate::{correlated, join};

/// What a rule's fault may be called.
pub(crate) const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub text: String,
    /// Why it cannot be read, for one that cannot.
    pub program: Result<Program, String>,
    message: String,
    message_expression: Option<Result<Program, String>>,
    reason: FieldErrorKind,
    field_path: String,
    optional_old: Option<bool>,
    uses_old: bool,
}

impl Rule {
    pub(crate) fn read_all(rules: Option<&Value>) -> Vec<Self> {
        rules.and_then(Value::as_array).into_iter().flatten().map(Self::read).collect()
    }

    fn read(rule: &Value) -> Self {
        let text = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or_default();
        let expression = text("messageExpression").trim();
        let program = Program::read(text("rule"));
        Self {
            text: text("rule").to_owned(),
            uses_old: program.as_ref().is_ok_and(|program| program.names("oldSelf")),
            program,
            message: text("message").to_owned(),
            message_expression: (!expression.is_empty()).then(|| Program::read(expression)),
            reason: match text("reason") {
                "FieldValueRequired" => FieldErrorKind::Required,
                "FieldValueForbidden" => FieldErrorKind::Forbidden,
                "FieldValueDuplicate" => FieldErrorKind::Duplicate,
                _ => FieldErrorKind::Invalid,
            },
            field_path: text("fieldPath").to_owned(),
            optional_old: rule.get("optionalOldSelf").and_then(Value::as_bool),
        }
    }

    fn said(&self) -> String {
        match self.message.trim() {
            "" => format!("failed rule: {}", self.text.trim()),
            message => message.to_owned(),
        }
    }
}

/// Whether a rule compares with what was there before.
pub(crate) fn uses_old_self(text: &str) -> bool {
    Program::read(text).is_ok_and(|program| program.names("oldSelf"))
}

/// Adds which rules of a schema cannot be read, refer to what is not there, or may cost too much.
pub(crate) fn check_schema(errors: &mut Errors, path: &Path<'_>, schema: &Structural) {
    let mut total = 0_u64;
    check_rules(errors, path, schema, true, 1, &mut total);
    if total > cel::SCHEMA_COST_MAX {
        let detail = cel::too_expensive(
            "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema",
            total,
            cel::SCHEMA_COST_MAX,
        );
        errors.forbidden(path, &detail);
    }
}

fn check_rules(errors: &mut Errors, path: &Path<'_>, schema: &Structural, root: bool, times: u64, total: &mut u64) {
    let list = path.child("x-kubernetes-validations");
    for (i, rule) in schema.rules.iter().enumerate() {
        let at = list.index(i);
        let value = || Value::from(rule.text.as_str());
        match &rule.program {
            Err(why) => errors.invalid(&at.child("rule"), value(), &format!("compilation failed: {why}")),
            Ok(program) => match program.check(schema, root || schema.embedded) {
                Err(why) => errors.invalid(&at.child("rule"), value(), &format!("compilation failed: {why}")),
                Ok(cost) => {
                    let cost = cost.saturating_mul(times);
                    *total = total.saturating_add(cost);
                    if cost > cel::RULE_COST_MAX {
                        let detail = cel::too_expensive("estimated rule cost", cost, cel::RULE_COST_MAX);
                        errors.forbidden(&at.child("rule"), &detail);
                    }
                }
            },
        }
        if let Some(Err(why)) = &rule.message_expression {
            errors.invalid(&at.child("messageExpression"), value(), &format!("compilation failed: {why}"));
        }
        if let (false, Some(optional)) = (rule.uses_old, rule.optional_old) {
            let detail = "may not be set if oldSelf is not used in rule";
            errors.invalid(&at.child("optionalOldSelf"), optional, detail);
        }
    }
    let properties = path.child("properties");
    for (key, child) in &schema.properties {
        check_rules(errors, &properties.key(key), child, false, times, total);
    }
    let many = times.saturating_mul(cel::elements_max(schema));
    if let Some(items) = &schema.items {
        check_rules(errors, &path.child("items"), items, false, many, total);
    }
    if let Some(Additional::Fit(child)) = &schema.additional {
        check_rules(errors, &path.child("additionalProperties"), child, false, many, total);
    }
}

/// An object as rules see it: of its metadata only the name.
pub(crate) fn with_meta(value: &Value, object: &CustomObject) -> Value {
    let mut whole = value.clone();
    if let Some(fields) = whole.as_object_mut() {
        let mut meta = serde_json::Map::new();
        for (key, text) in [("name", &object.meta.name), ("generateName", &object.meta.generate_name)] {
            if let Some(text) = text {
                meta.insert(key.to_owned(), Value::from(text.as_str()));
            }
        }
        fields.insert("apiVersion".to_owned(), Value::from(object.types.api_version.as_str()));
        fields.insert("kind".to_owned(), Value::from(object.types.kind.as_str()));
        fields.insert("metadata".to_owned(), Value::Object(meta));
    }
    whole
}

/// Which rules do not hold for an object, which takes the place of `old` if that is given.
pub(crate) fn validate(new: &Value, old: Option<&Value>, schema: &Structural) -> Vec<FieldError> {
    let mut walk = Walk { found: Vec::new(), budget: Budget::of_request(), spent: false };
    walk.node(new, old, schema, schema, "", Unchanged::No);
    walk.found
}

/// Whether a value is part of something that did not change.
#[derive(Clone, Copy, PartialEq)]
enum Unchanged {
    No,
    Yes,
}

struct Walk {
    found: Vec<FieldError>,
    budget: Budget,
    /// The budget is used up, and that was said.
    spent: bool,
}

impl Walk {
    /// `rules` has the rules; `schema` says how the value looks. They differ below `allOf`.
    #[allow(clippy::too_many_arguments)]
    fn node(
        &mut self,
        value: &Value,
        old: Option<&Value>,
        rules: &Structural,
        schema: &Structural,
        path: &str,
        above: Unchanged,
    ) {
        if value.is_null() || self.spent {
            return;
        }
        let same = if old == Some(value) { Unchanged::Yes } else { above };
        for rule in &rules.rules {
            self.rule(rule, value, old.filter(|old| !old.is_null()), schema, path, same);
            if self.spent {
                return;
            }
        }
        match value {
            Value::Object(fields) => {
                for (key, child) in fields {
                    let Some(child_schema) = schema.child(key).0 else { continue };
                    let place = match schema.properties.contains_key(key) {
                        true => join(path, key),
                        false => format!("{path}[{key}]"),
                    };
                    let atomic = schema.map_type.as_deref() == Some("atomic");
                    let before = old.and_then(|old| old.get(key)).filter(|_| !atomic);
                    self.node(child, before, child_schema, child_schema, &place, same);
                }
            }
            Value::Array(items) => {
                let Some(item_schema) = schema.items.as_deref() else { return };
                for (i, item) in items.iter().enumerate() {
                    let before = correlated(item, old, schema);
                    let place = format!("{path}[{i}]");
                    self.node(item, before, item_schema, item_schema, &place, same);
                }
            }
            _ => {}
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn rule(
        &mut self,
        rule: &Rule,
        value: &Value,
        old: Option<&Value>,
        schema: &Structural,
        path: &str,
        unchanged: Unchanged,
    ) {
        let optional = rule.optional_old == Some(true);
        if rule.text.trim().is_empty() || (rule.uses_old && old.is_none() && !optional) {
            return;
        }
        let field = if path.is_empty() { "<nil>" } else { path };
        let program = match &rule.program {
            Ok(program) => program,
            Err(why) => return self.invalid(field, schema, &format!("rule compile error: {why}")),
        };
        let bound = cel::Bound { value, old, optional, schema };
        let said = match program.run(&bound, &mut self.budget) {
            Outcome::Value(cel::Answer::Bool(true)) => return,
            Outcome::Value(cel::Answer::Bool(false)) => None,
            Outcome::Value(_) => Some("expected bool result evaluating rule".to_owned()),
            Outcome::Spent => {
                self.spent = true;
                let detail = "validation failed due to running out of cost budget, no further validation rules will \
                              be run";
                return self.invalid(field, schema, detail);
            }
            Outcome::Failed(why) if why.starts_with("no such overload") => Some(format!(
                "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                rule.text.trim()
            )),
            Outcome::Failed(why) => Some(format!("{why} evaluating rule: {}", rule.text.trim())),
        };
        if let Some(detail) = said {
            return self.invalid(field, schema, &detail);
        }
        if !rule.uses_old && unchanged == Unchanged::Yes {
            return;
        }
        let message = rule.message_expression.as_ref().and_then(|expression| {
            let Ok(program) = expression else { return None };
            match program.run(&bound, &mut self.budget) {
                Outcome::Value(cel::Answer::Text(text)) => {
                    let text = text.trim();
                    (!text.is_empty() && !text.contains(['\n', '\r']) && text.len() <= 5 * 1024)
                        .then(|| text.to_owned())
                }
                _ => None,
            }
        });
        let detail = message.unwrap_or_else(|| rule.said());
        let place = match rule.field_path.as_str() {
            "" => field.to_owned(),
            below => join(path, below.trim_start_matches('.')),
        };
        let shown = if value.is_object() || value.is_array() { String::new() } else { format!(": {value}") };
        let message = match rule.reason {
            FieldErrorKind::Required => format!("Required value: {detail}"),
            FieldErrorKind::Forbidden => format!("Forbidden: {detail}"),
            FieldErrorKind::Duplicate => format!("Duplicate value{shown}: {detail}"),
            _ => format!("Invalid value{shown}: {detail}"),
        };
        self.found.push(FieldError { kind: rule.reason, field: place, message });
    }

    fn invalid(&mut self, field: &str, schema: &Structural, detail: &str) {
        let message = format!("Invalid value: \"{}\": {detail}", schema.kind);
        self.found.push(FieldError { kind: FieldErrorKind::Invalid, field: field.to_owned(), message });
    }
}
