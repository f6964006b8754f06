//! Bindings of pods to nodes, made by their own path rather than by the pod's.

use k8s_openapi::api::core::v1::Binding;

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::strategy::FieldError;

/// Which node a pod is to run on.
pub(crate) struct Bindings;

impl Kind for Bindings {
    type Object = Binding;

    const SINGULAR: &'static str = "binding";
    const STORED: bool = false;

    fn validate(object: &Binding) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let path = Path::root("target");
        let kind = object.target.kind.as_deref().unwrap_or_default();
        if !matches!(kind, "" | "Node") {
            errors.not_supported(&path.child("kind"), kind, &["Node", "<empty>"]);
        }
        if object.target.name.as_deref().unwrap_or_default().is_empty() {
            errors.required(&path.child("name"), "");
        }
        errors.into_vec()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;

    #[test]
    fn pods_are_bound_to_nodes_by_name() {
        let faults = |kind: Option<&str>, name: Option<&str>| -> Vec<String> {
            let target =
                ObjectReference { kind: kind.map(Into::into), name: name.map(Into::into), ..Default::default() };
            let errors = Bindings::validate(&Binding { target, ..Binding::default() });
            errors.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
        };
        assert!(faults(None, Some("n")).is_empty() && faults(Some("Node"), Some("n")).is_empty());
        assert_eq!(
            faults(Some("Pod"), None),
            [
                "target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \"<empty>\"",
                "target.name: Required value"
            ]
        );
    }
}
