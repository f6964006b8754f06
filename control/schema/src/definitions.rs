//! Schemas of types, by name.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::read;
use crate::shape::ObjectShape;

/// Schemas of types by name, each with all that it refers to.
pub struct Definitions {
    generator: SchemaGenerator,
    custom: Map<String, Value>,
}

impl Default for Definitions {
    fn default() -> Self {
        Self::new()
    }
}

impl Definitions {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        let mut settings = SchemaSettings::openapi3();
        settings.transforms.clear();
        Self { generator: settings.into_generator(), custom: Map::new() }
    }

    /// Adds a built-in type, and the types of its fields. Returns its name.
    pub fn add<T: JsonSchema>(&mut self) -> String {
        let _ = self.generator.subschema_for::<T>();
        T::schema_name().into_owned()
    }

    /// Adds a schema that is no built-in type's. It may refer to those that were added.
    pub fn insert(&mut self, name: impl Into<String>, schema: Value) {
        self.custom.insert(name.into(), schema);
    }

    /// All schemas, as OpenAPI v3 has them.
    #[must_use]
    pub fn schemas(mut self) -> Map<String, Value> {
        let mut schemas = self.generator.take_definitions(false);
        schemas.extend(self.custom);
        schemas
    }
}

impl ObjectShape {
    /// The shape of a built-in type.
    #[must_use]
    pub fn of<T: JsonSchema>() -> Self {
        let mut definitions = Definitions::new();
        let name = definitions.add::<T>();
        read::shape(&definitions.schemas(), &json!({"$ref": name}))
    }

    /// The shape of a custom resource: its structural schema's, with the metadata that all objects have.
    #[must_use]
    pub fn of_custom(schema: &Value) -> Self {
        let mut definitions = Definitions::new();
        let meta = definitions.add::<ObjectMeta>();
        let mut schema = schema.clone();
        if let Some(schema) = schema.as_object_mut() {
            let properties = schema.entry("properties").or_insert_with(|| json!({}));
            if let Some(properties) = properties.as_object_mut() {
                properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
                properties.insert("kind".to_owned(), json!({"type": "string"}));
                properties.insert("metadata".to_owned(), json!({"$ref": meta}));
            }
        }
        read::shape(&definitions.schemas(), &schema)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::shape::{Key, Shape, ShapeId};
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

    fn at(shape: &ObjectShape, path: &[&str]) -> ShapeId {
        path.iter().fold(shape.root, |id, name| match shape.shape(id) {
            Shape::Map { fields, rest } => fields.get(*name).map(|f| f.shape).or(*rest).unwrap(),
            Shape::Keyed { item, .. } => *item,
            other => panic!("{name} of {other:?}"),
        })
    }

    #[test]
    fn a_pod_has_its_fields() {
        let pod = ObjectShape::of::<Pod>();
        assert!(matches!(pod.shape(at(&pod, &["metadata", "labels"])), Shape::Map { rest: Some(_), .. }));
        assert_eq!(*pod.shape(at(&pod, &["spec", "nodeName"])), Shape::Leaf);
    }

    #[test]
    fn a_type_may_hold_itself() {
        let crd = ObjectShape::of::<CustomResourceDefinition>();
        assert!(matches!(crd.root(), Shape::Map { .. }));
        assert!(crd.shapes.all.len() < 1000);
    }

    #[test]
    fn a_structural_schema_says_its_lists() {
        let shape = ObjectShape::of_custom(
            &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
                "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
                    "items": {"type": "object", "properties": {"port": {"type": "integer"},
                        "protocol": {"type": "string", "default": "TCP"}}}},
                "names": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "plain": {"type": "array", "items": {"type": "string"}},
                "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "string"}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            }}}}),
        );
        let spec = |name| shape.shape(at(&shape, &["spec", name]));
        let Shape::Keyed { keys, .. } = spec("ports") else { panic!() };
        let key = |name: &str, default| Key { name: name.into(), default };
        assert_eq!(**keys, [key("port", None), key("protocol", Some("TCP".into()))]);
        assert_eq!(*spec("names"), Shape::Set);
        assert_eq!(*spec("plain"), Shape::Leaf);
        assert_eq!(*spec("whole"), Shape::Leaf);
        let free = at(&shape, &["spec", "free"]);
        assert_eq!(at(&shape, &["spec", "free", "a", "b"]), free);
        assert!(matches!(shape.shape(at(&shape, &["metadata"])), Shape::Map { rest: None, .. }));
    }
}
