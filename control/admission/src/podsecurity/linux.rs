//! Controls of what the kernel lets a container do: capabilities, AppArmor, SELinux, seccomp, masks of /proc.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::SELinuxOptions;

use super::checks::{Subject, Violation};
use super::container::{containers, names};
use super::host::violation;
use super::user::{is_windows, relaxes};
use super::{named, plural, quoted, setters};

pub(super) fn privileged(pod: Subject<'_>) -> Option<Violation> {
    let bad = names(pod.spec, |c| c.security.is_some_and(|context| context.privileged == Some(true)));
    if bad.is_empty() {
        return None;
    }
    violation("privileged", format!("{} must not set securityContext.privileged=true", named(&bad)))
}

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The containers that add what is not allowed, and all of that.
fn added<'a>(pod: Subject<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let mut beyond = BTreeSet::new();
    let bad = names(pod.spec, |container| {
        let added = container.capabilities().into_iter().flat_map(|c| c.add.iter().flatten());
        let bad: Vec<&str> = added.map(String::as_str).filter(|name| !allowed.contains(name)).collect();
        beyond.extend(bad.iter().copied());
        !bad.is_empty()
    });
    (bad, beyond)
}

fn must_not_add(bad: &[&str], beyond: &BTreeSet<&str>) -> String {
    format!("{} must not include {} in securityContext.capabilities.add", named(bad), quoted(beyond))
}

pub(super) fn capabilities_baseline(pod: Subject<'_>) -> Option<Violation> {
    let (bad, beyond) = added(pod, &DEFAULT_CAPABILITIES);
    if bad.is_empty() { None } else { violation("non-default capabilities", must_not_add(&bad, &beyond)) }
}

pub(super) fn capabilities_restricted(pod: Subject<'_>) -> Option<Violation> {
    let keeping = names(pod.spec, |container| {
        let dropped = container.capabilities().and_then(|c| c.drop.as_deref()).unwrap_or_default();
        !dropped.iter().any(|name| name == "ALL")
    });
    let (bad, beyond) = added(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named(&keeping)));
    }
    if !bad.is_empty() {
        details.push(must_not_add(&bad, &beyond));
    }
    if details.is_empty() { None } else { violation("unrestricted capabilities", details.join("; ")) }
}

pub(super) fn capabilities_unless_windows(pod: Subject<'_>) -> Option<Violation> {
    if is_windows(pod) { None } else { capabilities_restricted(pod) }
}

const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

