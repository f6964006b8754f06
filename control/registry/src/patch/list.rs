//! Lists under a strategic merge patch.

use serde_json::{Map, Value};

use super::place::{Field, Lists, Place};
use super::{Directive, PatchError, directive, merge_map};

/// Merges the list in a patch into the one of the object.
pub(super) fn merge(name: &str, old: Vec<Value>, patch: &[Value], field: &Field<'_>) -> Result<Vec<Value>, PatchError> {
    match field.lists {
        Lists::Atomic => Ok(patch.to_vec()),
        Lists::Set => Ok(merge_set(old, patch)),
        Lists::ByKey(key) => merge_keyed(name, old, patch, key, field.place.item()),
    }
}

fn merge_set(mut old: Vec<Value>, patch: &[Value]) -> Vec<Value> {
    for value in patch {
        if !old.contains(value) {
            old.push(value.clone());
        }
    }
    old
}

fn merge_keyed(
    name: &str,
    mut old: Vec<Value>,
    patch: &[Value],
    key: &str,
    place: Place<'_>,
) -> Result<Vec<Value>, PatchError> {
    let mut plain: Vec<&Map<String, Value>> = Vec::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        let item = item.as_object().ok_or_else(|| PatchError::NotAnObject(format!("an element of {name}")))?;
        match directive(item)? {
            Some(Directive::Replace) => {
                replace = true;
                // `{"$patch": "replace"}` alone is only a mark; with fields it is an element too.
                if item.len() > 1 {
                    plain.push(item);
                }
            }
            Some(Directive::Delete) => {
                let id = key_of(item, name, key)?;
                old.retain(|other| other.get(key) != Some(id));
            }
            Some(Directive::Merge) | None => plain.push(item),
        }
    }
    if replace {
        // As it is, also where several elements have one key: a Node has two addresses of one type.
        let whole = |item: &Map<String, Value>| merge_map(Map::new(), item, place).map(Value::Object);
        return plain.into_iter().map(whole).collect();
    }
    for item in plain {
        let id = key_of(item, name, key)?;
        match old.iter_mut().find(|other| other.get(key) == Some(id)) {
            Some(other) => {
                let base = match other.take() {
                    Value::Object(base) => base,
                    _ => Map::new(),
                };
                *other = Value::Object(merge_map(base, item, place)?);
            }
            None => old.push(Value::Object(merge_map(Map::new(), item, place)?)),
        }
    }
    Ok(old)
}

fn key_of<'a>(item: &'a Map<String, Value>, list: &str, key: &str) -> Result<&'a Value, PatchError> {
    item.get(key).ok_or_else(|| PatchError::NoMergeKey { list: list.to_owned(), key: key.to_owned() })
}

/// Removes primitives from a list.
pub(super) fn remove_primitives(list: Option<&mut Value>, remove: &[Value]) {
    if let Some(Value::Array(items)) = list {
        items.retain(|item| !remove.contains(item));
    }
}

/// Puts the elements that `order` names into its order. Those it does not name, which only the server knows, keep
/// their place among those that were there `before`.
pub(super) fn reorder(items: &mut Vec<Value>, order: &[Value], before: &[Value], lists: Lists<'_>) {
    let place = |list: &[Value], item: &Value| match lists {
        Lists::ByKey(key) => list.iter().position(|o| o.get(key).is_some() && o.get(key) == item.get(key)),
        Lists::Set | Lists::Atomic => list.iter().position(|o| o == item),
    };
    let mut named = Vec::new();
    let mut others = Vec::new();
    for item in std::mem::take(items) {
        let was = place(before, &item);
        match place(order, &item) {
            Some(rank) => named.push((rank, was, item)),
            None => others.push((was, item)),
        }
    }
    named.sort_by_key(|(rank, ..)| *rank);
    let mut others = others.into_iter().peekable();
    for (_, was, item) in named {
        if let Some(was) = was {
            while let Some((_, other)) = others.next_if(|(other, _)| other.is_some_and(|other| other < was)) {
                items.push(other);
            }
        }
        items.push(item);
    }
    items.extend(others.map(|(_, other)| other));
}
