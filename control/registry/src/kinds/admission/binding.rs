//! Bindings of policies.

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, MutatingAdmissionPolicyBinding, ParamRef, ValidatingAdmissionPolicyBinding,
};

use super::rules;
use crate::field::{Errors, Path};
use crate::kind::{Kind, with_generations};
use crate::names;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
const COLUMNS: &[Column] = &[
    table::NAME,
    table::text("PolicyName", "The policy that it binds."),
    table::text("ParamRef", "Where the policy's parameters are."),
    table::AGE,
];

/// ValidatingAdmissionPolicyBindings.
pub(crate) struct ValidatingAdmissionPolicyBindings;

/// MutatingAdmissionPolicyBindings.
pub(crate) struct MutatingAdmissionPolicyBindings;

impl Kind for ValidatingAdmissionPolicyBindings {
    type Object = ValidatingAdmissionPolicyBinding;

    const SINGULAR: &'static str = "validatingadmissionpolicybinding";
    const CATEGORIES: &'static [&'static str] = &["api-extensions"];
    const COLUMNS: &'static [Column] = COLUMNS;

    with_generations!(ValidatingAdmissionPolicyBinding);

    fn default(object: &mut ValidatingAdmissionPolicyBinding) {
        object.spec.match_resources.as_mut().map(rules::default_matches);
    }

    fn validate(object: &ValidatingAdmissionPolicyBinding) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (path, spec) = (Path::root("spec"), &object.spec);
        validate_binding(&mut errors, &path, &spec.policy_name, spec.param_ref.as_ref(), spec.match_resources.as_ref());
        let at = path.child("validationActions");
        let actions = &spec.validation_actions;
        if actions.is_empty() {
            errors.required(&at, "at least one validation action is required");
        }
        for (i, action) in actions.iter().enumerate() {
            if !ACTIONS.contains(&action.as_str()) {
                errors.not_supported(&at.index(i), action.as_str(), &ACTIONS);
            }
            if actions.iter().take(i).any(|other| other == action) {
                errors.duplicate(&at.index(i), action.as_str());
            }
        }
        let has = |action: &str| actions.iter().any(|other| other == action);
        if has("Deny") && has("Warn") {
            errors.invalid(&at, actions.clone(), "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)");
        }
        errors.into_vec()
    }

    fn row(object: &ValidatingAdmissionPolicyBinding, now: Timestamp) -> Vec<Cell> {
        let spec = &object.spec;
        vec![
            table::name(&object.metadata),
            Cell::from(spec.policy_name.as_str()),
            param_ref(spec.param_ref.as_ref()),
            table::age(&object.metadata, now),
        ]
    }
}

impl Kind for MutatingAdmissionPolicyBindings {
    type Object = MutatingAdmissionPolicyBinding;

    const SINGULAR: &'static str = "mutatingadmissionpolicybinding";
    const CATEGORIES: &'static [&'static str] = &["api-extensions"];
    const COLUMNS: &'static [Column] = COLUMNS;

    with_generations!(MutatingAdmissionPolicyBinding);

    fn default(object: &mut MutatingAdmissionPolicyBinding) {
        object.spec.iter_mut().filter_map(|spec| spec.match_resources.as_mut()).for_each(rules::default_matches);
    }

    fn validate(object: &MutatingAdmissionPolicyBinding) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let spec = object.spec.clone().unwrap_or_default();
        let (policy, parameters) = (spec.policy_name.unwrap_or_default(), spec.param_ref.as_ref());
        validate_binding(&mut errors, &Path::root("spec"), &policy, parameters, spec.match_resources.as_ref());
        errors.into_vec()
    }

    fn row(object: &MutatingAdmissionPolicyBinding, now: Timestamp) -> Vec<Cell> {
        let spec = object.spec.clone().unwrap_or_default();
        vec![
            table::name(&object.metadata),
            Cell::from(spec.policy_name.unwrap_or_default()),
            param_ref(spec.param_ref.as_ref()),
            table::age(&object.metadata, now),
        ]
    }
}

fn param_ref(reference: Option<&ParamRef>) -> Cell {
    let text = reference.map(|reference| {
        let name = reference.name.as_deref().filter(|name| !name.is_empty()).unwrap_or("*");
        match reference.namespace.as_deref().unwrap_or_default() {
            "" => name.to_owned(),
            namespace => format!("{namespace}/{name}"),
        }
    });
    table::or_unset(text.as_deref())
}

fn validate_binding(
    errors: &mut Errors,
    path: &Path<'_>,
    policy: &str,
    parameters: Option<&ParamRef>,
    matches: Option<&MatchResources>,
) {
    let at = path.child("policyName");
    if policy.is_empty() {
        errors.required(&at, "");
    } else {
        errors.invalid_each(&at, policy, names::dns1123_subdomain(policy));
    }
    if let Some(parameters) = parameters {
        rules::validate_param_ref(errors, &path.child("paramRef"), parameters);
    }
    if let Some(matches) = matches {
        rules::validate_matches(errors, &path.child("matchResources"), matches);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn actions_are_there_and_agree() {
        let faults = |actions: &[&str]| -> Vec<String> {
            let spec = json!({"policyName": "p", "validationActions": actions, "paramRef": {"name": "n", "parameterNotFoundAction": "Deny"}});
            let object = crate::decode::decode(json!({"metadata": {"name": "b"}, "spec": spec})).unwrap().0;
            ValidatingAdmissionPolicyBindings::validate(&object).into_iter().map(|error| error.field).collect()
        };
        assert_eq!(faults(&["Deny", "Audit"]), Vec::<String>::new());
        assert_eq!(faults(&[]), ["spec.validationActions"]);
        assert_eq!(faults(&["Deny", "Warn", "x"]), ["spec.validationActions[2]", "spec.validationActions"]);
    }
}
