//! How two values of one shape differ.

use std::collections::BTreeMap;

use serde_json::Value;
use skep_schema::{ObjectShape, Shape, ShapeId, Shapes};

use super::{View, child, is_empty, item_shape, items, view};
use crate::element::Element;
use crate::set::Set;

/// The fields that differ. Only the place of items that could not be told apart, and now can, is both removed and added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In the old value only.
    pub removed: Set,
    /// In both, with other contents.
    pub modified: Set,
    /// In the new value only.
    pub added: Set,
}

impl Changes {
    /// Whether the values are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// Leaves out what is in `ignored` or below it.
    #[must_use]
    pub fn without(&self, ignored: &Set) -> Self {
        Self {
            removed: self.removed.without(ignored),
            modified: self.modified.without(ignored),
            added: self.added.without(ignored),
        }
    }
}

/// What changed from `old` to `new`.
#[must_use]
pub fn compare(shape: &ObjectShape, old: &Value, new: &Value) -> Changes {
    let mut walk = Walk { shapes: &shape.shapes, path: Vec::new(), changes: Changes::default() };
    walk.value(Some(shape.root), Some(old), Some(new));
    walk.changes
}

struct Walk<'a> {
    shapes: &'a Shapes,
    path: Vec<Element>,
    changes: Changes,
}

impl Walk<'_> {
    /// At least one of the values is there.
    fn value(&mut self, id: Option<ShapeId>, old: Option<&Value>, new: Option<&Value>) {
        let leaf = Shape::Leaf;
        let shapes = self.shapes;
        let shape = id.map_or(&leaf, |id| shapes.shape(id));
        if old.is_none_or(is_empty) && new.is_none_or(is_empty) {
            return self.leaf(old, new);
        }
        match (old.map(|old| view(shape, old)), new.map(|new| view(shape, new))) {
            (Some(View::Leaf), Some(View::Leaf) | None) | (None, Some(View::Leaf)) => return self.leaf(old, new),
            // A container took the place of a leaf, or the other way round.
            (Some(View::Leaf), _) => {
                self.value(id, None, new);
                return self.leaf(old, new);
            }
            (_, Some(View::Leaf)) => {
                self.value(id, old, None);
                return self.leaf(old, new);
            }
            (Some(View::List(_)), _) | (_, Some(View::List(_))) => {
                if old == new {
                    return;
                }
                match (items(shape, list(old)), items(shape, list(new))) {
                    (Some(a), Some(b)) => self.items(item_shape(shape), a, b),
                    _ => return self.leaf(old, new),
                }
            }
            _ => self.map(shape, old, new),
        }
        match (old, new) {
            (None, _) => self.changes.added.insert(&self.path),
            (_, None) => self.changes.removed.insert(&self.path),
            _ => {}
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, _) => self.changes.added.insert(&self.path),
            (_, None) => self.changes.removed.insert(&self.path),
            (Some(old), Some(new)) if old != new => {
                // What was one below the other before is said once.
                self.changes.added = self.changes.added.difference(&one(&self.path));
                self.changes.removed = self.changes.removed.difference(&one(&self.path));
                self.changes.modified.insert(&self.path);
            }
            _ => {}
        }
    }

    fn map(&mut self, shape: &Shape, old: Option<&Value>, new: Option<&Value>) {
        let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
        for (key, old) in old.into_iter().flatten() {
            self.child(shape, key, Some(old), new.and_then(|new| new.get(key)));
        }
        for (key, new) in new.into_iter().flatten() {
            if old.is_none_or(|old| !old.contains_key(key)) {
                self.child(shape, key, None, Some(new));
            }
        }
    }

    fn child(&mut self, shape: &Shape, key: &str, old: Option<&Value>, new: Option<&Value>) {
        self.path.push(Element::field(key));
        self.value(child(shape, key).0, old, new);
        self.path.pop();
    }

    fn items(&mut self, id: Option<ShapeId>, old: Vec<(Element, &Value)>, new: Vec<(Element, &Value)>) {
        let mut all: BTreeMap<Element, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for (element, item) in old {
            all.entry(element).or_default().0.push(item);
        }
        for (element, item) in new {
            all.entry(element).or_default().1.push(item);
        }
        for (element, (old, new)) in all {
            self.path.push(element);
            match (old.as_slice(), new.as_slice()) {
                ([] | [_], [] | [_]) => self.value(id, old.first().copied(), new.first().copied()),
                ([_, _, ..], [_, _, ..]) => {
                    if old != new {
                        self.changes.modified.insert(&self.path);
                    }
                }
                // Items that could not be told apart were owned by their place alone.
                ([_, _, ..], new) => {
                    if let [new] = new {
                        self.value(id, None, Some(new));
                    }
                    self.changes.removed.insert(&self.path);
                }
                (old, _) => {
                    if let [old] = old {
                        self.value(id, Some(old), None);
                    }
                    self.changes.added.insert(&self.path);
                }
            }
            self.path.pop();
        }
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn one(path: &[Element]) -> Set {
    let mut set = Set::new();
    set.insert(path);
    set
}
