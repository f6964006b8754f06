//! What differs between custom resources, from their definitions alone.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};
use skep_registry::{
    Allocated, Cell, Claim, Column, ColumnType, DecodeError, Decoded, FieldError, FieldErrorKind, Object, Pools,
    Requester, Scale, Strategy, Subresource,
};
use skep_schema::{Definitions, Gvk, ObjectShape};

use crate::column;
use crate::embedded;
use crate::jsonpath::JsonPath;
use crate::object::{CustomObject, TypeMeta};
use crate::rule;
use crate::scale::ScalePaths;
use crate::structural::Structural;
use crate::{default, lists, prune, validate};

/// One version of a custom resource.
pub(crate) struct Custom {
    types: Arc<TypeMeta>,
    /// `apiVersion` of the form that is stored.
    stored_api_version: Arc<str>,
    schema: Structural,
    /// As the definition has it, for those who publish it.
    raw: Value,
    shape: OnceLock<ObjectShape>,
    has_status: bool,
    scale: Option<ScalePaths>,
    columns: Vec<Column>,
    cells: Vec<(Option<JsonPath>, String)>,
    fields: Vec<(Cow<'static, str>, JsonPath)>,
    terminating: bool,
    namespaced: bool,
    /// What those are told who use this version.
    deprecation: Option<String>,
}

impl Custom {
    pub(crate) fn new(
        definition: &api::CustomResourceDefinition,
        version: &api::CustomResourceDefinitionVersion,
    ) -> Self {
        let spec = &definition.spec;
        let api_version = |version: &str| format!("{}/{version}", spec.group);
        let stored = spec.versions.iter().find(|version| version.storage).unwrap_or(version);
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let raw = schema.and_then(|schema| serde_json::to_value(schema).ok()).unwrap_or_default();
        let mut structural = Structural::read(&raw);
        structural.preserve |= spec.preserve_unknown_fields == Some(true);
        let subresources = version.subresources.as_ref();
        let scale = subresources.and_then(|below| below.scale.as_ref()).map(ScalePaths::new);
        let (columns, cells) = column::columns(version.additional_printer_columns.as_deref().unwrap_or_default());
        let selectable = version.selectable_fields.iter().flatten();
        let fields = selectable.filter_map(|field| {
            let path = JsonPath::parse(&field.json_path)?;
            Some((Cow::Owned(field.json_path.trim_start_matches('.').to_owned()), path))
        });
        Self {
            types: Arc::new(TypeMeta { api_version: api_version(&version.name), kind: spec.names.kind.clone() }),
            stored_api_version: api_version(&stored.name).into(),
            schema: structural,
            raw,
            shape: OnceLock::new(),
            has_status: subresources.is_some_and(|below| below.status.is_some()),
            scale,
            columns,
            cells,
            fields: fields.collect(),
            terminating: definition.metadata.deletion_timestamp.is_some(),
            namespaced: spec.scope == "Namespaced",
            deprecation: (version.deprecated == Some(true)).then(|| {
                let default = format!("{} {} is deprecated", api_version(&version.name), spec.names.kind);
                version.deprecation_warning.clone().unwrap_or(default)
            }),
        }
    }

    fn checks(&self, new: &CustomObject, old: Option<&CustomObject>) -> Vec<FieldError> {
        let value = Value::Object(new.fields.clone());
        let before = old.map(|old| Value::Object(old.fields.clone()));
        let mut found = self.check_schema(new, &value, before.as_ref());
        found.extend(self.scale.iter().flat_map(|scale| scale.check(&value, true)));
        self.check_rest(&mut found, new, &value, old, before.as_ref());
        found
    }

    /// The schema is of whole objects: it may require, and restrict, what the metadata has.
    fn check_schema(&self, new: &CustomObject, value: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut whole = value.clone();
        if let Some(fields) = whole.as_object_mut() {
            fields.insert("apiVersion".to_owned(), Value::from(self.types.api_version.as_str()));
            fields.insert("kind".to_owned(), Value::from(self.types.kind.as_str()));
            fields.insert("metadata".to_owned(), serde_json::to_value(&new.meta).unwrap_or_default());
        }
        validate::validate_change(&whole, old, &self.schema, "")
    }

