use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use skep_cri::v1;

use super::names::{ANNOTATION, LABEL};
use super::{Host, Refused, resources, security};
use crate::env::expand;
use crate::pod::{PodKey, grace_s, spec_hash};

/// What a container's settings are made from, besides the pod.
#[derive(Debug)]
pub(crate) struct ContainerInput<'a> {
    pub(crate) key: &'a PodKey,
    pub(crate) attempt: u32,
    /// The id of the container whose processes this one is to see.
    pub(crate) target: Option<String>,
    /// As the runtime names the image.
    pub(crate) image_ref: &'a str,
    /// Who the image runs as: a number, or a name.
    pub(crate) image_user: Result<i64, String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) mounts: Vec<v1::Mount>,
    pub(crate) host: Host,
}

/// The settings of one container.
pub(crate) fn container_config(
    pod: &Pod,
    container: &Container,
    input: ContainerInput<'_>,
) -> Result<v1::ContainerConfig, Refused> {
    let spec = pod.spec.clone().unwrap_or_default();
    let key = input.key;
    let image = container.image.clone().unwrap_or_default();
    let lookup = |name: &str| input.env.iter().find(|(held, _)| held == name).map(|(_, value)| value.clone());
    let expanded =
        |words: &Option<Vec<String>>| words.iter().flatten().map(|word| expand(word, lookup)).collect::<Vec<_>>();
    let labels = HashMap::from([
        (LABEL.container.to_owned(), container.name.clone()),
        (LABEL.pod_name.to_owned(), key.name.clone()),
        (LABEL.pod_namespace.to_owned(), key.namespace.clone()),
        (LABEL.pod_uid.to_owned(), key.uid.clone()),
    ]);
    let annotations = HashMap::from([
        (ANNOTATION.hash.to_owned(), spec_hash(container)),
        (ANNOTATION.restart_count.to_owned(), input.attempt.to_string()),
        (ANNOTATION.message_path.to_owned(), message_path(container).to_owned()),
        (
            ANNOTATION.message_policy.to_owned(),
            container.termination_message_policy.clone().unwrap_or_else(|| "File".to_owned()),
        ),
        (ANNOTATION.grace.to_owned(), grace_s(pod).to_string()),
    ]);
    let mut security = security::container_security(&spec, container, input.image_user)?;
    if let (Some(target), Some(namespaces)) = (input.target, &mut security.namespace_options) {
        namespaces.pid = v1::NamespaceMode::Target as i32;
        namespaces.target_id = target;
    }
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt: input.attempt }),
        image: Some(v1::ImageSpec {
            image: input.image_ref.to_owned(),
            user_specified_image: image,
            ..v1::ImageSpec::default()
        }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: input.env.iter().map(|(key, value)| v1::KeyValue { key: key.clone(), value: value.clone() }).collect(),
        mounts: input.mounts,
        labels,
        annotations,
        log_path: format!("{}/{}.log", container.name, input.attempt),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources::container_resources(&spec, container, input.host)),
            security_context: Some(security),
        }),
        ..v1::ContainerConfig::default()
    })
}

/// Where the container writes its termination message.
pub(crate) fn message_path(container: &Container) -> &str {
    container.termination_message_path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/dev/termination-log")
}
