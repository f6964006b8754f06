//! Shapes: what of a schema matters for merging.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

/// A shape's place among its [`Shapes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShapeId(pub(crate) u32);

/// How a value is merged and owned.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Replaced whole: scalars, atomic lists, maps and structs.
    Leaf,
    /// A struct or a map, merged key by key. A value that is no object is replaced whole.
    Map {
        /// The known fields.
        fields: BTreeMap<Box<str>, Field>,
        /// The shape of all other keys' values; none where no other key is known. What has no schema is a map whose rest
        /// is itself.
        rest: Option<ShapeId>,
    },
    /// A list of scalars, each there once.
    Set,
    /// A list of objects, told apart by their keys.
    Keyed {
        /// The fields that together tell an element.
        keys: Box<[Key]>,
        /// The shape of the elements.
        item: ShapeId,
    },
}

/// A field of a struct.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The shape of its value.
    pub shape: ShapeId,
    /// What a strategic merge patch does with it.
    pub patch: Patch,
}

/// A key of a keyed list's elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// The field's name.
    pub name: Box<str>,
    /// Its value where an element lacks it.
    pub default: Option<Value>,
}

/// What a strategic merge patch does with a field: `x-kubernetes-patch-strategy` and `x-kubernetes-patch-merge-key`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// The strategy.
    pub strategy: PatchStrategy,
    /// Whether a client that makes patches says which keys stay.
    pub retain_keys: bool,
    /// The key of a merged list's elements; none for a list of scalars.
    pub merge_key: Option<Box<str>>,
}

/// A patch strategy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PatchStrategy {
    /// Maps are merged, lists are replaced.
    #[default]
    Default,
    /// Lists are merged too.
    Merge,
    /// Maps are replaced too.
    Replace,
}

/// An arena of shapes.
#[derive(Debug)]
pub struct Shapes {
    pub(crate) all: Vec<Shape>,
}

impl Shapes {
    /// The shape at a place.
    #[must_use]
    pub fn shape(&self, id: ShapeId) -> &Shape {
        // Ids come from the arena that they are used with; those of another are a leaf at worst.
        self.all.get(id.0 as usize).unwrap_or(&Shape::Leaf)
    }
}

/// A kind's shape.
#[derive(Clone, Debug)]
pub struct ObjectShape {
    /// The arena.
    pub shapes: Arc<Shapes>,
    /// The object itself.
    pub root: ShapeId,
}

impl ObjectShape {
    /// The shape at a place.
    #[must_use]
    pub fn shape(&self, id: ShapeId) -> &Shape {
        self.shapes.shape(id)
    }

    /// The shape of a whole object.
    #[must_use]
    pub fn root(&self) -> &Shape {
        self.shapes.shape(self.root)
    }
}
