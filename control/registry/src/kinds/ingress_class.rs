//! IngressClass.

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IngressClass, IngressClassParametersReference};

use crate::field::{Errors, Path};
use crate::kind::{Kind, with_generations};
use crate::names;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

const CONTROLLER_BYTES_MAX: usize = 250;

/// IngressClasses.
pub(crate) struct IngressClasses;

impl Kind for IngressClasses {
    type Object = IngressClass;

    const SINGULAR: &'static str = "ingressclass";
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("Controller", "Controller that is responsible for handling this class"),
        table::text("Parameters", "A reference to a resource with additional parameters"),
        table::AGE,
    ];

    with_generations!(IngressClass);

    fn default(object: &mut IngressClass) {
        if let Some(parameters) = object.spec.as_mut().and_then(|spec| spec.parameters.as_mut()) {
            parameters.scope.get_or_insert_with(|| "Cluster".to_owned());
        }
    }

    fn validate(object: &IngressClass) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let spec = object.spec.clone().unwrap_or_default();
        let path = Path::root("spec");
        let (at, controller) = (path.child("controller"), spec.controller.unwrap_or_default());
        if controller.len() > CONTROLLER_BYTES_MAX {
            errors.too_long(&at, CONTROLLER_BYTES_MAX);
        }
        names::validate_domain_path(&mut errors, &at, &controller);
        if let Some(parameters) = &spec.parameters {
            validate_parameters(&mut errors, &path.child("parameters"), parameters);
        }
        errors.into_vec()
    }

    fn validate_update(new: &IngressClass, old: &IngressClass) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let controller = |object: &IngressClass| object.spec.as_ref().and_then(|spec| spec.controller.clone());
        errors.immutable(&Path::root("spec.controller"), &controller(new), &controller(old));
        errors.extend(Self::validate(new));
        errors.into_vec()
    }

    fn row(object: &IngressClass, now: Timestamp) -> Vec<Cell> {
        let spec = object.spec.clone().unwrap_or_default();
        let parameters = spec.parameters.map(|parameters| {
            let group = parameters.api_group.filter(|group| !group.is_empty()).map(|group| format!(".{group}"));
            format!("{}{}/{}", parameters.kind, group.unwrap_or_default(), parameters.name)
        });
        vec![
            table::name(&object.metadata),
            Cell::from(spec.controller.unwrap_or_default()),
            table::or_none(parameters.as_deref()),
            table::age(&object.metadata, now),
        ]
    }
}

fn validate_parameters(errors: &mut Errors, path: &Path<'_>, parameters: &IngressClassParametersReference) {
    if let Some(group) = parameters.api_group.as_deref().filter(|group| !group.is_empty()) {
        errors.invalid_each(&path.child("apiGroup"), group, names::dns1123_subdomain(group));
    }
    for (field, required, value) in
        [("kind", "kind is required", &parameters.kind), ("name", "name is required", &parameters.name)]
    {
        if value.is_empty() {
            errors.required(&path.child(field), required);
        } else {
            errors.invalid_each(&path.child(field), value, names::path_segment(value));
        }
    }
    let at = path.child("namespace");
    let namespace = parameters.namespace.as_deref();
    match parameters.scope.as_deref() {
        None => errors.required(&path.child("scope"), ""),
        Some("Namespace") => match namespace.unwrap_or_default() {
            "" => errors.required(&at, "`parameters.scope` is set to 'Namespace'"),
            name => errors.invalid_each(&at, name, names::dns1123_label(name)),
        },
        Some("Cluster") if namespace.is_some() => errors.forbidden(&at, "`parameters.scope` is set to 'Cluster'"),
        Some("Cluster") => {}
        Some(other) => errors.not_supported(&path.child("scope"), other, &["Cluster", "Namespace"]),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn class(spec: &Value) -> IngressClass {
        let mut object = crate::decode::decode(json!({"metadata": {"name": "c"}, "spec": spec})).unwrap().0;
        IngressClasses::default(&mut object);
        object
    }

    #[test]
    fn parameters_have_a_scope_and_the_controller_stays() {
        let text = |spec: &Value| -> Vec<String> {
            let errors = IngressClasses::validate(&class(spec));
            errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
        };
        let good = json!({"controller": "example.com/c", "parameters": {"kind": "K", "name": "n", "apiGroup": "g"}});
        assert_eq!(text(&good), Vec::<String>::new());
        assert_eq!(IngressClasses::row(&class(&good), Timestamp::UNIX_EPOCH)[2], "K.g/n");
        let bad = json!({"controller": "c", "parameters": {"kind": "", "name": "n", "scope": "Namespace"}});
        assert_eq!(
            text(&bad),
            [
                "spec.controller: Invalid value: \"c\": must be a domain-prefixed path (such as \"acme.io/foo\")",
                "spec.parameters.kind: Required value: kind is required",
                "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
            ]
        );
        let other = class(&json!({"controller": "example.com/d"}));
        let errors = IngressClasses::validate_update(&other, &class(&good));
        assert_eq!(errors[0].message, "Invalid value: \"example.com/d\": field is immutable");
    }
}
