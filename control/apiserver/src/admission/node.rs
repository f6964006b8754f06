//! TaintNodesByCondition: a node takes no pods before it was seen to be ready.

use k8s_openapi::api::core::v1::{Node, Taint};
use skep_registry::{Object, typed_mut};

use super::{Operation, Request};
use crate::status::ApiError;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const NO_SCHEDULE: &str = "NoSchedule";

pub(super) fn taint(request: &Request<'_>, object: &mut dyn Object) -> Result<(), ApiError> {
    if request.operation != Operation::Create || !request.is_for("", "nodes") {
        return Ok(());
    }
    let Some(node) = typed_mut::<Node>(object) else { return Ok(()) };
    let taints = node.spec.get_or_insert_default().taints.get_or_insert_default();
    if !taints.iter().any(|taint| taint.key == NOT_READY && taint.effect == NO_SCHEDULE) {
        taints.push(Taint { key: NOT_READY.to_owned(), effect: NO_SCHEDULE.to_owned(), ..Taint::default() });
    }
    Ok(())
}
