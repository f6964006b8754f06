//! Controls of whom a container runs as.

use super::checks::{Subject, Violation};
use super::container::names;
use super::host::violation;
use super::{named, setters};

pub(super) fn is_windows(pod: Subject<'_>) -> bool {
    pod.spec.os.as_ref().is_some_and(|os| os.name == "windows")
}

/// Whether the pod's root is nobody on its node.
pub(super) fn relaxes(pod: Subject<'_>) -> bool {
    pod.spec.host_users == Some(false)
}

pub(super) fn privilege_escalation(pod: Subject<'_>) -> Option<Violation> {
    let bad = names(pod.spec, |c| c.security.and_then(|context| context.allow_privilege_escalation) != Some(false));
    if bad.is_empty() {
        return None;
    }
    let must = "must set securityContext.allowPrivilegeEscalation=false";
    violation("allowPrivilegeEscalation != false", format!("{} {must}", named(&bad)))
}

pub(super) fn privilege_escalation_unless_windows(pod: Subject<'_>) -> Option<Violation> {
    if is_windows(pod) { None } else { privilege_escalation(pod) }
}

pub(super) fn non_root(pod: Subject<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let own = pod.spec.security_context.as_ref().and_then(|context| context.run_as_non_root);
    let explicit = names(pod.spec, |c| c.security.and_then(|context| context.run_as_non_root) == Some(false));
    if let Some(who) = setters(own == Some(false), &explicit) {
        return violation(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let open = names(pod.spec, |c| c.security.and_then(|context| context.run_as_non_root).is_none());
    if own == Some(true) || open.is_empty() {
        return None;
    }
    violation(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", named(&open)))
}

pub(super) fn non_root_unless_user_namespace(pod: Subject<'_>) -> Option<Violation> {
    if relaxes(pod) { None } else { non_root(pod) }
}

pub(super) fn not_zero(pod: Subject<'_>) -> Option<Violation> {
    let own = pod.spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let bad = names(pod.spec, |c| c.security.and_then(|context| context.run_as_user) == Some(0));
    let who = setters(own == Some(0), &bad)?;
    violation("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

pub(super) fn not_zero_unless_user_namespace(pod: Subject<'_>) -> Option<Violation> {
    if relaxes(pod) { None } else { not_zero(pod) }
}
