//! Values seen through their shape: what they consist of, how two differ, how they merge.
//!
//! A value that is not of its shape counts as a leaf: input is checked where it comes in ([`check`]), and what is stored
//! may be older than the schema.

use serde_json::{Map, Value};
use skep_schema::{Key, Shape, ShapeId, Shapes};

use crate::element::{Element, Scalar};

mod check;
mod compare;
mod fields;
mod merge;
mod remove;

pub use check::{Fault, check, faults_text};
pub use compare::{Changes, compare};
pub use fields::fields;
pub(crate) use merge::merge;
pub(crate) use remove::remove;

/// A value with its shape. Null is an empty map or list.
enum View<'a> {
    Leaf,
    Map(Option<&'a Map<String, Value>>),
    List(&'a [Value]),
}

fn view<'a>(shape: &Shape, value: &'a Value) -> View<'a> {
    match (shape, value) {
        (Shape::Map { .. }, Value::Object(map)) => View::Map(Some(map)),
        (Shape::Map { .. }, Value::Null) => View::Map(None),
        (Shape::Set | Shape::Keyed { .. }, Value::Array(items)) => View::List(items),
        (Shape::Set | Shape::Keyed { .. }, Value::Null) => View::List(&[]),
        _ => View::Leaf,
    }
}

/// The shape of a map's value, and whether it is one of the named fields. `None` where there is no such key.
fn child(shape: &Shape, key: &str) -> (Option<ShapeId>, bool) {
    match shape {
        Shape::Map { fields, rest } => match fields.get(key) {
            Some(field) => (Some(field.shape), true),
            None => (*rest, false),
        },
        _ => (None, false),
    }
}

/// The shape of a list's items.
fn item_shape(shape: &Shape) -> Option<ShapeId> {
    match shape {
        Shape::Keyed { item, .. } => Some(*item),
        _ => None,
    }
}

/// What tells an item of a list apart from the others.
fn item_element(shape: &Shape, item: &Value) -> Result<Element, String> {
    match shape {
        Shape::Keyed { keys, .. } => keyed_element(keys, item),
        _ => match item {
            Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
            Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
            Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
            scalar => Ok(Element::Value(Scalar(scalar.clone()))),
        },
    }
}

fn keyed_element(keys: &[Key], item: &Value) -> Result<Element, String> {
    let Value::Object(item) = item else {
        return Err(if item.is_null() {
            "associative list with keys may not have a null element".to_owned()
        } else {
            "associative list with keys may not have non-map elements".to_owned()
        });
    };
    let value = |key: &Key| {
        let value = item.get(&*key.name).or(key.default.as_ref())?;
        Some((key.name.clone(), Scalar(value.clone())))
    };
    let fields: Vec<_> = keys.iter().filter_map(value).collect();
    if fields.is_empty() && !keys.is_empty() {
        let names: Vec<String> = keys.iter().map(|key| format!("{:?}", key.name)).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values \
             for any key fields)",
            names.join(" ")
        ));
    }
    Ok(Element::key(fields))
}

/// The items of a list by what tells them apart, in the list's order; `None` if some cannot be told apart.
fn items<'a>(shape: &Shape, list: &'a [Value]) -> Option<Vec<(Element, &'a Value)>> {
    list.iter().map(|item| item_element(shape, item).ok().map(|element| (element, item))).collect()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Whether a shape only says that nothing is known: maps merge by key, and all else is replaced.
fn is_untyped(shapes: &Shapes, id: ShapeId) -> bool {
    matches!(shapes.shape(id), Shape::Map { fields, rest } if fields.is_empty() && *rest == Some(id))
}
