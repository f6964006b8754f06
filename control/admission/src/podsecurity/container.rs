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
    // Ephemeral ones are of a type of their own.
    macro_rules! view {
        ($container:ident) => {
            View {
                name: &$container.name,
                image: $container.image.as_deref(),
                ports: $container.ports.as_deref().unwrap_or_default(),
                probes: [&$container.liveness_probe, &$container.readiness_probe, &$container.startup_probe]
                    .map(Option::as_ref),
                lifecycle: $container.lifecycle.as_ref(),
                security: $container.security_context.as_ref(),
            }
        };
    }
    let common = spec.init_containers.iter().flatten().chain(&spec.containers).map(|container| view!(container));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| view!(container));
    common.chain(ephemeral)
}

/// Names of the containers for which something holds.
pub(super) fn names<'a>(spec: &'a PodSpec, mut holds: impl FnMut(&View<'a>) -> bool) -> Vec<&'a str> {
    containers(spec).filter(|container| holds(container)).map(|container| container.name).collect()
}
