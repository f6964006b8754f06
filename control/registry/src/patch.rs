//! Strategic merge patch: a merge patch that knows which lists are keyed, as the Kubernetes API conventions define it.

mod list;
mod place;

use serde_json::{Map, Value};
use skep_schema::ObjectShape;

use place::Place;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// A patch that cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch, or a part of it that must be an object, is none.
    #[error("{0} must be an object")]
    NotAnObject(String),
    /// An element of a keyed list has no key.
    #[error("an element of {list} does not contain declared merge key: {key}")]
    NoMergeKey {
        /// The list's field name.
        list: String,
        /// The key it must have.
        key: String,
    },
    /// A value of `$patch` that there is not.
    #[error("unknown patch type: {0}")]
    UnknownDirective(String),
    /// A directive whose value has the wrong shape.
    #[error("{0} must be a list")]
    BadDirective(String),
    /// `$retainKeys` leaves out a field that the patch sets.
    #[error("retainKeys does not list {0}, which the patch sets")]
    NotRetained(String),
}

/// Applies `patch` to `original`, an object of a shape.
///
/// # Errors
/// A patch that is not an object, or whose directives or list elements are malformed.
pub fn strategic_merge(original: Value, patch: &Value, shape: &ObjectShape) -> Result<Value, PatchError> {
    match (original, patch) {
        (Value::Object(original), Value::Object(patch)) => {
            merge_map(original, patch, Place::root(shape)).map(Value::Object)
        }
        (_, Value::Object(_)) => Err(PatchError::NotAnObject("the object to patch".to_owned())),
        _ => Err(PatchError::NotAnObject("the patch".to_owned())),
    }
}

fn merge_map(
    mut original: Map<String, Value>,
    patch: &Map<String, Value>,
    place: Place<'_>,
) -> Result<Map<String, Value>, PatchError> {
    match directive(patch)? {
        Some(Directive::Replace) => return merge_fields(Map::new(), patch, place),
        Some(Directive::Delete) => return Ok(Map::new()),
        Some(Directive::Merge) | None => {}
    }
    if let Some(keys) = patch.get(RETAIN_KEYS) {
        retain_keys(&mut original, patch, keys)?;
    }
    merge_fields(original, patch, place)
}

fn merge_fields(
    mut original: Map<String, Value>,
    patch: &Map<String, Value>,
    place: Place<'_>,
) -> Result<Map<String, Value>, PatchError> {
    // The order before the merge tells where what only the server knows belongs.
    let mut orders = Vec::new();
    for (name, order) in patch {
        if let Some(name) = name.strip_prefix(ORDER) {
            let order = order.as_array().ok_or_else(|| bad(ORDER, name))?;
            orders.push((name, order, original.get(name).and_then(Value::as_array).cloned().unwrap_or_default()));
        }
    }
    for (name, value) in patch {
        if name == DIRECTIVE || name == RETAIN_KEYS || name.starts_with(ORDER) {
            continue;
        }
        if let Some(name) = name.strip_prefix(DELETE_FROM) {
            list::remove_primitives(original.get_mut(name), value.as_array().ok_or_else(|| bad(DELETE_FROM, name))?);
            continue;
        }
        let field = place.field(name);
        match value {
            Value::Null => {
                original.shift_remove(name);
            }
            Value::Object(value) => {
                let old = match original.get_mut(name).map(Value::take) {
                    Some(Value::Object(old)) if !field.replaced => old,
                    _ => Map::new(),
                };
                let merged = merge_map(old, value, field.place)?;
                original.insert(name.clone(), Value::Object(merged));
            }
            Value::Array(value) => {
                let old = match original.get_mut(name).map(Value::take) {
                    Some(Value::Array(old)) => old,
                    _ => Vec::new(),
                };
                let merged = list::merge(name, old, value, &field)?;
                original.insert(name.clone(), Value::Array(merged));
            }
            scalar => {
                original.insert(name.clone(), scalar.clone());
            }
        }
    }
    for (name, order, before) in orders {
        if let Some(Value::Array(items)) = original.get_mut(name) {
            list::reorder(items, order, &before, place.field(name).lists);
        }
    }
    Ok(original)
}

enum Directive {
    Merge,
    Replace,
    Delete,
}

fn directive(patch: &Map<String, Value>) -> Result<Option<Directive>, PatchError> {
    match patch.get(DIRECTIVE) {
        None => Ok(None),
        Some(Value::String(text)) => match text.as_str() {
            "merge" => Ok(Some(Directive::Merge)),
            "replace" => Ok(Some(Directive::Replace)),
            "delete" => Ok(Some(Directive::Delete)),
            other => Err(PatchError::UnknownDirective(other.to_owned())),
        },
        Some(other) => Err(PatchError::UnknownDirective(other.to_string())),
    }
}

fn retain_keys(original: &mut Map<String, Value>, patch: &Map<String, Value>, keys: &Value) -> Result<(), PatchError> {
    let keys = keys.as_array().ok_or_else(|| PatchError::BadDirective(RETAIN_KEYS.to_owned()))?;
    let kept = |name: &str| keys.iter().any(|key| key.as_str() == Some(name));
    for (name, value) in patch {
        if !name.starts_with('$') && !value.is_null() && !kept(name) {
            return Err(PatchError::NotRetained(name.clone()));
        }
    }
    original.retain(|name, _| kept(name));
    Ok(())
}

fn bad(prefix: &str, name: &str) -> PatchError {
    PatchError::BadDirective(format!("{prefix}{name}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
