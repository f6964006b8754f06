//! Sets of fields, as trees.

use std::cmp::Ordering;

use skep_schema::{Shape, ShapeId, Shapes};

use crate::element::Element;

/// A set of paths. A path in it does not bring its parents or children with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Sorted by element; none is without membership and children at once.
    pub(crate) nodes: Vec<Node>,
}

/// What a set holds at and below an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub element: Element,
    /// Whether the element itself is in the set.
    pub member: bool,
    pub children: Set,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }
}

impl Set {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { nodes: Vec::new() }
    }

    /// The set of fields with these dotted paths, e.g. `metadata.name`.
    #[must_use]
    pub fn of_fields(paths: &[&str]) -> Self {
        let mut set = Self::new();
        for path in paths {
            let path: Vec<Element> = path.split('.').map(Element::field).collect();
            set.insert(&path);
        }
        set
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds a path. The empty path stands for the whole object, which nobody owns.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut set = self;
        for element in parents {
            set = &mut set.node(element).children;
        }
        set.node(last).member = true;
    }

    /// The node of an element, made if it is not there.
    fn node(&mut self, element: &Element) -> &mut Node {
        let at = match self.nodes.binary_search_by(|node| node.element.cmp(element)) {
            Ok(at) => at,
            Err(at) => {
                let node = Node { element: element.clone(), member: false, children: Self::new() };
                self.nodes.insert(at, node);
                at
            }
        };
        &mut self.nodes[at]
    }

    pub(crate) fn get(&self, element: &Element) -> Option<&Node> {
        let at = self.nodes.binary_search_by(|node| node.element.cmp(element)).ok()?;
        self.nodes.get(at)
    }

    /// Whether a path is in it.
    #[must_use]
    pub fn has(&self, path: &[Element]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let set = parents.iter().try_fold(self, |set, element| set.get(element).map(|node| &node.children));
        set.and_then(|set| set.get(last)).is_some_and(|node| node.member)
    }

    /// From nodes in any order, of which no two have one element.
    pub(crate) fn from_nodes(mut nodes: Vec<Node>) -> Self {
        nodes.retain(|node| !node.is_empty());
        if !nodes.is_sorted_by(|a, b| a.element <= b.element) {
            nodes.sort_by(|a, b| a.element.cmp(&b.element));
        }
        Self { nodes }
    }

    /// Goes through both sets in order.
    fn zip(&self, other: &Self, mut with: impl FnMut(Option<&Node>, Option<&Node>) -> Option<Node>) -> Self {
        let (mut left, mut right) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        let mut nodes = Vec::new();
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.element.cmp(&b.element),
            };
            let node = match order {
                Ordering::Less => with(left.next(), None),
                Ordering::Greater => with(None, right.next()),
                Ordering::Equal => with(left.next(), right.next()),
            };
            nodes.extend(node.filter(|node| !node.is_empty()));
        }
        Self { nodes }
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.zip(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => Some(Node {
                element: a.element.clone(),
                member: a.member || b.member,
                children: a.children.union(&b.children),
            }),
            (one, other) => one.or(other).cloned(),
        })
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.zip(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => Some(Node {
                element: a.element.clone(),
                member: a.member && b.member,
                children: a.children.intersection(&b.children),
            }),
            _ => None,
        })
    }

    /// What is in this set and not in the other. A path leaves neither its parents nor its children out.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.zip(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => Some(Node {
                element: a.element.clone(),
                member: a.member && !b.member,
                children: a.children.difference(&b.children),
            }),
            (a, _) => a.cloned(),
        })
    }

    /// What is in this set and neither in the other nor below one of its paths.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.zip(other, |a, b| match (a, b) {
            (Some(_), Some(b)) if b.member => None,
            (Some(a), Some(b)) => {
                Some(Node { element: a.element.clone(), member: a.member, children: a.children.without(&b.children) })
            }
            (a, _) => a.cloned(),
        })
    }

    /// Calls `with` for each path: at each level first those that end there, then those that go on.
    pub fn each(&self, with: &mut dyn FnMut(&[Element])) {
        self.each_below(&mut Vec::new(), with);
    }

    fn each_below(&self, path: &mut Vec<Element>, with: &mut dyn FnMut(&[Element])) {
        for node in self.nodes.iter().filter(|node| node.member) {
            path.push(node.element.clone());
            with(path);
            path.pop();
        }
        for node in &self.nodes {
            path.push(node.element.clone());
            node.children.each_below(path, with);
            path.pop();
        }
    }

    /// Its paths, in the order of [`Set::each`].
    #[must_use]
    pub fn paths(&self) -> Vec<Vec<Element>> {
        let mut paths = Vec::new();
        self.each(&mut |path| paths.push(path.to_vec()));
        paths
    }

    /// With every named field of a struct that something is owned below.
    pub(crate) fn with_named(&self, shapes: &Shapes, at: Option<ShapeId>) -> Self {
        let shape = at.map(|id| shapes.shape(id));
        let nodes = self.nodes.iter().map(|node| {
            let (child, named) = match (&node.element, shape) {
                (Element::Field(name), Some(Shape::Map { fields, rest })) => match fields.get(name) {
                    Some(field) => (Some(field.shape), true),
                    None => (*rest, false),
                },
                (Element::Key(_), Some(Shape::Keyed { item, .. })) => (Some(*item), false),
                _ => (None, false),
            };
            Node {
                element: node.element.clone(),
                member: node.member || (named && !node.children.is_empty()),
                children: node.children.with_named(shapes, child),
            }
        });
        Self { nodes: nodes.collect() }
    }

    /// After a change of the schema that made a list or map a leaf: who owned something below owns it whole.
    pub(crate) fn reconciled(&self, shapes: &Shapes, at: ShapeId) -> Self {
        let shape = shapes.shape(at);
        let nodes = self.nodes.iter().map(|node| {
            let child = match (&node.element, shape) {
                (Element::Field(name), Shape::Map { fields, rest }) => {
                    fields.get(name).map(|field| field.shape).or(*rest)
                }
                (Element::Key(_), Shape::Keyed { item, .. }) => Some(*item),
                _ => None,
            };
            match child {
                Some(id) if matches!(shapes.shape(id), Shape::Leaf) && !node.children.is_empty() => {
                    Node { element: node.element.clone(), member: true, children: Self::new() }
                }
                Some(id) => Node { children: node.children.reconciled(shapes, id), ..node.clone() },
                None => node.clone(),
            }
        });
        Self { nodes: nodes.collect() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn set(paths: &[&str]) -> Set {
        Set::of_fields(paths)
    }

    #[test]
    fn parents_and_children_are_members_of_their_own() {
        let both = set(&["a", "a.b"]);
        assert_eq!(both.difference(&set(&["a"])), set(&["a.b"]));
        assert_eq!(both.difference(&set(&["a.b"])), set(&["a"]));
        assert_eq!(both.without(&set(&["a"])), Set::new());
        assert_eq!(both.intersection(&set(&["a.b", "c"])), set(&["a.b"]));
        assert_eq!(set(&["a"]).union(&set(&["a.b"])), both);
        assert!(both.has(&[Element::field("a")]) && !set(&["a.b"]).has(&[Element::field("a")]));
    }

    #[test]
    fn what_ends_comes_before_what_goes_on() {
        let paths: Vec<String> = set(&["a.b", "c", "b"]).paths().iter().map(|p| crate::path_text(p)).collect();
        assert_eq!(paths, [".b", ".c", ".a.b"]);
    }
}
