//! LimitRanger: requests and limits where a pod has none, and bounds for pods and claims.

use k8s_openapi::api::core::v1::{LimitRange, PersistentVolumeClaim, Pod};
use skep_admission::limits;
use skep_registry::{Object, typed_mut, typed_ref};

use super::{Operation, Request};
use crate::status::ApiError;

pub(super) fn fill(request: &Request<'_>, object: &mut dyn Object) -> Result<(), ApiError> {
    if request.operation == Operation::Create
        && request.is_for("", "pods")
        && let Some(pod) = typed_mut::<Pod>(object)
    {
        ranges(request).iter().for_each(|range| limits::fill(range, pod));
    }
    Ok(())
}

pub(super) fn check(request: &Request<'_>, object: Option<&dyn Object>) -> Result<(), ApiError> {
    let Some(object) = object.filter(|_| request.asked.subresource.is_empty()) else { return Ok(()) };
    // A pod's resources do not change with the pod itself.
    let pod = typed_ref::<Pod>(object).filter(|_| request.operation == Operation::Create);
    let claim = typed_ref::<PersistentVolumeClaim>(object);
    if pod.is_none() && claim.is_none() {
        return Ok(());
    }
    for range in ranges(request) {
        let mut faults = pod.map(|pod| limits::check_pod(&range, pod)).unwrap_or_default();
        faults.extend(claim.map(|claim| limits::check_claim(&range, claim)).unwrap_or_default());
        let mut told = Vec::new();
        faults.retain(|fault| {
            !told.contains(fault) && {
                told.push(fault.clone());
                true
            }
        });
        match faults.as_slice() {
            [] => {}
            [one] => return Err(request.forbidden(one)),
            many => return Err(request.forbidden(&format!("[{}]", many.join(", ")))),
        }
    }
    Ok(())
}

/// Those of the request's namespace.
fn ranges(request: &Request<'_>) -> Vec<LimitRange> {
    let admission = &request.writer.admission;
    let Some(namespace) = &request.target.namespace else { return Vec::new() };
    request.writer.objects(admission.limit_ranges.as_ref(), &format!("{namespace}/"))
}
