//! An applied configuration merged into an object.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};
use skep_schema::{ObjectShape, Shape, ShapeId, Shapes};

use super::{View, child, is_empty, item_shape, items, view};
use crate::element::Element;

/// `live` with everything that `config` sets. Nothing is removed. Lists keep the order of `live`, save for what `config`
/// orders otherwise.
pub(crate) fn merge(shape: &ObjectShape, live: &Value, config: &Value) -> Value {
    value(&shape.shapes, Some(shape.root), Some(live), Some(config)).unwrap_or_default()
}

fn value(shapes: &Shapes, id: Option<ShapeId>, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let replaced = || config.or(live).cloned();
    if live.is_none_or(is_empty) && config.is_none_or(is_empty) {
        return replaced();
    }
    let leaf = Shape::Leaf;
    let shape = id.map_or(&leaf, |id| shapes.shape(id));
    let (old, new) = (live.map(|live| view(shape, live)), config.map(|config| view(shape, config)));
    match (old, new) {
        (_, Some(View::Leaf)) | (Some(View::Leaf), _) => replaced(),
        (Some(View::List(old)), new) => list(shapes, shape, old, items_of(new)),
        (None, Some(View::List(new))) => list(shapes, shape, &[], new),
        (old, new) => map(shapes, shape, fields_of(old), fields_of(new)),
    }
}

fn items_of(view: Option<View<'_>>) -> &[Value] {
    match view {
        Some(View::List(items)) => items,
        _ => &[],
    }
}

fn fields_of(view: Option<View<'_>>) -> Option<&Map<String, Value>> {
    match view {
        Some(View::Map(map)) => map,
        _ => None,
    }
}

fn map(
    shapes: &Shapes,
    shape: &Shape,
    live: Option<&Map<String, Value>>,
    config: Option<&Map<String, Value>>,
) -> Option<Value> {
    let mut out = Map::with_capacity(live.map_or(0, Map::len) + config.map_or(0, Map::len));
    for (key, old) in live.into_iter().flatten() {
        let new = config.and_then(|config| config.get(key));
        if let Some(merged) = value(shapes, child(shape, key).0, Some(old), new) {
            out.insert(key.clone(), merged);
        }
    }
    for (key, new) in config.into_iter().flatten() {
        if live.is_none_or(|live| !live.contains_key(key))
            && let Some(merged) = value(shapes, child(shape, key).0, None, Some(new))
        {
            out.insert(key.clone(), merged);
        }
    }
    (!out.is_empty()).then_some(Value::Object(out))
}

fn list(shapes: &Shapes, shape: &Shape, live: &[Value], config: &[Value]) -> Option<Value> {
    let (Some(live_items), Some(config_items)) = (items(shape, live), items(shape, config)) else {
        // What was stored cannot be told apart: the configuration replaces it.
        return Some(Value::Array(if config.is_empty() { live.to_vec() } else { config.to_vec() }));
    };
    let mut old: BTreeMap<&Element, Option<&Value>> = BTreeMap::new();
    for (element, item) in &live_items {
        // Of items that cannot be told apart none is merged.
        old.entry(element).and_modify(|found| *found = None).or_insert(Some(item));
    }
    let new: BTreeMap<&Element, &Value> = config_items.iter().map(|(element, item)| (element, *item)).collect();
    let id = item_shape(shape);
    let merged = |element: &Element| value(shapes, id, old.get(element).copied().flatten(), new.get(element).copied());
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    for step in order(&live_items, &config_items) {
        out.extend(match step {
            Step::Merged(at) => merged(&config_items[at].0),
            Step::Kept(at) => Some(live_items[at].1.clone()),
        });
    }
    (!out.is_empty()).then_some(Value::Array(out))
}

/// What comes next in a merged list.
enum Step {
    /// The configuration's item at this place, merged with the live one.
    Merged(usize),
    /// The live item at this place.
    Kept(usize),
}

/// The order of a merged list: that of the configuration for its own items, with what only the live list has between
/// them where it was.
fn order(live: &[(Element, &Value)], config: &[(Element, &Value)]) -> Vec<Step> {
    let in_live: BTreeSet<&Element> = live.iter().map(|(element, _)| element).collect();
    let in_config: BTreeSet<&Element> = config.iter().map(|(element, _)| element).collect();
    let mut shared: VecDeque<&Element> =
        config.iter().map(|(element, _)| element).filter(|element| in_live.contains(element)).collect();
    let mut placed: BTreeSet<&Element> = BTreeSet::new();
    let mut steps = Vec::with_capacity(live.len().max(config.len()));
    let (mut l, mut c) = (0, 0);
    while l < live.len() || c < config.len() {
        let here = live.get(l).map(|(element, _)| element);
        let next = config.get(c).map(|(element, _)| element);
        if let Some(element) = here {
            if !in_config.contains(element) {
                steps.push(Step::Kept(l));
                l += 1;
                continue;
            }
            // One that the configuration has elsewhere: it is placed from there.
            let awaited = shared.front().is_none_or(|first| *first == element);
            if next.is_some() && next != here && !awaited {
                l += 1;
                continue;
            }
            if placed.contains(element) {
                l += 1;
                if next.is_none() {
                    continue;
                }
            }
        }
        let Some(element) = next else {
            // All of the configuration is placed, so that this was.
            l += 1;
            continue;
        };
        if placed.insert(element) {
            steps.push(Step::Merged(c));
        }
        if here == next {
            l += 1;
        }
        if shared.front() == next.as_ref() {
            shared.pop_front();
        }
        c += 1;
    }
    steps
}