pub(super) fn app_armor(pod: Subject<'_>) -> Option<Violation> {
    let known = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
    let mut values = BTreeSet::new();
    let own = pod.spec.security_context.as_ref().and_then(|c| c.app_armor_profile.as_ref());
    let whole = own.filter(|profile| !known(&profile.type_));
    values.extend(whole.map(|profile| profile.type_.clone()));
    let bad = names(pod.spec, |container| {
        let profile = container.app_armor().filter(|profile| !known(&profile.type_));
        values.extend(profile.map(|profile| profile.type_.clone()));
        profile.is_some()
    });
    let annotations: Vec<String> = pod
        .annotations
        .iter()
        .filter(|(key, value)| {
            let fine = value.is_empty() || *value == "runtime/default" || value.starts_with("localhost/");
            key.starts_with(APP_ARMOR_ANNOTATION) && !fine
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    let mut who: Vec<String> = setters(whole.is_some(), &bad).into_iter().collect();
    if !annotations.is_empty() {
        who.push(plural(annotations.len(), "annotation", "annotations").to_owned());
    }
    if who.is_empty() {
        return None;
    }
    let values: Vec<String> = values.into_iter().chain(annotations).collect();
    let reason = plural(values.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles");
    violation(reason, format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values)))
}

pub(super) fn proc_mount(pod: Subject<'_>) -> Option<Violation> {
    let mut kinds = BTreeSet::new();
    let bad = names(pod.spec, |container| {
        let mount = container.security.and_then(|c| c.proc_mount.as_deref()).filter(|kind| *kind != "Default");
        kinds.extend(mount);
        mount.is_some()
    });
    if bad.is_empty() {
        return None;
    }
    violation("procMount", format!("{} must not set securityContext.procMount to {}", named(&bad), quoted(&kinds)))
}

pub(super) fn proc_mount_unless_user_namespace(pod: Subject<'_>) -> Option<Violation> {
    if relaxes(pod) { None } else { proc_mount(pod) }
}

const SE_LINUX_TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

pub(super) fn se_linux(pod: Subject<'_>) -> Option<Violation> {
    se_linux_of(pod, &SE_LINUX_TYPES[..4])
}

pub(super) fn se_linux_1_31(pod: Subject<'_>) -> Option<Violation> {
    se_linux_of(pod, &SE_LINUX_TYPES)
}

fn se_linux_of(pod: Subject<'_>, allowed: &[&str]) -> Option<Violation> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut is_bad = |options: &SELinuxOptions| {
        let given = |field: &Option<String>| field.as_deref().is_some_and(|text| !text.is_empty());
        let kind = options.type_.clone().unwrap_or_default();
        let bad_type = !allowed.contains(&kind.as_str());
        if bad_type {
            types.insert(kind);
        }
        user |= given(&options.user);
        role |= given(&options.role);
        bad_type || given(&options.user) || given(&options.role)
    };
    let own = pod.spec.security_context.as_ref().and_then(|c| c.se_linux_options.as_ref());
    let whole = own.is_some_and(&mut is_bad);
    let bad = names(pod.spec, |container| container.se_linux().is_some_and(&mut is_bad));
    let who = setters(whole, &bad)?;
    let mut faults = Vec::new();
    if !types.is_empty() {
        faults.push(format!("{} {}", plural(types.len(), "type", "types"), quoted(&types)));
    }
    if user {
        faults.push("user may not be set".to_owned());
    }
    if role {
        faults.push("role may not be set".to_owned());
    }
    violation("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {}", faults.join("; ")))
}

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Before there were fields for it.
pub(super) fn seccomp_annotations(pod: Subject<'_>) -> Option<Violation> {
    let own = containers(pod.spec).map(|container| format!("{SECCOMP_CONTAINER}{}", container.name));
    let keys = std::iter::once(SECCOMP_POD.to_owned()).chain(own);
    let fine = |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let bad = keys.filter_map(|key| {
        let value = pod.annotations.get(&key).filter(|value| !fine(value))?;
        Some(format!("{key}={value:?}"))
    });
    let bad: BTreeSet<String> = bad.collect();
    if bad.is_empty() {
        return None;
    }
    let what = plural(bad.len(), "annotation", "annotations");
    violation("seccompProfile", format!("forbidden {what} {}", bad.into_iter().collect::<Vec<_>>().join(", ")))
}

fn is_confined(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

pub(super) fn seccomp_baseline(pod: Subject<'_>) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let own = pod.spec.security_context.as_ref().and_then(|c| c.seccomp_profile.as_ref());
    let whole = own.filter(|profile| !is_confined(&profile.type_));
    values.extend(whole.map(|profile| profile.type_.as_str()));
    let bad = names(pod.spec, |container| {
        let profile = container.seccomp().filter(|profile| !is_confined(&profile.type_));
        values.extend(profile.map(|profile| profile.type_.as_str()));
        profile.is_some()
    });
    let who = setters(whole.is_some(), &bad)?;
    violation(
        "seccompProfile",
        format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(&values)),
    )
}

pub(super) fn seccomp_restricted(pod: Subject<'_>) -> Option<Violation> {
    if let Some(explicit) = seccomp_baseline(pod) {
        return Some(explicit);
    }
    // What is set is right, so that only those are at fault for which nothing is set.
    if pod.spec.security_context.as_ref().is_some_and(|context| context.seccomp_profile.is_some()) {
        return None;
    }
    let bad = names(pod.spec, |container| container.seccomp().is_none());
    if bad.is_empty() {
        return None;
    }
    let must = "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
    violation("seccompProfile", format!("pod or {} {must}", named(&bad)))
}

pub(super) fn seccomp_unless_windows(pod: Subject<'_>) -> Option<Violation> {
    if is_windows(pod) { None } else { seccomp_restricted(pod) }
}
