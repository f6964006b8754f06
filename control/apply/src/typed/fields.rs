//! Which fields a value sets.

use std::collections::BTreeMap;

use serde_json::Value;
use skep_schema::{ObjectShape, Shape, ShapeId, Shapes};

use super::{View, child, items, view};
use crate::element::Element;
use crate::set::{Node, Set};

/// Every leaf, every item of a keyed list and every key of a map; of structs only what is in them, unless that is
/// nothing.
#[must_use]
pub fn fields(shape: &ObjectShape, value: &Value) -> Set {
    found(&shape.shapes, Some(shape.root), value).1
}

/// Whether the value itself is to be a member, and what is below it.
fn found(shapes: &Shapes, id: Option<ShapeId>, value: &Value) -> (bool, Set) {
    let leaf = (true, Set::new());
    let Some(shape) = id.map(|id| shapes.shape(id)) else { return leaf };
    match view(shape, value) {
        View::Leaf => leaf,
        View::Map(None) => (false, Set::new()),
        View::Map(Some(map)) => {
            let nodes = map.iter().map(|(key, value)| {
                let (id, named) = child(shape, key);
                let (member, children) = found(shapes, id, value);
                let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                Node { element: Element::field(key), member: member || empty || !named, children }
            });
            (false, Set::from_nodes(nodes.collect()))
        }
        View::List(list) => match items(shape, list) {
            None => leaf,
            Some(items) => (false, found_items(shapes, shape, &items)),
        },
    }
}

fn found_items(shapes: &Shapes, shape: &Shape, items: &[(Element, &Value)]) -> Set {
    let mut count: BTreeMap<&Element, usize> = BTreeMap::new();
    for (element, _) in items {
        *count.entry(element).or_default() += 1;
    }
    let mut nodes = Vec::with_capacity(count.len());
    for (element, value) in items {
        let children = match count.get(element) {
            // Of items that cannot be told apart only the place is owned.
            Some(2..) => {
                count.remove(element);
                Set::new()
            }
            Some(_) => found(shapes, super::item_shape(shape), value).1,
            None => continue,
        };
        nodes.push(Node { element: element.clone(), member: true, children });
    }
    Set::from_nodes(nodes)
}
