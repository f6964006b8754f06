//! Fields taken out of a value.

use serde_json::{Map, Value};
use skep_schema::{ObjectShape, ShapeId, Shapes};

use super::{View, child, item_element, item_shape, view};
use crate::element::Element;
use crate::set::Set;

/// `value` without the fields and items of `gone`. What is empty then goes as well.
pub(crate) fn remove(shape: &ObjectShape, value: &Value, gone: &Set) -> Value {
    below(&shape.shapes, Some(shape.root), value, gone).unwrap_or_else(|| Value::Object(Map::new()))
}

fn below(shapes: &Shapes, id: Option<ShapeId>, value: &Value, gone: &Set) -> Option<Value> {
    let Some(shape) = id.filter(|_| !gone.is_empty()).map(|id| shapes.shape(id)) else { return Some(value.clone()) };
    match view(shape, value) {
        View::Leaf => Some(value.clone()),
        View::Map(map) => {
            let kept = map.into_iter().flatten().filter_map(|(key, value)| {
                let kept = match gone.get(&Element::field(key)) {
                    Some(node) if node.member => None,
                    Some(node) => below(shapes, child(shape, key).0, value, &node.children),
                    None => Some(value.clone()),
                };
                kept.map(|value| (key.clone(), value))
            });
            let kept: Map<String, Value> = kept.collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        View::List(items) => {
            let kept = items.iter().filter_map(|item| {
                let node = item_element(shape, item).ok().and_then(|element| gone.get(&element));
                match node {
                    Some(node) if node.member => None,
                    Some(node) => below(shapes, item_shape(shape), item, &node.children),
                    None => Some(item.clone()),
                }
            });
            let kept: Vec<Value> = kept.collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
    }
}
