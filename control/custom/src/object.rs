//! Objects of which no more is known than a schema.

use std::any::Any;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};
use skep_registry::Object;

/// `apiVersion` and `kind` of the objects of a resource.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TypeMeta {
    pub api_version: String,
    pub kind: String,
}

/// A custom object: its metadata, which is typed, and everything else, which is not.
#[derive(Clone, Debug)]
pub(crate) struct CustomObject {
    pub types: Arc<TypeMeta>,
    pub meta: ObjectMeta,
    /// Without `apiVersion`, `kind` and `metadata`.
    pub fields: Map<String, Value>,
}

impl CustomObject {
    pub(crate) fn of(object: &dyn Object) -> Option<&Self> {
        object.as_any().downcast_ref()
    }

    pub(crate) fn of_mut(object: &mut dyn Object) -> Option<&mut Self> {
        object.as_any_mut().downcast_mut()
    }
}

impl Object for CustomObject {
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }

    fn to_value(&self) -> Value {
        let mut meta = serde_json::to_value(&self.meta).unwrap_or_default();
        if let Some(meta) = meta.as_object_mut()
            && let Some(revision) = meta.shift_remove("resourceVersion")
        {
            meta.shift_insert(0, "resourceVersion".to_owned(), revision);
        }
        let mut fields = Map::with_capacity(self.fields.len() + 3);
        fields.insert("apiVersion".to_owned(), Value::from(self.types.api_version.as_str()));
        fields.insert("kind".to_owned(), Value::from(self.types.kind.as_str()));
        fields.insert("metadata".to_owned(), meta);
        fields.extend(self.fields.iter().map(|(key, value)| (key.clone(), value.clone())));
        Value::Object(fields)
    }

    fn clone_object(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
