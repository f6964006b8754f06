//! Paths to fields, and the list of errors found at them.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::strategy::{FieldError, FieldErrorKind};

/// A path such as `spec.containers[0].name`, linked through the stack: nothing is allocated until an error is written.
#[derive(Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment<'a>,
}

#[derive(Clone, Copy)]
enum Segment<'a> {
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The path of a top-level field; `name` may have several segments (`spec.template`).
    #[must_use]
    pub const fn root(name: &'a str) -> Self {
        Self { parent: None, segment: Segment::Name(name) }
    }

    /// A field below this one; `name` may have several segments.
    #[must_use]
    pub const fn child(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), segment: Segment::Name(name) }
    }

    /// An element of the list at this path.
    #[must_use]
    pub const fn index(&'a self, index: usize) -> Self {
        Self { parent: Some(self), segment: Segment::Index(index) }
    }

    /// A key of the map at this path.
    #[must_use]
    pub const fn key(&'a self, key: &'a str) -> Self {
        Self { parent: Some(self), segment: Segment::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.segment {
            Segment::Name(name) if self.parent.is_some() => write!(f, ".{name}"),
            Segment::Name(name) => f.write_str(name),
            Segment::Index(index) => write!(f, "[{index}]"),
            Segment::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// The errors found so far, each with the message body that Kubernetes' `field.Error` has.
#[derive(Debug, Default)]
pub struct Errors(Vec<FieldError>);

impl Errors {
    /// None so far.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// What was found.
    #[must_use]
    pub fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many were found.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds errors made elsewhere.
    pub fn extend(&mut self, errors: Vec<FieldError>) {
        self.0.extend(errors);
    }

    /// A field that must be set is not.
    pub fn required(&mut self, path: &Path<'_>, detail: &str) {
        self.push(FieldErrorKind::Required, path, "Required value", detail);
    }

    /// A field may not be set, or not so.
    pub fn forbidden(&mut self, path: &Path<'_>, detail: &str) {
        self.push(FieldErrorKind::Forbidden, path, "Forbidden", detail);
    }

    /// A malformed value.
    pub fn invalid(&mut self, path: &Path<'_>, value: impl Into<Value>, detail: &str) {
        let body = format!("Invalid value: {}", value.into());
        self.push(FieldErrorKind::Invalid, path, &body, detail);
    }

    /// One error for each message that a name or value rule returned.
    pub fn invalid_each(&mut self, path: &Path<'_>, value: &str, details: Vec<String>) {
        for detail in details {
            self.invalid(path, value, &detail);
        }
    }

    /// A value outside an enumeration.
    pub fn not_supported(&mut self, path: &Path<'_>, value: impl Into<Value>, supported: &[&str]) {
        let quoted: Vec<String> = supported.iter().map(|s| format!("\"{s}\"")).collect();
        let body = format!("Unsupported value: {}", value.into());
        let detail = if quoted.is_empty() { String::new() } else { format!("supported values: {}", quoted.join(", ")) };
        self.push(FieldErrorKind::NotSupported, path, &body, &detail);
    }

    /// A value that must be unique and is not.
    pub fn duplicate(&mut self, path: &Path<'_>, value: impl Into<Value>) {
        self.push(FieldErrorKind::Duplicate, path, &format!("Duplicate value: {}", value.into()), "");
    }

    /// A reference to something that the object does not have.
    pub fn not_found(&mut self, path: &Path<'_>, value: &str) {
        self.push(FieldErrorKind::NotFound, path, &format!("Not found: {}", Value::from(value)), "");
    }

    /// A value of more than `max` bytes.
    pub fn too_long(&mut self, path: &Path<'_>, max: usize) {
        let unit = if max == 1 { "byte" } else { "bytes" };
        self.push(FieldErrorKind::TooLong, path, "Too long", &format!("may not be more than {max} {unit}"));
    }

    /// A list of more than `max` elements.
    pub fn too_many(&mut self, path: &Path<'_>, actual: usize, max: usize) {
        let unit = if max == 1 { "item" } else { "items" };
        self.push(
            FieldErrorKind::TooMany,
            path,
            &format!("Too many: {actual}"),
            &format!("must have at most {max} {unit}"),
        );
    }

    /// A field that may not change, and has.
    pub fn immutable<T: PartialEq + Serialize>(&mut self, path: &Path<'_>, new: &T, old: &T) {
        if new != old {
            self.invalid(path, serde_json::to_value(new).unwrap_or_default(), "field is immutable");
        }
    }

    /// What the server could not do.
    pub fn internal(&mut self, path: &Path<'_>, detail: &str) {
        self.push(FieldErrorKind::Internal, path, "Internal error", detail);
    }

    fn push(&mut self, kind: FieldErrorKind, path: &Path<'_>, body: &str, detail: &str) {
        let message = if detail.is_empty() { body.to_owned() } else { format!("{body}: {detail}") };
        self.0.push(FieldError { kind, field: path.to_string(), message });
    }
}

/// Sets a string that is absent or empty.
pub(crate) fn default_text(field: &mut Option<String>, default: &str) {
    if field.as_deref().unwrap_or_default().is_empty() {
        *field = Some(default.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_bodies_read_as_upstream() {
        let mut errors = Errors::new();
        let spec = Path::root("spec");
        let containers = spec.child("containers");
        let first = containers.index(0);
        errors.required(&first.child("name"), "");
        errors.invalid(&spec.child("replicas"), -1, "must be greater than or equal to 0");
        errors.not_supported(&spec.child("type"), "x", &["A", "B"]);
        errors.duplicate(&Path::root("metadata.labels").key("a/b"), "v");
        errors.too_long(&first, 63);
        errors.too_many(&containers, 5, 3);
        let text: Vec<String> = errors.into_vec().iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        assert_eq!(
            text,
            [
                "spec.containers[0].name: Required value",
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.type: Unsupported value: \"x\": supported values: \"A\", \"B\"",
                "metadata.labels[a/b]: Duplicate value: \"v\"",
                "spec.containers[0]: Too long: may not be more than 63 bytes",
                "spec.containers: Too many: 5: must have at most 3 items",
            ]
        );
    }
}
