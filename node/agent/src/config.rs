//! What the runtime is told: sandbox and container settings, made from the pod's spec. Pure.

mod container;
mod dns;
mod names;
mod resources;
mod sandbox;
mod security;

pub(crate) use container::{ContainerInput, container_config, message_path};
pub(crate) use dns::{HostDns, dns_config, hosts_file};
pub(crate) use names::{ANNOTATION, LABEL, hostname};
pub(crate) use resources::{Host, pod_resources, qos_class};
pub(crate) use sandbox::sandbox_config;
pub(crate) use security::{Refused, fs_group, run_as_user};
