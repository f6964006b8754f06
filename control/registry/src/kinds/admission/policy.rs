//! Policies in expressions.

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    AuditAnnotation, MatchResources, MutatingAdmissionPolicy, Mutation, ParamKind, ValidatingAdmissionPolicy,
    Validation, Variable,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::rules;
use crate::field::{Errors, Path, default_text};
use crate::kind::{Kind, with_generations, with_status};
use crate::names;
use crate::strategy::{Cell, Column, FieldError, Subresource};
use crate::table;

const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
const ANNOTATIONS_MAX: usize = 20;

/// ValidatingAdmissionPolicies.
pub(crate) struct ValidatingAdmissionPolicies;

/// MutatingAdmissionPolicies.
pub(crate) struct MutatingAdmissionPolicies;

impl Kind for ValidatingAdmissionPolicies {
    type Object = ValidatingAdmissionPolicy;

    const SINGULAR: &'static str = "validatingadmissionpolicy";
    const CATEGORIES: &'static [&'static str] = &["api-extensions"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::number("Validations", "How many validations there are."),
        table::text("ParamKind", "The kind of its parameters."),
        table::AGE,
    ];

    with_status!(ValidatingAdmissionPolicy);
    with_generations!(ValidatingAdmissionPolicy);

    fn default(object: &mut ValidatingAdmissionPolicy) {
        let Some(spec) = &mut object.spec else { return };
        default_text(&mut spec.failure_policy, "Fail");
        spec.match_constraints.as_mut().map(rules::default_matches);
    }

    fn validate(object: &ValidatingAdmissionPolicy) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (path, spec) = (Path::root("spec"), object.spec.clone().unwrap_or_default());
        rules::validate_failure_policy(&mut errors, &path.child("failurePolicy"), spec.failure_policy.as_deref());
        validate_scope(&mut errors, &path, spec.param_kind.as_ref(), spec.match_constraints.as_ref());
        let (conditions, variables) = (spec.match_conditions.as_deref(), spec.variables.as_deref());
        rules::validate_conditions(&mut errors, &path.child("matchConditions"), conditions.unwrap_or_default());
        validate_variables(&mut errors, &path.child("variables"), variables.unwrap_or_default());
        let validations = spec.validations.as_deref().unwrap_or_default();
        let annotations = spec.audit_annotations.as_deref().unwrap_or_default();
        if validations.is_empty() && annotations.is_empty() {
            let detail = "validations or auditAnnotations must be specified";
            errors.required(&path.child("validations"), detail);
        }
        for (i, validation) in validations.iter().enumerate() {
            validate_validation(&mut errors, &path.child("validations").index(i), validation);
        }
        validate_annotations(&mut errors, &path.child("auditAnnotations"), annotations);
        errors.into_vec()
    }

    fn row(object: &ValidatingAdmissionPolicy, now: Timestamp) -> Vec<Cell> {
        let spec = object.spec.clone().unwrap_or_default();
        row(&object.metadata, spec.validations.map_or(0, |all| all.len()), spec.param_kind.as_ref(), now)
    }
}

impl Kind for MutatingAdmissionPolicies {
    type Object = MutatingAdmissionPolicy;

