//! From schemas to shapes, by the rules that Kubernetes' own conversion follows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::shape::{Field, Key, ObjectShape, Patch, PatchStrategy, Shape, ShapeId, Shapes};

const LEAF: ShapeId = ShapeId(0);
const ANY: ShapeId = ShapeId(1);
/// How deep schemas nest; what is deeper has no schema.
const DEPTH_MAX: usize = 200;

/// The shape of `schema`, whose references are to `definitions`.
pub(crate) fn shape(definitions: &Map<String, Value>, schema: &Value) -> ObjectShape {
    let any = Shape::Map { fields: BTreeMap::new(), rest: Some(ANY) };
    let mut reader = Reader { definitions, all: vec![Shape::Leaf, any], named: HashMap::new() };
    let root = reader.read(schema, 0);
    reader.all.shrink_to_fit();
    ObjectShape { shapes: Arc::new(Shapes { all: reader.all }), root }
}

struct Reader<'a> {
    definitions: &'a Map<String, Value>,
    all: Vec<Shape>,
    named: HashMap<&'a str, ShapeId>,
}

impl<'a> Reader<'a> {
    fn read(&mut self, schema: &'a Value, depth: usize) -> ShapeId {
        if depth > DEPTH_MAX {
            return ANY;
        }
        if text(schema, "x-kubernetes-map-type") == Some("atomic") {
            return LEAF;
        }
        if let Some(name) = reference(schema) {
            // A field may be merged whose type is replaced whole elsewhere.
            return match self.definitions.get(name) {
                Some(of) if text(schema, "x-kubernetes-map-type") == Some("granular") => self.object(of, depth + 1),
                _ => self.named(name, depth),
            };
        }
        if flag(schema, "x-kubernetes-int-or-string") {
            return LEAF;
        }
        match text(schema, "type") {
            Some("array") => self.list(schema, depth),
            Some("object") => self.object(schema, depth),
            Some(_) => LEAF,
            None if schema.get("properties").is_some() => self.object(schema, depth),
            None if schema.get("oneOf").is_some() => LEAF,
            None => ANY,
        }
    }

    fn named(&mut self, name: &'a str, depth: usize) -> ShapeId {
        if let Some(id) = self.named.get(name) {
            return *id;
        }
        let definitions = self.definitions;
        let Some(schema) = definitions.get(name) else { return ANY };
        // The place is taken first, for types that hold themselves.
        let id = self.push(Shape::Leaf);
        self.named.insert(name, id);
        let read = self.read(schema, depth + 1);
        // A struct's own shape is the last one made: it moves to its place.
        let shape = match self.all.len().checked_sub(1) {
            Some(last) if last == read.0 as usize && read != id => self.all.pop(),
            _ => self.all.get(read.0 as usize).cloned(),
        };
        if let (Some(place), Some(shape)) = (self.all.get_mut(id.0 as usize), shape) {
            *place = shape;
        }
        id
    }

    fn list(&mut self, schema: &'a Value, depth: usize) -> ShapeId {
        let keys: Vec<&'a str> = match text(schema, "x-kubernetes-list-type") {
            Some("atomic") => return LEAF,
            Some("set") => return self.push(Shape::Set),
            Some("map") => {
                let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                keys.into_iter().flatten().filter_map(Value::as_str).collect()
            }
            // Types from before list types say it by their patch strategy.
            _ => match (patch(schema).strategy, text(schema, "x-kubernetes-patch-merge-key")) {
                (PatchStrategy::Merge, Some(key)) => vec![key],
                (PatchStrategy::Merge, None) => return self.push(Shape::Set),
                _ => return LEAF,
            },
        };
        let Some(items) = schema.get("items") else { return LEAF };
        let keys = keys.into_iter().map(|name| Key { name: name.into(), default: self.default_of(items, name) });
        let keys: Box<[Key]> = keys.collect();
        let item = self.read(items, depth + 1);
        self.push(Shape::Keyed { keys, item })
    }

    fn object(&mut self, schema: &'a Value, depth: usize) -> ShapeId {
        let properties = schema.get("properties").and_then(Value::as_object);
        let unknown = flag(schema, "x-kubernetes-preserve-unknown-fields");
        let rest = match schema.get("additionalProperties") {
            Some(Value::Bool(true)) => Some(ANY),
            Some(of @ Value::Object(_)) => Some(self.read(of, depth + 1)),
            _ => unknown.then_some(ANY),
        };
        if properties.is_none_or(Map::is_empty) {
            return match rest {
                Some(ANY) | None => ANY,
                rest => self.push(Shape::Map { fields: BTreeMap::new(), rest }),
            };
        }
        let mut fields = BTreeMap::new();
        for (name, of) in properties.into_iter().flatten() {
            let shape = self.read(of, depth + 1);
            fields.insert(name.as_str().into(), Field { shape, patch: patch(of) });
        }
        self.push(Shape::Map { fields, rest })
    }

    fn default_of(&self, items: &Value, field: &str) -> Option<Value> {
        let item = match reference(items) {
            Some(name) => self.definitions.get(name)?,
            None => items,
        };
        item.get("properties")?.get(field)?.get("default").cloned()
    }

    fn push(&mut self, shape: Shape) -> ShapeId {
        // An arena of four billion shapes has no place in memory; past the end everything is a leaf.
        let Ok(id) = u32::try_from(self.all.len()) else { return LEAF };
        self.all.push(shape);
        ShapeId(id)
    }
}

/// The name that a schema refers to, by itself or as the only one of `allOf`.
pub(crate) fn reference(schema: &Value) -> Option<&str> {
    let path = match schema.get("$ref") {
        Some(path) => path.as_str()?,
        None => match schema.get("allOf")?.as_array()?.as_slice() {
            [only] => only.get("$ref")?.as_str()?,
            _ => return None,
        },
    };
    path.rsplit('/').next()
}

fn patch(schema: &Value) -> Patch {
    let mut patch = Patch::default();
    for word in text(schema, "x-kubernetes-patch-strategy").unwrap_or_default().split(',') {
        match word {
            "merge" => patch.strategy = PatchStrategy::Merge,
            "replace" => patch.strategy = PatchStrategy::Replace,
            "retainKeys" => patch.retain_keys = true,
            _ => {}
        }
    }
    patch.merge_key = text(schema, "x-kubernetes-patch-merge-key").map(Into::into);
    patch
}

fn text<'a>(schema: &'a Value, name: &str) -> Option<&'a str> {
    schema.get(name).and_then(Value::as_str)
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or(false)
}
