//! Sets as managed fields write them: `FieldsV1`.

use serde_json::{Map, Value};

use crate::element::{Element, ElementError};
use crate::set::{Node, Set};

/// What `.` stands for: the element that holds it is itself in the set.
const SELF: &str = ".";

/// Managed fields that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// A node of the tree is not an object.
    #[error("expected an object, got {0}")]
    NotAnObject(String),
    /// A key is malformed.
    #[error("parsing key as path element: {0}")]
    Element(#[from] ElementError),
}

impl Set {
    /// Reads `fieldsV1`.
    ///
    /// # Errors
    /// It is not a tree of objects, or a key is malformed.
    pub fn from_fields(value: &Value) -> Result<Self, FieldsError> {
        Ok(read(value)?.1)
    }

    /// As `fieldsV1`.
    #[must_use]
    pub fn to_fields(&self) -> Value {
        Value::Object(write(self, false))
    }
}

/// Whether the node itself is a member, and what is below it.
fn read(value: &Value) -> Result<(bool, Set), FieldsError> {
    let Value::Object(map) = value else {
        return if value.is_null() { Ok((true, Set::new())) } else { Err(FieldsError::NotAnObject(value.to_string())) };
    };
    let mut member = false;
    let mut nodes: Vec<Node> = Vec::with_capacity(map.len());
    for (key, below) in map {
        if key == SELF {
            member = true;
            continue;
        }
        let Some(element) = Element::parse(key)? else { continue };
        let (member, children) = read(below)?;
        nodes.push(Node { element, member, children });
    }
    let set = Set::from_nodes(nodes);
    // Two spellings of one number are one element.
    let set = if set.nodes.is_sorted_by(|a, b| a.element < b.element) { set } else { merged(set.nodes) };
    Ok((member || set.is_empty(), set))
}

fn merged(nodes: Vec<Node>) -> Set {
    nodes.into_iter().fold(Set::new(), |set, node| set.union(&Set { nodes: vec![node] }))
}

fn write(set: &Set, member: bool) -> Map<String, Value> {
    let mut map = Map::with_capacity(set.nodes.len() + usize::from(member));
    if member && !set.is_empty() {
        map.insert(SELF.to_owned(), Value::Object(Map::new()));
    }
    for node in &set.nodes {
        map.insert(node.element.encode(), Value::Object(write(&node.children, node.member)));
    }
    map
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_written_as_they_are_read() {
        let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:containers":
            {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}}, "f:finalizers": {"v:\"x\"": {}}}});
        let set = Set::from_fields(&fields).unwrap();
        assert_eq!(set.to_fields(), fields);
        assert_eq!(set.to_fields().to_string(), fields.to_string());
        assert_eq!(set.paths().len(), 5);
    }

    #[test]
    fn what_is_unknown_is_left_out_and_what_is_wrong_is_named() {
        let fields = json!({"x:later": {"f:a": {}}, "f:b": {"f:c": {}, ".": {}}});
        assert_eq!(Set::from_fields(&fields).unwrap().to_fields(), json!({"f:b": {".": {}, "f:c": {}}}));
        assert_eq!(Set::from_fields(&json!({})).unwrap(), Set::new());
        assert!(Set::from_fields(&json!([])).is_err());
        assert!(Set::from_fields(&json!({"f:a": 1})).is_err());
        assert!(Set::from_fields(&json!({"nonsense": {}})).is_err());
        let twice = json!({"v:1": {"f:a": {}}, "v:1.0": {"f:b": {}}});
        assert_eq!(Set::from_fields(&twice).unwrap().paths().len(), 2);
    }
}
