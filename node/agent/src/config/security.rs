//! Security contexts: the container's over the pod's over the defaults.

use k8s_openapi::api::core::v1::{Container, PodSpec, SeccompProfile};
use skep_cri::v1;

/// Hidden from containers that are not privileged.
const MASKED_PATHS: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/firmware",
];
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The container may not run as the user that it would run as.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Refused {
    #[error("container's runAsUser breaks non-root policy")]
    Root,
    #[error("container has runAsNonRoot and image will run as root")]
    ImageRoot,
    #[error("container has runAsNonRoot and image has non-numeric user ({0}), cannot verify user is non-root")]
    ImageName(String),
}

fn pick<T>(
    spec: &PodSpec,
    container: &Container,
    own: impl Fn(&k8s_openapi::api::core::v1::SecurityContext) -> Option<T>,
    pods: impl Fn(&k8s_openapi::api::core::v1::PodSecurityContext) -> Option<T>,
) -> Option<T> {
    let own = container.security_context.as_ref().and_then(own);
    own.or_else(|| spec.security_context.as_ref().and_then(pods))
}

/// The user that the spec asks for.
pub(crate) fn run_as_user(spec: &PodSpec, container: &Container) -> Option<i64> {
    pick(spec, container, |context| context.run_as_user, |context| context.run_as_user)
}

/// The group that owns the pod's volumes.
pub(crate) fn fs_group(spec: &PodSpec) -> Option<i64> {
    spec.security_context.as_ref().and_then(|context| context.fs_group)
}

/// The sandbox's and containers' namespaces.
pub(crate) fn namespaces(spec: &PodSpec) -> v1::NamespaceOption {
    let mode = |host: Option<bool>, own: v1::NamespaceMode| {
        if host == Some(true) { v1::NamespaceMode::Node as i32 } else { own as i32 }
    };
    let pid =
        if spec.share_process_namespace == Some(true) { v1::NamespaceMode::Pod } else { v1::NamespaceMode::Container };
    v1::NamespaceOption {
        network: mode(spec.host_network, v1::NamespaceMode::Pod),
        pid: mode(spec.host_pid, pid),
        ipc: mode(spec.host_ipc, v1::NamespaceMode::Pod),
        ..v1::NamespaceOption::default()
    }
}

/// A seccomp profile; containers without one are not confined, as the kubelet leaves them by default.
pub(crate) fn seccomp(profile: Option<&SeccompProfile>) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType;
    let (kind, localhost) = match profile.map(|profile| (profile.type_.as_str(), &profile.localhost_profile)) {
        Some(("RuntimeDefault", _)) => (ProfileType::RuntimeDefault, String::new()),
        Some(("Localhost", path)) => (ProfileType::Localhost, path.clone().unwrap_or_default()),
        _ => (ProfileType::Unconfined, String::new()),
    };
    v1::SecurityProfile { profile_type: kind as i32, localhost_ref: localhost }
}

pub(crate) fn supplemental_groups(spec: &PodSpec) -> Vec<i64> {
    let Some(context) = &spec.security_context else { return Vec::new() };
    context.supplemental_groups.iter().flatten().copied().chain(context.fs_group).collect()
}

/// One container's context. `image_user` is who the image says it runs as: a number, or a name.
pub(crate) fn container_security(
    spec: &PodSpec,
    container: &Container,
    image_user: Result<i64, String>,
) -> Result<v1::LinuxContainerSecurityContext, Refused> {
    let own = container.security_context.clone().unwrap_or_default();
    let user = run_as_user(spec, container);
    let group = pick(spec, container, |context| context.run_as_group, |context| context.run_as_group);
    if pick(spec, container, |context| context.run_as_non_root, |context| context.run_as_non_root) == Some(true) {
        match (user, &image_user) {
            (Some(0), _) => return Err(Refused::Root),
            (Some(_), _) => {}
            (None, Ok(0)) => return Err(Refused::ImageRoot),
            (None, Err(name)) if !name.is_empty() => return Err(Refused::ImageName(name.clone())),
            (None, Err(_)) => return Err(Refused::ImageRoot),
            (None, Ok(_)) => {}
        }
    }
    let privileged = own.privileged == Some(true);
    let profile =
        pick(spec, container, |context| context.seccomp_profile.clone(), |context| context.seccomp_profile.clone());
    let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |paths: &[&str]| {
        if unmasked { Vec::new() } else { paths.iter().map(|path| (*path).to_owned()).collect() }
    };
    let user = user.or_else(|| group.and(image_user.ok()));
    Ok(v1::LinuxContainerSecurityContext {
        capabilities: own.capabilities.map(|held| v1::Capability {
            add_capabilities: held.add.unwrap_or_default(),
            drop_capabilities: held.drop.unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged,
        namespace_options: Some(namespaces(spec)),
        run_as_user: user.map(|value| v1::Int64Value { value }),
        run_as_group: group.map(|value| v1::Int64Value { value }),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: supplemental_groups(spec),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READONLY_PATHS),
        seccomp: Some(seccomp(profile.as_ref())),
        ..v1::LinuxContainerSecurityContext::default()
    })
}