    const SINGULAR: &'static str = "mutatingadmissionpolicy";
    const CATEGORIES: &'static [&'static str] = &["api-extensions"];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::number("Mutations", "How many mutations there are."),
        table::text("ParamKind", "The kind of its parameters."),
        table::AGE,
    ];

    with_generations!(MutatingAdmissionPolicy);

    fn default(object: &mut MutatingAdmissionPolicy) {
        let Some(spec) = &mut object.spec else { return };
        default_text(&mut spec.failure_policy, "Fail");
        default_text(&mut spec.reinvocation_policy, "Never");
        spec.match_constraints.as_mut().map(rules::default_matches);
    }

    fn validate(object: &MutatingAdmissionPolicy) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (path, spec) = (Path::root("spec"), object.spec.clone().unwrap_or_default());
        rules::validate_failure_policy(&mut errors, &path.child("failurePolicy"), spec.failure_policy.as_deref());
        let policy = spec.reinvocation_policy.as_deref();
        rules::validate_reinvocation(&mut errors, &path.child("reinvocationPolicy"), policy);
        validate_scope(&mut errors, &path, spec.param_kind.as_ref(), spec.match_constraints.as_ref());
        let (conditions, variables) = (spec.match_conditions.as_deref(), spec.variables.as_deref());
        rules::validate_conditions(&mut errors, &path.child("matchConditions"), conditions.unwrap_or_default());
        validate_variables(&mut errors, &path.child("variables"), variables.unwrap_or_default());
        let mutations = spec.mutations.as_deref().unwrap_or_default();
        let at = path.child("mutations");
        if mutations.is_empty() {
            errors.required(&at, "mutations must contain at least one item");
        }
        for (i, mutation) in mutations.iter().enumerate() {
            validate_mutation(&mut errors, &at.index(i), mutation);
        }
        errors.into_vec()
    }

    fn row(object: &MutatingAdmissionPolicy, now: Timestamp) -> Vec<Cell> {
        let spec = object.spec.clone().unwrap_or_default();
        row(&object.metadata, spec.mutations.map_or(0, |all| all.len()), spec.param_kind.as_ref(), now)
    }
}

fn row(meta: &ObjectMeta, count: usize, parameters: Option<&ParamKind>, now: Timestamp) -> Vec<Cell> {
    let parameters = parameters.map(|kind| {
        let version = kind.api_version.as_deref().unwrap_or_default();
        format!("{version}/{}", kind.kind.as_deref().unwrap_or_default())
    });
    vec![table::name(meta), Cell::from(count), table::or_unset(parameters.as_deref()), table::age(meta, now)]
}

/// What a policy is about: with which parameters, and which objects.
fn validate_scope(
    errors: &mut Errors,
    path: &Path<'_>,
    parameters: Option<&ParamKind>,
    constraints: Option<&MatchResources>,
) {
    if let Some(kind) = parameters {
        rules::validate_param_kind(errors, &path.child("paramKind"), kind);
    }
    let at = path.child("matchConstraints");
    let Some(constraints) = constraints else {
        errors.required(&at, "");
        return;
    };
    rules::validate_matches(errors, &at, constraints);
    if constraints.resource_rules.as_ref().is_none_or(Vec::is_empty) {
        errors.required(&at.child("resourceRules"), "");
    }
}

fn validate_expression(errors: &mut Errors, path: &Path<'_>, expression: &str) {
    if expression.trim().is_empty() {
        errors.required(path, "expression is not specified");
    }
}

