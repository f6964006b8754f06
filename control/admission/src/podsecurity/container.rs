//! Containers of all sorts, as the checks see them.

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Capabilities, ContainerPort, Lifecycle, PodSpec, Probe, SELinuxOptions, SeccompProfile,
    SecurityContext,
};

/// What checks look at in a container, an init container or an ephemeral one.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub name: &'a str,
    pub image: Option<&'a str>,
    pub ports: &'a [ContainerPort],
    pub probes: [Option<&'a Probe>; 3],
    pub lifecycle: Option<&'a Lifecycle>,
    pub security: Option<&'a SecurityContext>,
}

impl<'a> View<'a> {
    pub(super) fn app_armor(&self) -> Option<&'a AppArmorProfile> {
        self.security?.app_armor_profile.as_ref()
    }

    pub(super) fn capabilities(&self) -> Option<&'a Capabilities> {
        self.security?.capabilities.as_ref()
    }

    pub(super) fn seccomp(&self) -> Option<&'a SeccompProfile> {
        self.security?.seccomp_profile.as_ref()
    }

    pub(super) fn se_linux(&self) -> Option<&'a SELinuxOptions> {
        self.security?.se_linux_options.as_ref()
    }
}

/// Init containers first, then containers, then ephemeral ones.
pub(super) fn containers(spec: &PodSpec) -> impl Iterator<Item = View<'_>> {
    let common = spec.init_containers.iter().flatten().chain(&spec.containers).map(|c| View {
        name: &c.name,
        image: c.image.as_deref(),
        ports: c.ports.as_deref().unwrap_or_default(),
        probes: [c.liveness_probe.as_ref(), c.readiness_probe.as_ref(), c.startup_probe.as_ref()],
        lifecycle: c.lifecycle.as_ref(),
        security: c.security_context.as_ref(),
    });
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| View {
        name: &c.name,
        image: c.image.as_deref(),
        ports: c.ports.as_deref().unwrap_or_default(),
        probes: [c.liveness_probe.as_ref(), c.readiness_probe.as_ref(), c.startup_probe.as_ref()],
        lifecycle: c.lifecycle.as_ref(),
        security: c.security_context.as_ref(),
    });
    common.chain(ephemeral)
}

/// Names of the containers for which something holds.
pub(super) fn names<'a>(spec: &'a PodSpec, mut holds: impl FnMut(&View<'a>) -> bool) -> Vec<&'a str> {
    containers(spec).filter(|container| holds(container)).map(|container| container.name).collect()
}
