//! NamespaceLifecycle: nothing is created in a namespace that is missing or going, and some namespaces stay.

use skep_registry::Object;

use super::{Operation, Request};
use crate::status::ApiError;

/// Without these a cluster does not work.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Before a create or an update.
pub(super) fn admit(request: &Request<'_>, _: &mut dyn Object) -> Result<(), ApiError> {
    let (writer, target) = (request.writer, request.target);
    let (Some(namespaces), Some(namespace)) = (&writer.admission.namespaces, target.namespace.as_deref()) else {
        return Ok(());
    };
    let Some(found) = writer.cache.get(namespaces, namespace) else {
        return Err(ApiError::not_found("namespaces", "", namespace));
    };
    let terminating = found.facts.fields.get("status.phase") == Some("Terminating");
    if terminating && request.operation == Operation::Create {
        return Err(ApiError::namespace_terminating(&target.served, &target.name, namespace));
    }
    Ok(())
}

/// Before a deletion.
pub(super) fn keep(request: &Request<'_>, _: Option<&dyn Object>) -> Result<(), ApiError> {
    let deletes = request.operation == Operation::Delete && request.is_for("", "namespaces");
    if deletes && IMMORTAL.contains(&request.target.name.as_str()) {
        return Err(request.forbidden("this namespace may not be deleted"));
    }
    Ok(())
}
