//! RuntimeClass.

use jiff::Timestamp;
use k8s_openapi::api::node::v1::RuntimeClass;

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::metadata::validate_labels;
use crate::names;
use crate::pod_spec::{validate_quantity, validate_tolerations};
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

/// RuntimeClasses.
pub(crate) struct RuntimeClasses;

impl Kind for RuntimeClasses {
    type Object = RuntimeClass;

    const SINGULAR: &'static str = "runtimeclass";
    const COLUMNS: &'static [Column] =
        &[table::NAME, table::text("Handler", "What runs its pods on the node."), table::AGE];

    fn validate(object: &RuntimeClass) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.invalid_each(&Path::root("handler"), &object.handler, names::dns1123_label(&object.handler));
        let overhead = object.overhead.as_ref().and_then(|overhead| overhead.pod_fixed.as_ref());
        for (name, quantity) in overhead.into_iter().flatten() {
            validate_quantity(&mut errors, &Path::root("overhead.podFixed").key(name), quantity);
        }
        let path = Path::root("scheduling");
        let scheduling = object.scheduling.clone().unwrap_or_default();
        validate_labels(&mut errors, &path.child("nodeSelector"), &scheduling.node_selector.unwrap_or_default());
        validate_tolerations(&mut errors, &path.child("tolerations"), &scheduling.tolerations.unwrap_or_default());
        errors.into_vec()
    }

    fn validate_update(new: &RuntimeClass, old: &RuntimeClass) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        errors.immutable(&Path::root("handler"), &new.handler, &old.handler);
        errors.into_vec()
    }

    fn row(object: &RuntimeClass, now: Timestamp) -> Vec<Cell> {
        vec![table::name(&object.metadata), Cell::from(object.handler.as_str()), table::age(&object.metadata, now)]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_handler_is_a_label_and_stays() {
        let class = |handler: &str| RuntimeClass { handler: handler.to_owned(), ..RuntimeClass::default() };
        assert!(RuntimeClasses::validate(&class("runc")).is_empty());
        assert_eq!(RuntimeClasses::validate(&class("a.b"))[0].field, "handler");
        let errors = RuntimeClasses::validate_update(&class("b"), &class("a"));
        assert_eq!(errors[0].message, "Invalid value: \"b\": field is immutable");
    }
}
