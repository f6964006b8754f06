//! The scale of custom objects.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as api;
use serde_json::{Map, Value};
use skep_registry::{FieldError, FieldErrorKind, Scale};

use crate::object::CustomObject;

/// Where the scale of an object is in it.
pub(crate) struct ScalePaths {
    spec_replicas: String,
    status_replicas: String,
    selector: Option<String>,
}

impl ScalePaths {
    pub(crate) fn new(scale: &api::CustomResourceSubresourceScale) -> Self {
        Self {
            spec_replicas: scale.spec_replicas_path.clone(),
            status_replicas: scale.status_replicas_path.clone(),
            selector: scale.label_selector_path.clone().filter(|path| !path.is_empty()),
        }
    }

    /// The scale of an object; what is not there is 0.
    pub(crate) fn of(&self, object: &CustomObject) -> Scale {
        let number = |path: &str| {
            let number = dotted_in(&object.fields, path).and_then(Value::as_i64);
            number.and_then(|number| i32::try_from(number).ok()).unwrap_or(0)
        };
        let selector = self.selector.as_deref().and_then(|path| dotted_in(&object.fields, path)?.as_str());
        Scale {
            replicas: number(&self.spec_replicas),
            status_replicas: number(&self.status_replicas),
            selector: selector.unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn set(&self, object: &mut CustomObject, replicas: i32) {
        set_dotted(&mut object.fields, &self.spec_replicas, Value::from(replicas));
    }

    /// What is wrong with the numbers of replicas; `spec`: also with the one that is wanted.
    pub(crate) fn check(&self, value: &Value, spec: bool) -> Vec<FieldError> {
        let mut found = Vec::new();
        let mut check = |path: &str| {
            let Some(value) = dotted(value, path) else { return };
            let why = match value.as_i64() {
                None => format!("{path} accessor error: {value} is of the type {}, expected int64", go_type(value)),
                Some(number) if number < 0 => "should be a non-negative integer".to_owned(),
                Some(number) if number > i64::from(i32::MAX) => {
                    format!("should be less than or equal to {}", i32::MAX)
                }
                Some(_) => return,
            };
            let message = format!("Invalid value: {value}: {why}");
            found.push(FieldError { kind: FieldErrorKind::Invalid, field: path.to_owned(), message });
        };
        if spec {
            check(&self.spec_replicas);
        }
        check(&self.status_replicas);
        found
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// What a path like `.spec.replicas` leads to.
fn dotted<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.trim_start_matches('.').split('.').try_fold(value, |value, key| value.get(key))
}

fn dotted_in<'a>(fields: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let path = path.trim_start_matches('.');
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = fields.get(first)?;
    rest.map_or(Some(value), |rest| dotted(value, rest))
}

/// Sets what a path like `.spec.replicas` leads to.
fn set_dotted(fields: &mut Map<String, Value>, path: &str, to: Value) {
    let mut keys: Vec<&str> = path.trim_start_matches('.').split('.').collect();
    let Some(last) = keys.pop() else { return };
    let mut at = fields;
    for key in keys {
        let next = at.entry(key).or_insert_with(|| Value::Object(Map::new()));
        if !next.is_object() {
            *next = Value::Object(Map::new());
        }
        let Some(next) = next.as_object_mut() else { return };
        at = next;
    }
    at.insert(last.to_owned(), to);
}
