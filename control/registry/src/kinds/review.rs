//! Reviews: questions about who somebody is and what they may do. They are answered and never stored.

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview,
    SelfSubjectRulesReview, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::strategy::FieldError;

/// Whom a token stands for.
pub(crate) struct TokenReviews;
/// Who asks.
pub(crate) struct SelfSubjectReviews;
/// What somebody may do.
pub(crate) struct SubjectAccessReviews;
/// What somebody may do in a namespace.
pub(crate) struct LocalSubjectAccessReviews;
/// What the asker may do.
pub(crate) struct SelfSubjectAccessReviews;
/// All that the asker may do in a namespace.
pub(crate) struct SelfSubjectRulesReviews;

impl Kind for TokenReviews {
    type Object = TokenReview;

    const SINGULAR: &'static str = "tokenreview";
    const STORED: bool = false;
}

impl Kind for SelfSubjectReviews {
    type Object = SelfSubjectReview;

    const SINGULAR: &'static str = "selfsubjectreview";
    const STORED: bool = false;
}

impl Kind for SelfSubjectRulesReviews {
    type Object = SelfSubjectRulesReview;

    const SINGULAR: &'static str = "selfsubjectrulesreview";
    const STORED: bool = false;
}

impl Kind for SubjectAccessReviews {
    type Object = SubjectAccessReview;

    const SINGULAR: &'static str = "subjectaccessreview";
    const STORED: bool = false;

    fn validate(object: &SubjectAccessReview) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate_spec(&mut errors, &object.spec);
        validate_meta(&mut errors, &object.metadata);
        errors.into_vec()
    }
}

impl Kind for LocalSubjectAccessReviews {
    type Object = LocalSubjectAccessReview;

    const SINGULAR: &'static str = "localsubjectaccessreview";
    const STORED: bool = false;

    fn validate(object: &LocalSubjectAccessReview) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate_spec(&mut errors, &object.spec);
        let mut meta = object.metadata.clone();
        let namespace = meta.namespace.take().unwrap_or_default();
        validate_meta(&mut errors, &meta);
        let asked = object.spec.resource_attributes.as_ref().map(|asked| asked.namespace.clone().unwrap_or_default());
        if let Some(asked) = asked.filter(|asked| *asked != namespace) {
            errors.invalid(&Path::root("spec.resourceAttributes.namespace"), asked, "must match metadata.namespace");
        }
        if let Some(asked) = &object.spec.non_resource_attributes {
            let detail = "disallowed on this kind of request";
            errors.invalid(&Path::root("spec.nonResourceAttributes"), value(asked), detail);
        }
        errors.into_vec()
    }
}

impl Kind for SelfSubjectAccessReviews {
    type Object = SelfSubjectAccessReview;

    const SINGULAR: &'static str = "selfsubjectaccessreview";
    const STORED: bool = false;

    fn validate(object: &SelfSubjectAccessReview) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let spec = &object.spec;
        validate_asked(&mut errors, spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
        validate_meta(&mut errors, &object.metadata);
        errors.into_vec()
    }
}

fn value<T: serde::Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

fn validate_spec(errors: &mut Errors, spec: &SubjectAccessReviewSpec) {
    validate_asked(errors, spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
    let user = spec.user.as_deref().unwrap_or_default();
    if user.is_empty() && spec.groups.iter().flatten().next().is_none() {
        errors.invalid(&Path::root("spec.user"), user, "at least one of user or group must be specified");
    }
}

fn validate_asked(errors: &mut Errors, resource: Option<&ResourceAttributes>, path: Option<&NonResourceAttributes>) {
    match (resource, path) {
        (Some(_), Some(asked)) => {
            let detail = "cannot be specified in combination with resourceAttributes";
            errors.invalid(&Path::root("spec.nonResourceAttributes"), value(asked), detail);
        }
        (None, None) => {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.invalid(&Path::root("spec.resourceAttributes"), Value::Null, detail);
        }
        _ => {}
    }
}

fn validate_meta(errors: &mut Errors, meta: &ObjectMeta) {
    let bare = ObjectMeta { managed_fields: meta.managed_fields.clone(), ..ObjectMeta::default() };
    if *meta != bare {
        errors.invalid(&Path::root("metadata"), value(meta), "must be empty");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_question_is_about_one_thing_and_somebody() {
        let fields = |spec: Value| -> Vec<String> {
            let object = json!({"metadata": {"namespace": "a"}, "spec": spec});
            let errors = LocalSubjectAccessReviews::validate(&crate::decode::decode(object).unwrap().0);
            errors.into_iter().map(|error| error.field).collect()
        };
        assert!(fields(json!({"user": "jane", "resourceAttributes": {"namespace": "a"}})).is_empty());
        assert_eq!(fields(json!({})), ["spec.resourceAttributes", "spec.user"]);
        assert_eq!(
            fields(json!({"groups": ["a"], "resourceAttributes": {"namespace": "b"}, "nonResourceAttributes": {}})),
            ["spec.nonResourceAttributes", "spec.resourceAttributes.namespace", "spec.nonResourceAttributes"]
        );
        let named = json!({"metadata": {"name": "x"}, "spec": {"resourceAttributes": {}}});
        let errors = SelfSubjectAccessReviews::validate(&crate::decode::decode(named).unwrap().0);
        assert_eq!(errors[0].field, "metadata");
    }
}