fn validate_variables(errors: &mut Errors, path: &Path<'_>, variables: &[Variable]) {
    for (i, variable) in variables.iter().enumerate() {
        let at = path.index(i);
        let name = variable.name.as_str();
        if name.is_empty() {
            errors.required(&at.child("name"), "name is not specified");
        } else if !is_identifier(name) {
            errors.invalid(&at.child("name"), name, "name is not a valid CEL identifier");
        } else if variables.iter().take(i).any(|other| other.name == name) {
            errors.duplicate(&at.child("name"), name);
        }
        validate_expression(errors, &at.child("expression"), &variable.expression);
    }
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn validate_validation(errors: &mut Errors, path: &Path<'_>, validation: &Validation) {
    validate_expression(errors, &path.child("expression"), &validation.expression);
    let message = validation.message.as_deref().unwrap_or_default();
    let at = path.child("message");
    if validation.message.is_some() && message.trim().is_empty() {
        errors.invalid(&at, message, "message must be non-empty if specified");
    } else if message.trim().contains('\n') {
        errors.invalid(&at, message, "message must not contain line breaks");
    } else if message.len() > MESSAGE_BYTES_MAX {
        errors.too_long(&at, MESSAGE_BYTES_MAX);
    }
    if message.is_empty() && validation.expression.trim().contains('\n') && validation.message_expression.is_none() {
        errors.required(&at, "message must be specified if expression contains line breaks");
    }
    if let Some(expression) = validation.message_expression.as_deref().filter(|text| text.trim().is_empty()) {
        let detail = "must be non-empty if specified";
        errors.invalid(&path.child("messageExpression"), expression, detail);
    }
    if let Some(reason) = validation.reason.as_deref().filter(|reason| !REASONS.contains(reason)) {
        errors.not_supported(&path.child("reason"), reason, &REASONS);
    }
}

fn validate_annotations(errors: &mut Errors, path: &Path<'_>, annotations: &[AuditAnnotation]) {
    if annotations.len() > ANNOTATIONS_MAX {
        let detail = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        errors.invalid(path, serde_json::to_value(annotations).unwrap_or_default(), &detail);
    }
    for (i, annotation) in annotations.iter().enumerate() {
        let at = path.index(i);
        let key = annotation.key.as_str();
        if key.is_empty() {
            errors.required(&at.child("key"), "");
        } else {
            errors.invalid_each(&at.child("key"), key, names::qualified_name(key));
            if annotations.iter().take(i).any(|other| other.key == key) {
                errors.duplicate(&at.child("key"), key);
            }
        }
        if annotation.value_expression.trim().is_empty() {
            errors.required(&at.child("valueExpression"), "valueExpression is not specified");
        }
    }
}

fn validate_mutation(errors: &mut Errors, path: &Path<'_>, mutation: &Mutation) {
    let expressions = [
        ("ApplyConfiguration", "applyConfiguration", mutation.apply_configuration.as_ref().map(|one| &one.expression)),
        ("JSONPatch", "jsonPatch", mutation.json_patch.as_ref().map(|one| &one.expression)),
    ];
    match mutation.patch_type.as_str() {
        "" => errors.required(&path.child("patchType"), ""),
        "ApplyConfiguration" | "JSONPatch" => {}
        other => errors.not_supported(&path.child("patchType"), other, &["ApplyConfiguration", "JSONPatch"]),
    }
    for (kind, field, expression) in expressions {
        let at = path.child(field);
        match (kind == mutation.patch_type, expression) {
            (true, None) => errors.required(&at, &format!("must be specified when patchType is {kind}")),
            (true, Some(text)) => {
                validate_expression(errors, &at.child("expression"), text.as_deref().unwrap_or_default());
            }
            (false, Some(_)) if !mutation.patch_type.is_empty() => {
                errors.invalid(&at, field, &format!("must not be specified when patchType is not {kind}"));
            }
            (false, _) => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(change: impl FnOnce(&mut Value)) -> ValidatingAdmissionPolicy {
        let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]});
        let mut spec = json!({"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "true"}]});
        change(&mut spec);
        let mut object = crate::decode::decode(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap().0;
        ValidatingAdmissionPolicies::default(&mut object);
        object
    }

    fn faults(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let errors = ValidatingAdmissionPolicies::validate(&policy(change));
        errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn faults_name_their_fields() {
        assert_eq!(faults(|_| {}), Vec::<String>::new());
        assert_eq!(
            faults(|v| {
                v["validations"][0]["expression"] = json!(" ");
                v["validations"][0]["reason"] = json!("x");
                v["variables"] = json!([{"name": "1", "expression": "a"}]);
                v["matchConstraints"]["resourceRules"] = json!([]);
            }),
            [
                "spec.matchConstraints.resourceRules: Required value",
                "spec.variables[0].name: Invalid value: \"1\": name is not a valid CEL identifier",
                "spec.validations[0].expression: Required value: expression is not specified",
                "spec.validations[0].reason: Unsupported value: \"x\": supported values: \"Forbidden\", \"Invalid\", \
                 \"RequestEntityTooLarge\", \"Unauthorized\"",
            ]
        );
        let row = ValidatingAdmissionPolicies::row(
            &policy(|v| v["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"})),
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(Value::from(row), json!(["p", 1, "v1/ConfigMap", "<unknown>"]));
    }
}
