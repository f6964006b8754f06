//! From a typed [`Kind`] to the erased [`Strategy`].

use std::any::Any;
use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};
use skep_schema::{Definitions, ObjectShape};

use crate::kind::{ApiObject, Kind};
use crate::strategy::{
    Allocated, Cell, Claim, Column, DecodeError, Decoded, FieldError, Object, Pools, Requester, Scale, Strategy,
    Subresource,
};

/// An object of a `k8s-openapi` type behind the [`Object`] trait.
#[derive(Clone, Debug, PartialEq)]
pub struct TypedObject<T>(pub T);

impl<T: ApiObject> Object for TypedObject<T> {
    fn meta(&self) -> &ObjectMeta {
        self.0.metadata()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.metadata_mut()
    }

    fn to_value(&self) -> Value {
        // The types of k8s-openapi serialize to objects with string keys; only a time out of range could fail.
        in_order(serde_json::to_value(&self.0).unwrap_or_default())
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

/// `apiVersion`, `kind` and `metadata` first, and `resourceVersion` first in the metadata.
fn in_order(value: Value) -> Value {
    let Value::Object(mut fields) = value else { return value };
    let mut ordered = Map::with_capacity(fields.len());
    for key in ["apiVersion", "kind", "metadata"] {
        if let Some(mut field) = fields.shift_remove(key) {
            if key == "metadata"
                && let Some(meta) = field.as_object_mut()
                && let Some(revision) = meta.shift_remove("resourceVersion")
            {
                meta.shift_insert(0, "resourceVersion".to_owned(), revision);
            }
            ordered.insert(key.to_owned(), field);
        }
    }
    ordered.extend(fields);
    Value::Object(ordered)
}

/// The typed object behind an erased one.
#[must_use]
pub fn typed_ref<T: ApiObject>(object: &dyn Object) -> Option<&T> {
    object.as_any().downcast_ref::<TypedObject<T>>().map(|typed| &typed.0)
}

/// The typed object behind an erased one, to change.
#[must_use]
pub fn typed_mut<T: ApiObject>(object: &mut dyn Object) -> Option<&mut T> {
    object.as_any_mut().downcast_mut::<TypedObject<T>>().map(|typed| &mut typed.0)
}

/// The [`Strategy`] of a [`Kind`]. Given an object of another type, each method does nothing.
pub struct Typed<K> {
    /// Made when it is first asked for.
    shape: OnceLock<ObjectShape>,
    kind: PhantomData<K>,
}

impl<K> Typed<K> {
    /// The strategy.
    #[must_use]
    pub const fn new() -> Self {
        Self { shape: OnceLock::new(), kind: PhantomData }
    }
}

impl<K> Default for Typed<K> {
    fn default() -> Self {
        Self::new()
    }
}

fn get<K: Kind>(object: &dyn Object) -> Option<&K::Object> {
    typed_ref::<K::Object>(object)
}

fn get_mut<K: Kind>(object: &mut dyn Object) -> Option<&mut K::Object> {
    typed_mut::<K::Object>(object)
}

impl<K: Kind> Strategy for Typed<K> {
    fn decode(&self, value: Value) -> Result<Decoded, DecodeError> {
        let (object, unknown_fields) = crate::decode::decode::<K::Object>(value)?;
        Ok(Decoded { object: Box::new(TypedObject(object)), unknown_fields })
    }

    fn stored_api_version(&self) -> Option<&str> {
        K::STORED_API_VERSION
    }

    fn encode_stored(&self, object: &dyn Object) -> Option<Box<dyn Object>> {
        get::<K>(object).and_then(K::encode_stored)
    }

    fn decode_stored(&self, stored: Value) -> Result<Box<dyn Object>, DecodeError> {
        Ok(Box::new(TypedObject(K::decode_stored(stored)?)))
    }

    fn default(&self, object: &mut dyn Object) {
        if let Some(object) = get_mut::<K>(object) {
            K::default(object);
        }
    }

    fn prepare_for_create(&self, object: &mut dyn Object) {
        if K::GENERATIONS {
            object.meta_mut().generation = Some(1);
        }
        if let Some(object) = get_mut::<K>(object) {
            K::prepare_for_create(object);
        }
    }

    fn set_requester(&self, object: &mut dyn Object, requester: &Requester<'_>) {
        if let Some(object) = get_mut::<K>(object) {
            K::set_requester(object, requester);
        }
    }

    fn prepare_for_update(&self, new: &mut dyn Object, old: &dyn Object) {
        if let (Some(new), Some(old)) = (get_mut::<K>(new), get::<K>(old)) {
            K::prepare_for_update(new, old);
        }
    }

    fn prepare_for_status_update(&self, new: &mut dyn Object, old: &dyn Object) {
        if let (Some(new), Some(old)) = (get_mut::<K>(new), get::<K>(old)) {
            K::prepare_for_status_update(new, old);
        }
    }

    fn prepare_for_part_update(&self, part: Subresource, new: &mut dyn Object, old: &dyn Object) {
        if let (Some(new), Some(old)) = (get_mut::<K>(new), get::<K>(old)) {
            K::prepare_for_part_update(part, new, old);
        }
    }

    fn allocate(&self, new: &mut dyn Object, old: Option<&dyn Object>, pools: &dyn Pools) -> Allocated {
        match get_mut::<K>(new) {
            Some(new) => K::allocate(new, old.and_then(|old| get::<K>(old)), pools),
            None => Ok(()),
        }
    }

    fn claims(&self, object: &dyn Object) -> Vec<Claim> {
        get::<K>(object).map(K::claims).unwrap_or_default()
    }

    fn validate(&self, object: &dyn Object) -> Vec<FieldError> {
        get::<K>(object).map(K::validate).unwrap_or_default()
    }

    fn validate_update(&self, new: &dyn Object, old: &dyn Object) -> Vec<FieldError> {
        match (get::<K>(new), get::<K>(old)) {
            (Some(new), Some(old)) => K::validate_update(new, old),
            _ => Vec::new(),
        }
    }

    fn validate_status_update(&self, new: &dyn Object, old: &dyn Object) -> Vec<FieldError> {
        match (get::<K>(new), get::<K>(old)) {
            (Some(new), Some(old)) => K::validate_status_update(new, old),
            _ => Vec::new(),
        }
    }

    fn validate_part_update(&self, part: Subresource, new: &dyn Object, old: &dyn Object) -> Vec<FieldError> {
        match (get::<K>(new), get::<K>(old)) {
            (Some(new), Some(old)) => K::validate_part_update(part, new, old),
            _ => Vec::new(),
        }
    }

    fn warnings(&self, new: &dyn Object, old: Option<&dyn Object>) -> Vec<String> {
        let old = old.and_then(|old| get::<K>(old));
        get::<K>(new).map(|new| K::warnings(new, old)).unwrap_or_default()
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        K::validate_name(name, prefix)
    }

    fn spec_changed(&self, new: &dyn Object, old: &dyn Object) -> bool {
        match (get::<K>(new), get::<K>(old)) {
            (Some(new), Some(old)) => K::GENERATIONS && K::spec_changed(new, old),
            _ => false,
        }
    }

    fn creates_on_update(&self) -> bool {
        K::CREATES_ON_UPDATE
    }

    fn time_to_live(&self) -> Option<Duration> {
        K::TIME_TO_LIVE
    }

    fn grace_period_seconds(&self, object: &dyn Object, requested: Option<i64>) -> i64 {
        get::<K>(object).map_or(0, |object| K::grace_period_seconds(object, requested))
    }

    fn spec_finalizers(&self, object: &dyn Object) -> Vec<String> {
        get::<K>(object).map(K::spec_finalizers).unwrap_or_default()
    }

    fn begin_deletion(&self, object: &mut dyn Object) {
        if let Some(object) = get_mut::<K>(object) {
            K::begin_deletion(object);
        }
    }

    fn set_spec_finalizers(&self, object: &mut dyn Object, from: &dyn Object) {
        if let (Some(object), Some(from)) = (get_mut::<K>(object), get::<K>(from)) {
            K::set_spec_finalizers(object, from);
        }
    }

    fn bind(&self, object: &mut dyn Object, node: &str, now: Timestamp) -> Result<(), String> {
        match get_mut::<K>(object) {
            Some(object) => K::bind(object, node, now),
            None => Ok(()),
        }
    }

    fn scale(&self, object: &dyn Object) -> Option<Scale> {
        get::<K>(object).and_then(K::scale)
    }

    fn set_replicas(&self, object: &mut dyn Object, replicas: i32) {
        if let Some(object) = get_mut::<K>(object) {
            K::set_replicas(object, replicas);
        }
    }

    fn columns(&self) -> &[Column] {
        K::COLUMNS
    }

    fn row(&self, object: &dyn Object, now: Timestamp) -> Vec<Cell> {
        get::<K>(object).map(|object| K::row(object, now)).unwrap_or_default()
    }

    fn fields(&self, object: &dyn Object) -> Vec<(Cow<'static, str>, String)> {
        let Some(typed) = get::<K>(object) else { return Vec::new() };
        let meta = object.meta();
        let mut fields = vec![(Cow::Borrowed("metadata.name"), meta.name.clone().unwrap_or_default())];
        if K::FIELDS.contains(&"metadata.namespace") {
            fields.push((Cow::Borrowed("metadata.namespace"), meta.namespace.clone().unwrap_or_default()));
        }
        fields.extend(K::fields(typed).into_iter().map(|(name, value)| (Cow::Borrowed(name), value)));
        fields
    }

    fn field_names(&self) -> Vec<&str> {
        K::FIELDS.to_vec()
    }

    fn shape(&self) -> ObjectShape {
        self.shape.get_or_init(ObjectShape::of::<K::Object>).clone()
    }

    fn define(&self, definitions: &mut Definitions) -> String {
        definitions.add_kind::<K::Object>()
    }
}