    fn check_rest(
        &self,
        found: &mut Vec<FieldError>,
        new: &CustomObject,
        value: &Value,
        old: Option<&CustomObject>,
        before: Option<&Value>,
    ) {
        found.extend(embedded::validate(value, &self.schema));
        // A list that was no set or map before may stay none.
        if old.is_none_or(|old| lists::validate(&old.fields, &self.schema).is_empty()) {
            found.extend(lists::validate(&new.fields, &self.schema));
        }
        if !self.schema.has_rules() {
            return;
        }
        if found.iter().any(blocks_rules) {
            let message = "Invalid value: null: some validation rules were not checked because the object was invalid; \
                           correct the existing errors to complete validation";
            let message = message.to_owned();
            found.push(FieldError { kind: FieldErrorKind::Invalid, field: "<nil>".to_owned(), message });
            return;
        }
        let (new, old) = (rule::with_meta(value, new), old.zip(before).map(|(old, value)| rule::with_meta(value, old)));
        found.extend(rule::validate(&new, old.as_ref(), &self.schema));
    }
}

/// Faults after which rules would only say the same again, or go wrong.
fn blocks_rules(error: &FieldError) -> bool {
    use FieldErrorKind::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
    matches!(error.kind, NotSupported | Required | TooLong | TooMany | TypeInvalid)
}

impl Strategy for Custom {
    fn decode(&self, value: Value) -> Result<Decoded, DecodeError> {
        let Value::Object(mut fields) = value else {
            let message = format!("invalid type: {value}, expected a map");
            return Err(DecodeError { path: String::new(), message });
        };
        fields.shift_remove("apiVersion");
        fields.shift_remove("kind");
        let raw = fields.shift_remove("metadata").filter(|meta| !meta.is_null());
        let raw = raw.unwrap_or_else(|| Value::Object(Map::new()));
        let at = |path: &str| if path.is_empty() { "metadata".to_owned() } else { format!("metadata.{path}") };
        let (meta, unknown) = skep_registry::decode::<ObjectMeta>(raw)
            .map_err(|error| DecodeError { path: at(&error.path), message: error.message })?;
        let mut unknown_fields: Vec<String> = unknown.iter().map(|path| at(path)).collect();
        unknown_fields.extend(prune::prune(&mut fields, &self.schema));
        unknown_fields.extend(embedded::coerce(&mut fields, &self.schema));
        Ok(Decoded { object: Box::new(CustomObject { types: Arc::clone(&self.types), meta, fields }), unknown_fields })
    }

    fn default(&self, object: &mut dyn Object) {
        if let Some(object) = CustomObject::of_mut(object) {
            default::default(&mut object.fields, &self.schema);
        }
    }

    fn prepare_for_create(&self, object: &mut dyn Object) {
        let Some(object) = CustomObject::of_mut(object) else { return };
        if self.has_status {
            object.fields.shift_remove("status");
        }
        object.meta.generation = Some(1);
    }

    fn set_requester(&self, _: &mut dyn Object, _: &Requester<'_>) {}

    fn prepare_for_update(&self, new: &mut dyn Object, old: &dyn Object) {
        let (Some(new), Some(old)) = (CustomObject::of_mut(new), CustomObject::of(old)) else { return };
        if self.has_status {
            match old.fields.get("status") {
                Some(status) => new.fields.insert("status".to_owned(), status.clone()),
                None => new.fields.shift_remove("status"),
            };
        }
    }

    fn prepare_for_status_update(&self, new: &mut dyn Object, old: &dyn Object) {
        let (Some(new), Some(old)) = (CustomObject::of_mut(new), CustomObject::of(old)) else { return };
        let mut kept = old.clone();
        match new.fields.shift_remove("status") {
            Some(status) => kept.fields.insert("status".to_owned(), status),
            None => kept.fields.shift_remove("status"),
        };
        kept.meta.managed_fields = new.meta.managed_fields.take();
        kept.meta.resource_version = new.meta.resource_version.take();
        *new = kept;
    }

    fn prepare_for_part_update(&self, _: Subresource, _: &mut dyn Object, _: &dyn Object) {}

    fn allocate(&self, _: &mut dyn Object, _: Option<&dyn Object>, _: &dyn Pools) -> Allocated {
        Ok(())
    }

    fn claims(&self, _: &dyn Object) -> Vec<Claim> {
        Vec::new()
    }

    fn validate(&self, object: &dyn Object) -> Vec<FieldError> {
        CustomObject::of(object).map(|object| self.checks(object, None)).unwrap_or_default()
    }

    fn validate_update(&self, new: &dyn Object, old: &dyn Object) -> Vec<FieldError> {
        match (CustomObject::of(new), CustomObject::of(old)) {
            (Some(new), Some(old)) => self.checks(new, Some(old)),
            _ => Vec::new(),
        }
    }

    fn validate_status_update(&self, new: &dyn Object, old: &dyn Object) -> Vec<FieldError> {
        let (Some(new), Some(old)) = (CustomObject::of(new), CustomObject::of(old)) else { return Vec::new() };
        let (value, before) = (Value::Object(new.fields.clone()), Value::Object(old.fields.clone()));
        let mut found = match (self.schema.properties.get("status"), new.fields.get("status")) {
            (Some(schema), Some(status)) => {
                validate::validate_change(status, old.fields.get("status"), schema, "status")
            }
            _ => Vec::new(),
        };
        found.extend(self.scale.iter().flat_map(|scale| scale.check(&value, false)));
        self.check_rest(&mut found, new, &value, Some(old), Some(&before));
        found
    }

    fn validate_part_update(&self, _: Subresource, _: &dyn Object, _: &dyn Object) -> Vec<FieldError> {
        Vec::new()
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        let name = if prefix { name.strip_suffix('-').unwrap_or(name) } else { name };
        skep_registry::dns1123_subdomain(name)
    }

    fn spec_changed(&self, new: &dyn Object, old: &dyn Object) -> bool {
        match (CustomObject::of(new), CustomObject::of(old)) {
            (Some(new), Some(old)) => new.fields != old.fields,
            _ => false,
        }
    }

    fn creates_on_update(&self) -> bool {
        false
    }

    fn refuses_creation(&self) -> Option<&'static str> {
        self.terminating.then_some("create not allowed while custom resource definition is terminating")
    }

    fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }

    fn warnings(&self, new: &dyn Object, old: Option<&dyn Object>) -> Vec<String> {
        let had = old.and_then(|old| old.meta().finalizers.as_deref()).unwrap_or_default();
        let plain = |name: &&String| {
            let standard = matches!(name.as_str(), "kubernetes" | "orphan" | "foregroundDeletion");
            !name.contains('/') && !standard && !had.contains(name)
        };
        let added = new.meta().finalizers.iter().flatten().filter(plain);
        added
            .map(|name| {
                let path = if name.contains('.') { " including a path (/)" } else { "" };
                format!(
                    "metadata.finalizers: \"{name}\": prefer a domain-qualified finalizer name{path} to avoid accidental \
                     conflicts with other finalizer writers"
                )
            })
            .collect()
    }

    fn takes_any_finalizer(&self) -> bool {
        true
    }

    fn stored_api_version(&self) -> Option<&str> {
        Some(&self.stored_api_version)
    }

    fn time_to_live(&self) -> Option<Duration> {
        None
    }

    fn grace_period_seconds(&self, _: &dyn Object, _: Option<i64>) -> i64 {
        0
    }

    fn spec_finalizers(&self, _: &dyn Object) -> Vec<String> {
        Vec::new()
    }

    fn begin_deletion(&self, _: &mut dyn Object) {}

    fn set_spec_finalizers(&self, _: &mut dyn Object, _: &dyn Object) {}

    fn bind(&self, _: &mut dyn Object, _: &str, _: Timestamp) -> Result<(), String> {
        Err(format!("{} cannot be bound to a node", self.types.kind))
    }

    fn scale(&self, object: &dyn Object) -> Option<Scale> {
        Some(self.scale.as_ref()?.of(CustomObject::of(object)?))
    }

    fn set_replicas(&self, object: &mut dyn Object, replicas: i32) {
        if let (Some(paths), Some(object)) = (&self.scale, CustomObject::of_mut(object)) {
            paths.set(object, replicas);
        }
    }

    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn row(&self, object: &dyn Object, now: Timestamp) -> Vec<Cell> {
        let value = object.to_value();
        let mut cells = vec![Value::from(object.meta().name.as_deref().unwrap_or_default())];
        cells.extend(self.cells.iter().map(|(path, kind)| {
            let found = path.as_ref().and_then(|path| path.find(&value).first().copied());
            found.map_or(Value::Null, |found| column::cell(kind, found, now))
        }));
        cells
    }

    fn fields(&self, object: &dyn Object) -> Vec<(Cow<'static, str>, String)> {
        let meta = object.meta();
        let mut fields = vec![(Cow::Borrowed("metadata.name"), meta.name.clone().unwrap_or_default())];
        if self.namespaced {
            fields.push((Cow::Borrowed("metadata.namespace"), meta.namespace.clone().unwrap_or_default()));
        }
        if !self.fields.is_empty() {
            let value = object.to_value();
            fields.extend(self.fields.iter().map(|(name, path)| {
                let text = path.find(&value).first().map(|value| column::text(value)).unwrap_or_default();
                (name.clone(), text)
            }));
        }
        fields
    }

    fn field_names(&self) -> Vec<&str> {
        let mut names = vec!["metadata.name"];
        if self.namespaced {
            names.push("metadata.namespace");
        }
        names.extend(self.fields.iter().map(|(name, _)| &**name));
        names
    }

    fn shape(&self) -> ObjectShape {
        self.shape.get_or_init(|| ObjectShape::of_custom(&self.raw)).clone()
    }

    fn define(&self, definitions: &mut Definitions) -> String {
        let (group, version) = self.types.api_version.split_once('/').unwrap_or_default();
        let gvk = Gvk { group, version, kind: &self.types.kind };
        let name = gvk.schema_name();
        definitions.insert_kind(&name, gvk, &self.raw);
        name
    }
}

/// The kind of a column's cells, as a table tells it.
pub(crate) fn column_type(kind: &str) -> ColumnType {
    match kind {
        "integer" => ColumnType::Integer,
        "number" => ColumnType::Number,
        "boolean" => ColumnType::Boolean,
        "date" => ColumnType::Date,
        _ => ColumnType::String,
    }
}
