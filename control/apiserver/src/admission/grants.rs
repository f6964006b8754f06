//! Nobody grants what they do not hold. Upstream's API has it before a role or a binding is stored; here it is a step of the second
//! phase.

use skep_registry::Object;

use super::Request;
use crate::authz::check_grant;
use crate::status::ApiError;

pub(super) const NAME: &str = "RBACEscalation";

pub(super) fn check(request: &Request<'_>, object: Option<&dyn Object>) -> Result<(), ApiError> {
    let (Some(object), "rbac.authorization.k8s.io") = (object, &*request.target.served.group) else { return Ok(()) };
    let checked = check_grant(&request.writer.authorizers, &request.asked.who, object, request.old);
    checked.map_err(|why| request.forbidden(&why))
}
