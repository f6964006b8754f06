//! What pods get of their service account: its name, its secrets for pulling images, and a volume with a token for the API.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, Container, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath, ObjectFieldSelector, Pod,
    PodSpec, ProjectedVolumeSource, ServiceAccount, ServiceAccountTokenProjection, Volume, VolumeMount,
    VolumeProjection,
};
use skep_registry::{Object, typed_mut, typed_ref};

use super::{Operation, Request};
use crate::object::Cached;
use crate::status::ApiError;

/// How long a pod waits for its account, which a controller makes for each namespace.
const SETTLE: Duration = Duration::from_secs(1);

const DEFAULT: &str = "default";
const MIRROR: &str = "kubernetes.io/config.mirror";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// A little more than an hour, by which such tokens are told from those that somebody asked for.
const EXPIRATION_S: i64 = 3_607;
const MODE: i32 = 0o644;

/// Fills a pod in. A pod of an account that is not there is refused.
pub(super) fn admit(request: &Request<'_>, object: &mut dyn Object) -> Result<(), ApiError> {
    if request.operation != Operation::Create || !request.is_for("", "pods") {
        return Ok(());
    }
    let Some(pod) = typed_mut::<Pod>(object) else { return Ok(()) };
    if let Some(why) = refusal_of_mirror(pod) {
        return Err(request.forbidden(why));
    }
    let Some(name) = account_of(pod).map(str::to_owned) else { return Ok(()) };
    let account = find(request, &name).and_then(|found| serde_json::from_slice::<ServiceAccount>(&found.bytes).ok());
    let namespace = request.target.namespace.as_deref().unwrap_or_default();
    let account = account.ok_or_else(|| {
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found");
        request.forbidden(&why)
    })?;
    fill(pod, &account, crate::write::generate);
    Ok(())
}

/// Waits for a pod's account: that of a new namespace is made a moment after it.
pub(super) async fn settle(request: &Request<'_>, object: &dyn Object) {
    let name = typed_ref::<Pod>(object).filter(|_| request.is_for("", "pods")).and_then(account_of);
    let Some(name) = name.filter(|name| *name == DEFAULT) else { return };
    let mut revisions = request.writer.cache.revisions();
    let there = async {
        while find(request, name).is_none() {
            if revisions.changed().await.is_err() {
                return;
            }
        }
    };
    // Without it the pod is refused.
    let _ = tokio::time::timeout(SETTLE, there).await;
}

fn find(request: &Request<'_>, name: &str) -> Option<Arc<Cached>> {
    let namespace = request.target.namespace.as_deref().unwrap_or_default();
    let accounts = request.writer.admission.service_accounts.as_ref()?;
    request.writer.cache.get(accounts, &format!("{namespace}/{name}"))
}

/// The service account that a pod runs as, unless it is a mirror pod, which has none.
fn account_of(pod: &Pod) -> Option<&str> {
    if is_mirror(pod) {
        return None;
    }
    let name = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    Some(name.filter(|name| !name.is_empty()).unwrap_or(DEFAULT))
}

fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(MIRROR))
}

/// Gives a pod what its account has. `make_name` makes the name of its volume from a prefix.
fn fill(pod: &mut Pod, account: &ServiceAccount, make_name: impl FnOnce(&str) -> String) {
    let Some(spec) = &mut pod.spec else { return };
    let name = account.metadata.name.clone();
    spec.service_account_name.clone_from(&name);
    spec.service_account = name;
    let wanted = spec.automount_service_account_token.or(account.automount_service_account_token);
    if wanted.unwrap_or(true) {
        mount(spec, make_name);
    }
    if spec.image_pull_secrets.iter().flatten().next().is_none() {
        spec.image_pull_secrets.clone_from(&account.image_pull_secrets);
    }
}

/// What a mirror pod may not refer to, in upstream's words.
fn refusal_of_mirror(pod: &Pod) -> Option<&'static str> {
    let spec = pod.spec.as_ref().filter(|_| is_mirror(pod))?;
    if spec.service_account_name.as_deref().is_some_and(|name| !name.is_empty()) {
        return Some("a mirror pod may not reference service accounts");
    }
    let volumes = || spec.volumes.iter().flatten();
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let from_secret = |container: &Container| {
        container.env_from.iter().flatten().any(|source| source.secret_ref.is_some())
            || container
                .env
                .iter()
                .flatten()
                .any(|variable| variable.value_from.as_ref().is_some_and(|source| source.secret_key_ref.is_some()))
    };
    if volumes().any(|volume| volume.secret.is_some()) || containers.into_iter().any(from_secret) {
        return Some("a mirror pod may not reference secrets");
    }
    let projects = |volume: &Volume| {
        let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        sources.into_iter().any(|source| source.service_account_token.is_some())
    };
    volumes().any(projects).then_some("a mirror pod may not use ServiceAccountToken volume projections")
}

