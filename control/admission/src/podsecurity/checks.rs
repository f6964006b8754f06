//! The table of controls, by version.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;

use super::policy::{Level, LevelVersion, Version};
use super::{host, linux, user};

/// A control that a pod does not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Short: `host namespaces`.
    pub reason: String,
    /// Who and what is at fault: `hostNetwork=true`.
    pub detail: String,
}

/// A pod, or what a workload's template would make.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub annotations: &'a BTreeMap<String, String>,
    pub spec: &'a PodSpec,
}

type Run = fn(Subject<'_>) -> Option<Violation>;

struct Check {
    id: &'static str,
    level: Level,
    /// Since which minor version each form of it holds, oldest first.
    forms: &'static [(u32, Run)],
    /// The weaker check that it stands in for.
    instead_of: Option<&'static str>,
}

const fn baseline(id: &'static str, forms: &'static [(u32, Run)]) -> Check {
    Check { id, level: Level::Baseline, forms, instead_of: None }
}

const fn restricted(id: &'static str, instead_of: Option<&'static str>, forms: &'static [(u32, Run)]) -> Check {
    Check { id, level: Level::Restricted, forms, instead_of }
}

/// Upstream's ids, in the order in which it reports them.
const CHECKS: &[Check] = &[
    baseline("appArmorProfile", &[(0, linux::app_armor)]),
    baseline("capabilities_baseline", &[(0, linux::capabilities_baseline)]),
    baseline("hostNamespaces", &[(0, host::namespaces)]),
    baseline("hostPathVolumes", &[(0, host::path_volumes)]),
    baseline("hostPorts", &[(0, host::ports)]),
    baseline("hostProbesAndHostLifecycle", &[(34, host::probes_and_lifecycle)]),
    baseline("privileged", &[(0, linux::privileged)]),
    baseline("procMount", &[(0, linux::proc_mount), (35, linux::proc_mount_unless_user_namespace)]),
    baseline("seLinuxOptions", &[(0, linux::se_linux), (31, linux::se_linux_1_31)]),
    baseline("seccompProfile_baseline", &[(0, linux::seccomp_annotations), (19, linux::seccomp_baseline)]),
    baseline(
        "sysctls",
        &[
            (0, host::sysctls::<0>),
            (27, host::sysctls::<27>),
            (29, host::sysctls::<29>),
            (32, host::sysctls::<32>),
            (37, host::sysctls::<37>),
        ],
    ),
    baseline("windowsHostProcess", &[(0, host::windows_process)]),
    restricted(
        "allowPrivilegeEscalation",
        None,
        &[(8, user::privilege_escalation), (25, user::privilege_escalation_unless_windows)],
    ),
    restricted(
        "capabilities_restricted",
        Some("capabilities_baseline"),
        &[(22, linux::capabilities_restricted), (25, linux::capabilities_unless_windows)],
    ),
    restricted("procMount_restricted", Some("procMount"), &[(35, linux::proc_mount)]),
    restricted("restrictedVolumes", Some("hostPathVolumes"), &[(0, host::restricted_volumes)]),
    restricted("runAsNonRoot", None, &[(0, user::non_root), (35, user::non_root_unless_user_namespace)]),
    restricted("runAsUser", None, &[(23, user::not_zero), (35, user::not_zero_unless_user_namespace)]),
    restricted(
        "seccompProfile_restricted",
        Some("seccompProfile_baseline"),
        &[(19, linux::seccomp_restricted), (25, linux::seccomp_unless_windows)],
    ),
];

impl Check {
    /// The form of a version.
    fn at(&self, version: Version) -> Option<Run> {
        self.forms.iter().rev().find(|(since, _)| Version::Minor(*since) <= version).map(|(_, run)| *run)
    }
}

/// What of a level's controls a pod does not keep.
#[must_use]
pub fn evaluate(asked: LevelVersion, annotations: &BTreeMap<String, String>, spec: &PodSpec) -> Vec<Violation> {
    let subject = Subject { annotations, spec };
    let current = || {
        let checks = CHECKS.iter().filter(|check| check.level <= asked.level);
        checks.filter_map(|check| check.at(asked.version).map(|run| (check, run)))
    };
    let replaced: Vec<&str> = current().filter_map(|(check, _)| check.instead_of).collect();
    current().filter(|(check, _)| !replaced.contains(&check.id)).filter_map(|(_, run)| run(subject)).collect()
}
