use std::collections::HashMap;

use k8s_openapi::api::core::v1::Pod;
use skep_cri::v1;

use super::names::{LABEL, hostname};
use super::{HostDns, dns_config, pod_resources, security};
use crate::Options;
use crate::pod::PodKey;

/// The settings of a pod's sandbox.
pub(crate) fn sandbox_config(
    pod: &Pod,
    key: &PodKey,
    attempt: u32,
    options: &Options,
    host: &HostDns,
) -> v1::PodSandboxConfig {
    let spec = pod.spec.clone().unwrap_or_default();
    let host_network = spec.host_network == Some(true);
    let mut labels: HashMap<String, String> = pod.metadata.labels.clone().into_iter().flatten().collect();
    labels.insert(LABEL.pod_name.to_owned(), key.name.clone());
    labels.insert(LABEL.pod_namespace.to_owned(), key.namespace.clone());
    labels.insert(LABEL.pod_uid.to_owned(), key.uid.clone());
    let context = spec.security_context.clone().unwrap_or_default();
    let privileged =
        spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(|container| {
            container.security_context.as_ref().is_some_and(|context| context.privileged == Some(true))
        });
    let sysctls = context.sysctls.iter().flatten().map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect();
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: key.name.clone(),
            uid: key.uid.clone(),
            namespace: key.namespace.clone(),
            attempt,
        }),
        hostname: if host_network { String::new() } else { hostname(pod, &options.cluster_domain).0 },
        log_directory: options.log_dir(&key.namespace, &key.name, &key.uid).display().to_string(),
        dns_config: Some(dns_config(pod, options, host)),
        port_mappings: if host_network { Vec::new() } else { port_mappings(pod) },
        labels,
        annotations: pod.metadata.annotations.clone().into_iter().flatten().collect(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: options.pod_cgroup(&key.uid),
            security_context: Some(v1::LinuxSandboxSecurityContext {
                namespace_options: Some(security::namespaces(&spec)),
                run_as_user: context.run_as_user.map(|value| v1::Int64Value { value }),
                run_as_group: context.run_as_group.map(|value| v1::Int64Value { value }),
                supplemental_groups: security::supplemental_groups(&spec),
                privileged,
                seccomp: Some(security::seccomp(context.seccomp_profile.as_ref())),
                ..v1::LinuxSandboxSecurityContext::default()
            }),
            sysctls,
            overhead: None,
            resources: Some(pod_resources(&spec)),
        }),
    }
}

fn port_mappings(pod: &Pod) -> Vec<v1::PortMapping> {
    let containers =
        pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .map(|port| v1::PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => v1::Protocol::Udp as i32,
                Some("SCTP") => v1::Protocol::Sctp as i32,
                _ => v1::Protocol::Tcp as i32,
            },
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(0),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}