/// Every container that has nothing at the path gets the token's volume there.
fn mount(spec: &mut PodSpec, make_name: impl FnOnce(&str) -> String) {
    let held = spec.volumes.iter().flatten().find(|volume| volume.name.starts_with(VOLUME_PREFIX));
    let held = held.map(|volume| volume.name.clone());
    let name = held.clone().unwrap_or_else(|| make_name(VOLUME_PREFIX));
    let mut needed = false;
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let mounts = container.volume_mounts.get_or_insert_default();
        if mounts.iter().all(|mount| mount.mount_path != MOUNT_PATH) {
            needed = true;
            mounts.push(VolumeMount {
                name: name.clone(),
                read_only: Some(true),
                mount_path: MOUNT_PATH.to_owned(),
                ..VolumeMount::default()
            });
        }
    }
    if needed && held.is_none() {
        let projected = ProjectedVolumeSource {
            default_mode: Some(MODE),
            sources: Some(sources()),
            ..ProjectedVolumeSource::default()
        };
        spec.volumes.get_or_insert_default().push(Volume { name, projected: Some(projected), ..Volume::default() });
    }
}

/// A token, the certificate of the API server's authority, and the pod's namespace.
fn sources() -> Vec<VolumeProjection> {
    let token = ServiceAccountTokenProjection {
        audience: None,
        expiration_seconds: Some(EXPIRATION_S),
        path: "token".to_owned(),
        ..ServiceAccountTokenProjection::default()
    };
    let authority = ConfigMapProjection {
        items: Some(vec![KeyToPath { key: "ca.crt".to_owned(), path: "ca.crt".to_owned(), ..KeyToPath::default() }]),
        name: "kube-root-ca.crt".to_owned(),
        optional: None,
    };
    let field = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: "metadata.namespace".to_owned() };
    let namespace = DownwardAPIVolumeFile {
        field_ref: Some(field),
        path: "namespace".to_owned(),
        ..DownwardAPIVolumeFile::default()
    };
    vec![
        VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
        VolumeProjection { config_map: Some(authority), ..VolumeProjection::default() },
        VolumeProjection {
            downward_api: Some(DownwardAPIProjection { items: Some(vec![namespace]) }),
            ..VolumeProjection::default()
        },
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::*;

    fn filled(pod: Value, account: Value) -> Pod {
        let mut pod: Pod = from_value(json!({"metadata": {"name": "p"}, "spec": pod})).unwrap();
        let mut account: ServiceAccount = from_value(account).unwrap();
        account.metadata.name = account_of(&pod).map(str::to_owned);
        fill(&mut pod, &account, |prefix| format!("{prefix}abcde"));
        pod
    }

    #[test]
    fn every_container_gets_the_token_once() {
        let own = json!([{"name": "mine", "mountPath": MOUNT_PATH}]);
        let pod = filled(
            json!({"containers": [{"name": "a"}, {"name": "b", "volumeMounts": own}], "initContainers": [{"name": "i"}]}),
            json!({"imagePullSecrets": [{"name": "pull"}]}),
        );
        let spec = to_value(pod.spec.unwrap()).unwrap();
        assert_eq!(spec["serviceAccountName"], "default");
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "pull"}]));
        let mount = json!([{"name": "kube-api-access-abcde", "readOnly": true, "mountPath": MOUNT_PATH}]);
        assert_eq!(spec["containers"][0]["volumeMounts"], mount);
        assert_eq!(spec["initContainers"][0]["volumeMounts"], mount);
        assert_eq!(spec["containers"][1]["volumeMounts"], own);
        let volume = &spec["volumes"][0];
        assert_eq!(volume["projected"]["defaultMode"], 420);
        let token = json!({"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}});
        assert_eq!(volume["projected"]["sources"][0], token);
        assert_eq!(volume["projected"]["sources"].as_array().unwrap().len(), 3);
    }

    /// `[sig-auth] ServiceAccounts should allow opting out of API token automount`: the pod decides, then the account.
    #[test]
    fn automounting_is_opted_out_of() {
        for (account, pod, mounted) in [
            (None, None, true),
            (Some(false), None, false),
            (Some(true), None, true),
            (None, Some(false), false),
            (Some(true), Some(false), false),
            (Some(false), Some(true), true),
        ] {
            let pod_spec = json!({"containers": [{"name": "a"}], "automountServiceAccountToken": pod});
            let filled = filled(pod_spec, json!({"automountServiceAccountToken": account}));
            assert_eq!(filled.spec.unwrap().volumes.is_some(), mounted, "{account:?} {pod:?}");
        }
    }

    #[test]
    fn mirror_pods_have_no_account() {
        let meta = json!({"annotations": {MIRROR: "x"}});
        let mirror = |spec: Value| -> Pod { from_value(json!({"metadata": meta, "spec": spec})).unwrap() };
        assert_eq!(account_of(&mirror(json!({"containers": []}))), None);
        assert_eq!(refusal_of_mirror(&mirror(json!({"containers": []}))), None);
        for spec in [
            json!({"containers": [], "serviceAccountName": "a"}),
            json!({"containers": [], "volumes": [{"name": "a", "secret": {"secretName": "b"}}]}),
            json!({"containers": [{"name": "a", "envFrom": [{"secretRef": {"name": "b"}}]}]}),
        ] {
            assert!(refusal_of_mirror(&mirror(spec)).is_some());
        }
    }
}
