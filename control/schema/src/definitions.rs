//! Schemas of types, by name.

use std::collections::BTreeMap;

use k8s_openapi::Resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use k8s_openapi::schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::shape::ObjectShape;
use crate::{read, v3};

/// Group, version and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gvk<'a> {
    /// Empty for the core group.
    pub group: &'a str,
    /// The version.
    pub version: &'a str,
    /// CamelCase.
    pub kind: &'a str,
}

impl Gvk<'_> {
    /// The name of a custom kind's schema: `com.example.v1.Widget` of the group `example.com`.
    #[must_use]
    pub fn schema_name(&self) -> String {
        let mut parts: Vec<&str> = self.group.rsplit('.').collect();
        parts.extend([self.version, self.kind]);
        parts.join(".")
    }

    /// As documents have it.
    #[must_use]
    pub fn value(&self) -> Value {
        json!({"group": self.group, "kind": self.kind, "version": self.version})
    }
}

/// Schemas of types by name, each with all that it refers to, in the form of Kubernetes' OpenAPI v3 documents.
pub struct Definitions {
    generator: SchemaGenerator,
    /// Schemas that are no type's.
    custom: Map<String, Value>,
    /// The kinds that names are schemas of.
    kinds: BTreeMap<String, Value>,
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
        Self { generator: settings.into_generator(), custom: Map::new(), kinds: BTreeMap::new() }
    }

    /// Adds a built-in type, and the types of its fields. Returns its name.
    pub fn add<T: JsonSchema>(&mut self) -> String {
        let _ = self.generator.subschema_for::<T>();
        T::schema_name().into_owned()
    }

    /// Adds a built-in kind and its list. Returns its name.
    pub fn add_kind<T: JsonSchema + Resource>(&mut self) -> String {
        let name = self.add::<T>();
        self.of_kind(&name, Gvk { group: T::GROUP, version: T::VERSION, kind: T::KIND });
        name
    }

    /// Adds a schema that is no built-in type's, in v3's form. It may refer to those that were added.
    pub fn insert(&mut self, name: impl Into<String>, schema: Value) {
        self.custom.insert(name.into(), schema);
    }

    /// Adds the schema of a custom resource's objects, and of its list. Its metadata and type become those that all
    /// objects have.
    pub fn insert_kind(&mut self, name: &str, gvk: Gvk<'_>, schema: &Value) {
        let meta = self.add::<ObjectMeta>();
        self.insert(name, with_metadata(schema, &meta));
        self.of_kind(name, gvk);
    }

    fn of_kind(&mut self, name: &str, gvk: Gvk<'_>) {
        let meta = self.add::<ListMeta>();
        let list = format!("{name}List");
        self.insert(&list, Value::Object(v3::list(gvk.kind, name, &meta)));
        self.kinds.insert(list, Gvk { kind: &format!("{}List", gvk.kind), ..gvk }.value());
        self.kinds.insert(name.to_owned(), gvk.value());
    }

    /// All schemas, by name.
    #[must_use]
    pub fn schemas(mut self) -> Map<String, Value> {
        let mut all: BTreeMap<String, Value> = self.generator.take_definitions(false).into_iter().collect();
        for (name, schema) in &mut all {
            v3::normalize(name, schema);
        }
        all.extend(self.custom);
        for (name, gvk) in self.kinds {
            if let Some(schema) = all.get_mut(&name) {
                schema["x-kubernetes-group-version-kind"] = json!([gvk]);
            }
        }
        all.into_iter().collect()
    }
}

/// A structural schema with the fields that all objects have.
fn with_metadata(schema: &Value, meta: &str) -> Value {
    let mut schema = match schema {
        Value::Object(_) => schema.clone(),
        _ => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
    };
    let text = |description: &str| json!({"description": description, "type": "string"});
    let properties = schema["properties"].take();
    let mut properties = if let Value::Object(properties) = properties { properties } else { Map::new() };
    properties.insert("apiVersion".to_owned(), text("The version of the schema that this object is in."));
    properties.insert("kind".to_owned(), text("The name of this object's type."));
    let about = "The metadata that all objects have.";
    let meta = json!({"description": about, "allOf": [{"$ref": format!("{}{meta}", v3::PREFIX)}]});
    properties.insert("metadata".to_owned(), meta);
    schema["properties"] = Value::Object(properties);
    schema
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
        read::shape(&definitions.schemas(), &with_metadata(schema, &meta))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::shape::{Key, Shape, ShapeId};
    use k8s_openapi::api::core::v1::{Event, PersistentVolume, Pod};
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
        let Shape::Map { fields, .. } = pod.shape(at(&pod, &["spec"])) else { panic!() };
        assert_eq!(fields["containers"].patch.merge_key.as_deref(), Some("name"));
        assert_eq!(*pod.shape(fields["nodeSelector"].shape), Shape::Leaf);
        let Shape::Keyed { keys, item } = pod.shape(fields["containers"].shape) else { panic!() };
        assert_eq!(*keys[0].name, *"name");
        let Shape::Map { fields, .. } = pod.shape(*item) else { panic!() };
        let Shape::Keyed { keys, .. } = pod.shape(fields["ports"].shape) else { panic!() };
        let defaults: Vec<_> = keys.iter().map(|k| (&*k.name, k.default.clone())).collect();
        assert_eq!(defaults, [("containerPort", Some(json!(0))), ("protocol", Some(json!("TCP")))]);
        assert_eq!(*pod.shape(fields["command"].shape), Shape::Leaf);
        assert!(matches!(pod.shape(at(&pod, &["metadata", "labels"])), Shape::Map { rest: Some(_), .. }));
        assert_eq!(*pod.shape(at(&pod, &["spec", "nodeName"])), Shape::Leaf);
    }

    #[test]
    fn a_field_may_be_merged_whose_type_is_not() {
        let volume = ObjectShape::of::<PersistentVolume>();
        assert!(matches!(volume.shape(at(&volume, &["spec", "claimRef"])), Shape::Map { .. }));
        let event = ObjectShape::of::<Event>();
        assert_eq!(*event.shape(at(&event, &["involvedObject"])), Shape::Leaf);
    }

    #[test]
    fn a_type_may_hold_itself() {
        let crd = ObjectShape::of::<CustomResourceDefinition>();
        assert!(matches!(crd.root(), Shape::Map { .. }));
        assert!(crd.shapes.all.len() < 1000);
    }

    #[test]
    fn a_custom_kind_is_described_with_its_list() {
        let gvk = Gvk { group: "example.com", version: "v1", kind: "Widget" };
        let name = gvk.schema_name();
        assert_eq!(name, "com.example.v1.Widget");
        let mut definitions = Definitions::new();
        definitions.insert_kind(&name, gvk, &json!({"type": "object", "properties": {"spec": {"type": "object"}}}));
        let schemas = definitions.schemas();
        let widget = &schemas[&name];
        assert_eq!(widget["x-kubernetes-group-version-kind"], json!([gvk.value()]));
        let meta = &widget["properties"]["metadata"]["allOf"][0]["$ref"];
        assert!(schemas.contains_key(meta.as_str().unwrap().rsplit('/').next().unwrap()));
        assert_eq!(widget["properties"]["spec"]["type"], "object");
        assert_eq!(schemas["com.example.v1.WidgetList"]["properties"]["items"]["type"], "array");
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
