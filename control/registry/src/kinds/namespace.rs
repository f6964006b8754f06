//! Namespace.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceSpec, NamespaceStatus};

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::metadata;
use crate::names;
use crate::strategy::{Cell, Column, FieldError, Subresource};
use crate::table;

const FINALIZER: &str = "kubernetes";
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Namespaces: held in place by the finalizers in their spec while their content is being removed.
pub(crate) struct Namespaces;

impl Kind for Namespaces {
    type Object = Namespace;

    const SINGULAR: &'static str = "namespace";
    const SHORT_NAMES: &'static [&'static str] = &["ns"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status, Subresource::Finalize];
    const COLUMNS: &'static [Column] = &[table::NAME, table::text("Status", "Active or Terminating."), table::AGE];
    const FIELDS: &'static [&'static str] = &["metadata.name", "metadata.namespace", "name", "status.phase"];

    fn default(object: &mut Namespace) {
        if let Some(name) = object.metadata.name.clone().filter(|name| !name.is_empty()) {
            object.metadata.labels.get_or_insert_with(BTreeMap::new).insert(NAME_LABEL.to_owned(), name);
        }
        object.spec.get_or_insert_default();
    }

    fn set_status(object: &mut Namespace, from: Option<&Namespace>) {
        object.status = from.and_then(|from| from.status.clone());
    }

    fn prepare_for_create(object: &mut Namespace) {
        object.status = Some(NamespaceStatus { phase: Some("Active".to_owned()), ..Default::default() });
        let finalizers = object.spec.get_or_insert_default().finalizers.get_or_insert_default();
        if !finalizers.iter().any(|f| f == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
        }
    }

    fn prepare_for_update(new: &mut Namespace, old: &Namespace) {
        new.status.clone_from(&old.status);
        Self::set_spec_finalizers(new, old);
    }

    fn validate(object: &Namespace) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let path = Path::root("spec.finalizers");
        for name in Self::spec_finalizers(object) {
            errors.invalid_each(&path, &name, names::qualified_name(&name));
            metadata::validate_finalizer_name(&mut errors, &path, &name);
        }
        errors.into_vec()
    }

    fn validate_status_update(new: &Namespace, _old: &Namespace) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let phase = new.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
        let path = Path::root("status.phase");
        match (new.metadata.deletion_timestamp.is_some(), phase) {
            (true, "Terminating") | (false, "Active") => {}
            (true, _) => errors.invalid(&path, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty"),
            (false, _) => errors.invalid(&path, phase, "may only be 'Active' if `deletionTimestamp` is empty"),
        }
        errors.into_vec()
    }

    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        names::dns1123_label(names::without_suffix_dash(name, prefix))
    }

    fn spec_finalizers(object: &Namespace) -> Vec<String> {
        object.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default()
    }

    fn begin_deletion(object: &mut Namespace) {
        object.status.get_or_insert_default().phase = Some("Terminating".to_owned());
    }

    fn set_spec_finalizers(object: &mut Namespace, from: &Namespace) {
        object.spec = Some(NamespaceSpec { finalizers: from.spec.as_ref().and_then(|spec| spec.finalizers.clone()) });
    }

    fn row(object: &Namespace, now: Timestamp) -> Vec<Cell> {
        let phase = object.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
        vec![table::name(&object.metadata), Cell::from(phase), table::age(&object.metadata, now)]
    }

    fn fields(object: &Namespace) -> Vec<(&'static str, String)> {
        let phase = object.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default();
        vec![("status.phase", phase), ("name", object.metadata.name.clone().unwrap_or_default())]
    }
}
