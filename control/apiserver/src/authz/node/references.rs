//! What a pod refers to.

use k8s_openapi::api::core::v1::{Pod, PodSpec, Volume};

use super::Reference;

/// Secrets, ConfigMaps and claims of a pod, and its service account; each once.
pub(super) fn references(pod: &Pod) -> Vec<Reference> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let mut names: Vec<(&'static str, String)> = Vec::new();
    let account = spec.service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
    names.push(("serviceaccounts", account.to_owned()));
    let secrets = spec.image_pull_secrets.iter().flatten().map(|secret| ("secrets", secret.name.clone()));
    names.extend(secrets);
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    for volume in spec.volumes.iter().flatten() {
        of_volume(&mut names, volume, pod_name);
    }
    of_containers(&mut names, spec);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    names.sort();
    names.dedup();
    names.into_iter().map(|(kind, name)| (kind, format!("{namespace}/{name}"))).collect()
}

fn of_volume(names: &mut Vec<(&'static str, String)>, volume: &Volume, pod: &str) {
    let secret = volume.secret.as_ref().and_then(|source| source.secret_name.clone());
    names.extend(secret.map(|name| ("secrets", name)));
    names.extend(volume.config_map.iter().map(|source| ("configmaps", source.name.clone())));
    let claim = volume.persistent_volume_claim.iter().map(|source| source.claim_name.clone());
    // A claim that lives with its pod is named after both.
    let own = volume.ephemeral.iter().map(|_| format!("{pod}-{}", volume.name));
    names.extend(claim.chain(own).map(|name| ("persistentvolumeclaims", name)));
    for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
        names.extend(source.secret.iter().map(|source| ("secrets", source.name.clone())));
        names.extend(source.config_map.iter().map(|source| ("configmaps", source.name.clone())));
    }
    let drivers = [
        volume.csi.as_ref().and_then(|source| source.node_publish_secret_ref.as_ref()),
        volume.flex_volume.as_ref().and_then(|source| source.secret_ref.as_ref()),
        volume.iscsi.as_ref().and_then(|source| source.secret_ref.as_ref()),
        volume.rbd.as_ref().and_then(|source| source.secret_ref.as_ref()),
        volume.cephfs.as_ref().and_then(|source| source.secret_ref.as_ref()),
    ];
    names.extend(drivers.into_iter().flatten().map(|secret| ("secrets", secret.name.clone())));
}

fn of_containers(names: &mut Vec<(&'static str, String)>, spec: &PodSpec) {
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        for source in container.env_from.iter().flatten() {
            names.extend(source.secret_ref.iter().map(|secret| ("secrets", secret.name.clone())));
            names.extend(source.config_map_ref.iter().map(|map| ("configmaps", map.name.clone())));
        }
        for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            names.extend(source.secret_key_ref.iter().map(|key| ("secrets", key.name.clone())));
            names.extend(source.config_map_key_ref.iter().map(|key| ("configmaps", key.name.clone())));
        }
    }
}
