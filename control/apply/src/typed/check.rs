//! Whether a value is of its shape.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;
use skep_schema::{ObjectShape, Shape, ShapeId, Shapes};

use super::{child, is_untyped, item_element, item_shape};
use crate::element::Element;

/// More faults than this are not listed.
const FAULTS_MAX: usize = 20;

/// What is wrong with a value, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// E.g. `.spec.containers[name="a"].imagee`.
    pub path: String,
    /// E.g. `field not declared in schema`.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

/// Several faults in one text.
#[must_use]
pub fn faults_text(faults: &[Fault]) -> String {
    match faults {
        [one] => one.to_string(),
        many => many.iter().fold("errors:".to_owned(), |text, fault| format!("{text}\n  {fault}")),
    }
}

/// What of a value its shape does not allow: fields that it has not, lists with items that cannot be told apart.
#[must_use]
pub fn check(shape: &ObjectShape, value: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    walk(&shape.shapes, shape.root, value, String::new(), &mut faults);
    faults
}

fn walk(shapes: &Shapes, id: ShapeId, value: &Value, path: String, faults: &mut Vec<Fault>) {
    if faults.len() >= FAULTS_MAX {
        return;
    }
    let mut fault = |path: String, message: String| faults.push(Fault { path, message });
    let shape = shapes.shape(id);
    match (shape, value) {
        (Shape::Leaf, _) | (_, Value::Null) => {}
        (Shape::Map { .. }, Value::Object(map)) => {
            for (key, value) in map {
                let path = format!("{path}{}", Element::field(key));
                match child(shape, key).0 {
                    Some(id) => walk(shapes, id, value, path, faults),
                    None => faults.push(Fault { path, message: "field not declared in schema".to_owned() }),
                }
            }
        }
        (Shape::Set | Shape::Keyed { .. }, Value::Array(items)) => {
            let mut seen = BTreeSet::new();
            for (i, item) in items.iter().enumerate() {
                let element = match item_element(shape, item) {
                    Ok(element) => element,
                    Err(why) => {
                        faults.push(Fault { path, message: format!("element {i}: {why}") });
                        return;
                    }
                };
                if seen.contains(&element) {
                    let message = format!("duplicate entries for key {element}");
                    faults.push(Fault { path: path.clone(), message });
                }
                if let Some(id) = item_shape(shape) {
                    walk(shapes, id, item, format!("{path}{element}"), faults);
                }
                seen.insert(element);
            }
        }
        (Shape::Map { .. }, _) if is_untyped(shapes, id) => {}
        (Shape::Map { .. }, other) => fault(path, format!("expected map, got &{{{}}}", plain(other))),
        (_, other) => fault(path, format!("expected list, got &{{{}}}", plain(other))),
    }
}

/// As Go prints values.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut fields: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", plain(value))).collect();
            fields.sort();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}
