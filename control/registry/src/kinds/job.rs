//! Job.

mod policy;
mod spec;
mod table;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as ApiSelector;

use crate::field::{Errors, Path};
use crate::kind::{Kind, with_generations, with_status};
use crate::metadata::validate_label_selector;
use crate::pod_spec;
use crate::selector::LabelSelector;
use crate::strategy::{Cell, Column, FieldError, Subresource};
use crate::workload::{self, not_negative};

pub(super) use spec::{default_template, validate_spec};

const UID: &str = "batch.kubernetes.io/controller-uid";
const NAME: &str = "batch.kubernetes.io/job-name";
const OLD_UID: &str = "controller-uid";
const OLD_NAME: &str = "job-name";

/// Jobs.
pub(crate) struct Jobs;

impl Kind for Jobs {
    type Object = Job;

    const SINGULAR: &'static str = "job";
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column] = table::COLUMNS;
    const FIELDS: &'static [&'static str] = &["metadata.name", "metadata.namespace", "status.successful"];

    with_status!(Job);
    with_generations!(Job);

    fn default(object: &mut Job) {
        let spec = object.spec.get_or_insert_default();
        spec::default(spec);
        let labels = spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
        if object.metadata.labels.as_ref().is_none_or(BTreeMap::is_empty) && !labels.is_empty() {
            object.metadata.labels = Some(labels);
        }
    }

    fn prepare_for_create(object: &mut Job) {
        Self::set_status(object, None);
        let (uid, name) = (object.metadata.uid.clone(), object.metadata.name.clone());
        let spec = object.spec.get_or_insert_default();
        if spec.manual_selector != Some(true) {
            select_own(spec, &uid.unwrap_or_default(), &name.unwrap_or_default());
        }
    }

    fn validate(object: &Job) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let path = Path::root("spec");
        let spec = object.spec.clone().unwrap_or_default();
        validate_own_selection(&mut errors, object, &spec);
        validate_spec(&mut errors, &path, &spec);
        let Some(selector) = &spec.selector else {
            errors.required(&path.child("selector"), "");
            return errors.into_vec();
        };
        validate_label_selector(&mut errors, &path.child("selector"), selector);
        let selector = LabelSelector::from_api(selector).ok();
        workload::validate_selection(&mut errors, &path.child("template"), selector.as_ref(), &spec.template);
        errors.into_vec()
    }

    fn warnings(new: &Job, old: Option<&Job>) -> Vec<String> {
        // Nothing new is said where the spec stays.
        if old.is_some_and(|old| old.spec == new.spec) {
            return Vec::new();
        }
        let spec = new.spec.iter();
        spec.flat_map(|spec| pod_spec::template_warnings(&Path::root("spec.template"), &spec.template)).collect()
    }

    fn validate_update(new: &Job, old: &Job) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        spec::validate_update(&mut errors, new, old);
        errors.into_vec()
    }

    fn validate_status_update(new: &Job, _old: &Job) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let status = new.status.clone().unwrap_or_default();
        let path = Path::root("status");
        for (field, count) in [
            ("active", status.active),
            ("succeeded", status.succeeded),
            ("failed", status.failed),
            ("ready", status.ready),
            ("terminating", status.terminating),
        ] {
            not_negative(&mut errors, &path.child(field), count.map(i64::from));
        }
        let uncounted = status.uncounted_terminated_pods.unwrap_or_default();
        let at = path.child("uncountedTerminatedPods");
        let mut seen = std::collections::BTreeSet::new();
        for (field, uids) in [("succeeded", uncounted.succeeded), ("failed", uncounted.failed)] {
            for (i, uid) in uids.iter().flatten().enumerate() {
                let at = at.child(field);
                if uid.is_empty() {
                    errors.invalid(&at.index(i), uid.as_str(), "must not be empty");
                } else if !seen.insert(uid.clone()) {
                    errors.duplicate(&at.index(i), uid.as_str());
                }
            }
        }
        errors.into_vec()
    }

    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        crate::names::dns1123_subdomain(crate::names::without_suffix_dash(name, prefix))
    }

    fn row(object: &Job, now: Timestamp) -> Vec<Cell> {
        table::row(object, now)
    }

    fn fields(object: &Job) -> Vec<(&'static str, String)> {
        let succeeded = object.status.as_ref().and_then(|status| status.succeeded).unwrap_or(0);
        vec![("status.successful", succeeded.to_string())]
    }
}

/// Labels that no other Job's pods have, and a selector for them.
fn select_own(spec: &mut JobSpec, uid: &str, name: &str) {
    let labels = spec.template.metadata.get_or_insert_default().labels.get_or_insert_default();
    for (key, value) in [(UID, uid), (OLD_UID, uid), (NAME, name), (OLD_NAME, name)] {
        labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    let selector = spec.selector.get_or_insert_default();
    selector.match_labels.get_or_insert_default().entry(UID.to_owned()).or_insert_with(|| uid.to_owned());
}

/// The selector and labels of [`select_own`], which nobody may have chosen otherwise.
fn validate_own_selection(errors: &mut Errors, job: &Job, spec: &JobSpec) {
    let Some(selector) = spec.selector.as_ref().filter(|_| spec.manual_selector != Some(true)) else { return };
    let (uid, name) =
        (job.metadata.uid.as_deref().unwrap_or_default(), job.metadata.name.as_deref().unwrap_or_default());
    if uid.is_empty() {
        errors.required(&Path::root("metadata.uid"), "");
    }
    let path = Path::root("spec.template.metadata.labels");
    let labels = spec.template.metadata.as_ref().and_then(|meta| meta.labels.as_ref());
    for (key, expected) in [(OLD_UID, uid), (OLD_NAME, name), (UID, uid), (NAME, name)] {
        let detail = format!("must be '{expected}'");
        match labels.and_then(|labels| labels.get(key)) {
            None => errors.required(&path.key(key), &detail),
            Some(value) if value != expected => errors.invalid(&path.key(key), value.as_str(), &detail),
            Some(_) => {}
        }
    }
    let expected: BTreeMap<String, String> = [(OLD_UID, uid), (OLD_NAME, name), (UID, uid), (NAME, name)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    if LabelSelector::from_api(selector).is_ok_and(|selector| !selector.matches(Some(&expected))) {
        let json = |selector: &ApiSelector| serde_json::to_value(selector).unwrap_or_default();
        errors.invalid(&Path::root("spec.selector"), json(selector), "`selector` not auto-generated");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
