//! The kind CustomResourceDefinition itself.

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;
use skep_registry::{Cell, Column, Errors, FieldError, Kind, Subresource};

mod names;
mod schema;
mod structure;
mod unwise;
mod validate;

pub(crate) use names::status;

/// Holds a definition until its objects are gone.
pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// CustomResourceDefinitions.
pub(crate) struct Definitions;

impl Kind for Definitions {
    type Object = api::CustomResourceDefinition;

    const SINGULAR: &'static str = "customresourcedefinition";
    const SHORT_NAMES: &'static [&'static str] = &["crd", "crds"];
    const CATEGORIES: &'static [&'static str] = &["api-extensions"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] =
        &[skep_registry::NAME_COLUMN, skep_registry::text_column("Created At", "When the object was created.")];

    fn default(object: &mut Self::Object) {
        let names = &mut object.spec.names;
        if names.singular.as_deref().unwrap_or_default().is_empty() {
            names.singular = Some(names.kind.to_lowercase());
        }
        if names.list_kind.as_deref().unwrap_or_default().is_empty() && !names.kind.is_empty() {
            names.list_kind = Some(format!("{}List", names.kind));
        }
        let conversion = object.spec.conversion.get_or_insert_default();
        if conversion.strategy.is_empty() {
            conversion.strategy = "None".to_owned();
        }
    }

    fn set_status(object: &mut Self::Object, from: Option<&Self::Object>) {
        object.status = from.and_then(|from| from.status.clone());
    }

    fn prepare_for_create(object: &mut Self::Object) {
        object.status = None;
        note_stored_version(object);
    }

    fn prepare_for_update(new: &mut Self::Object, old: &Self::Object) {
        new.status.clone_from(&old.status);
        note_stored_version(new);
    }

    fn validate(object: &Self::Object) -> Vec<FieldError> {
        validate::validate(object, None)
    }

    fn validate_update(new: &Self::Object, old: &Self::Object) -> Vec<FieldError> {
        validate::validate(new, Some(old))
    }

    fn validate_status_update(new: &Self::Object, _: &Self::Object) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate::validate_status(&mut errors, new);
        errors.into_vec()
    }

    fn warnings(new: &Self::Object, old: Option<&Self::Object>) -> Vec<String> {
        let mut warnings = unwise::warnings(new);
        let known = old.map(unwise::warnings).unwrap_or_default();
        warnings.retain(|warning| !known.contains(warning));
        warnings
    }

    fn spec_changed(new: &Self::Object, old: &Self::Object) -> bool {
        new.spec != old.spec
    }

    /// As long as the deletion has not begun, the finalizer that it will add holds the object.
    fn spec_finalizers(object: &Self::Object) -> Vec<String> {
        if object.metadata.deletion_timestamp.is_some() {
            return Vec::new();
        }
        vec![FINALIZER.to_owned()]
    }

    fn begin_deletion(object: &mut Self::Object) {
        let finalizers = object.metadata.finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
        }
        let at = object.metadata.deletion_timestamp.clone();
        let status = object.status.get_or_insert_default();
        let pending = Condition {
            kind: "Terminating",
            status: "True",
            reason: "InstanceDeletionPending",
            message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        };
        pending.set(status, at);
    }

    fn row(object: &Self::Object, _: Timestamp) -> Vec<Cell> {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let created = object.metadata.creation_timestamp.as_ref().map(|time| time.0.strftime("%Y-%m-%dT%H:%M:%SZ"));
        vec![Value::from(name), Value::from(created.map(|time| time.to_string()).unwrap_or_default())]
    }
}

/// The storage version is one in which objects may be stored from now on.
fn note_stored_version(object: &mut api::CustomResourceDefinition) {
    let Some(storage) = object.spec.versions.iter().find(|version| version.storage).map(|v| v.name.clone()) else {
        return;
    };
    let stored = object.status.get_or_insert_default().stored_versions.get_or_insert_default();
    if !stored.contains(&storage) {
        stored.push(storage);
    }
}

/// A condition that a definition's status is to have.
pub(crate) struct Condition<'a> {
    pub kind: &'a str,
    pub status: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
}

impl Condition<'_> {
    /// Sets it; the time of its last transition stays where its status does.
    pub(crate) fn set(&self, status: &mut api::CustomResourceDefinitionStatus, now: Option<Time>) {
        let conditions = status.conditions.get_or_insert_default();
        let condition = match conditions.iter_mut().position(|condition| condition.type_ == self.kind) {
            Some(at) => &mut conditions[at],
            None => {
                let type_ = self.kind.to_owned();
                conditions.push(api::CustomResourceDefinitionCondition { type_, ..Default::default() });
                let last = conditions.len() - 1;
                &mut conditions[last]
            }
        };
        if condition.status != self.status || condition.last_transition_time.is_none() {
            condition.last_transition_time = now;
        }
        condition.status = self.status.to_owned();
        condition.reason = Some(self.reason.to_owned());
        condition.message = Some(self.message.to_owned());
    }
}

/// Whether a condition is true.
pub(crate) fn is_true(definition: &api::CustomResourceDefinition, kind: &str) -> bool {
    let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == kind && condition.status == "True")
}
