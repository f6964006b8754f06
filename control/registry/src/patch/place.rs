//! Where in a shape a patch is.

use skep_schema::{ObjectShape, PatchStrategy, Shape, ShapeId, Shapes};

/// How a patch treats a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lists<'a> {
    /// The patch's list replaces the object's.
    Atomic,
    /// Elements are objects, matched by a key.
    ByKey(&'a str),
    /// Elements are primitives; the patch's are added.
    Set,
}

/// A place in a shape, or where no shape is known: there maps are merged and lists are replaced.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    shapes: &'a Shapes,
    id: Option<ShapeId>,
}

/// A field, and what a patch does with its value.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    /// How its list is merged, where it is one.
    pub(super) lists: Lists<'a>,
    /// Whether its map is replaced, where it is one.
    pub(super) replaced: bool,
    /// Where its value is.
    pub(super) place: Place<'a>,
}

impl<'a> Place<'a> {
    pub(super) fn root(shape: &'a ObjectShape) -> Self {
        Self { shapes: &shape.shapes, id: Some(shape.root) }
    }

    fn shape(self) -> Option<&'a Shape> {
        self.id.map(|id| self.shapes.shape(id))
    }

    pub(super) fn field(self, name: &str) -> Field<'a> {
        let plain = |id| Field { lists: Lists::Atomic, replaced: false, place: Self { id, ..self } };
        let Some(Shape::Map { fields, rest }) = self.shape() else { return plain(None) };
        let Some(field) = fields.get(name) else { return plain(*rest) };
        let lists = match (field.patch.strategy, &field.patch.merge_key) {
            (PatchStrategy::Merge, Some(key)) => Lists::ByKey(key),
            (PatchStrategy::Merge, None) => Lists::Set,
            _ => Lists::Atomic,
        };
        Field { lists, replaced: field.patch.strategy == PatchStrategy::Replace, ..plain(Some(field.shape)) }
    }

    /// Where a list's elements are.
    pub(super) fn item(self) -> Self {
        let id = match self.shape() {
            Some(Shape::Keyed { item, .. }) => Some(*item),
            _ => None,
        };
        Self { id, ..self }
    }
}
