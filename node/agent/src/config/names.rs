use k8s_openapi::api::core::v1::Pod;

/// Labels by which the runtime's sandboxes and containers are found again.
pub(crate) struct Labels {
    pub(crate) pod_name: &'static str,
    pub(crate) pod_namespace: &'static str,
    pub(crate) pod_uid: &'static str,
    pub(crate) container: &'static str,
}

/// The labels that the kubelet uses, which tools on the node know.
pub(crate) const LABEL: Labels = Labels {
    pod_name: "io.kubernetes.pod.name",
    pod_namespace: "io.kubernetes.pod.namespace",
    pod_uid: "io.kubernetes.pod.uid",
    container: "io.kubernetes.container.name",
};

/// Annotations that let a restarted agent know what a container was made from.
pub(crate) struct Annotations {
    pub(crate) hash: &'static str,
    pub(crate) restart_count: &'static str,
    pub(crate) message_path: &'static str,
    pub(crate) message_policy: &'static str,
    pub(crate) grace: &'static str,
}

/// As the kubelet names them.
pub(crate) const ANNOTATION: Annotations = Annotations {
    hash: "io.kubernetes.container.hash",
    restart_count: "io.kubernetes.container.restartCount",
    message_path: "io.kubernetes.container.terminationMessagePath",
    message_policy: "io.kubernetes.container.terminationMessagePolicy",
    grace: "io.kubernetes.pod.terminationGracePeriod",
};

/// The longest host name that the kernel takes.
const HOSTNAME_LEN_MAX: usize = 63;

/// The pod's host name, and its fully qualified one where it has a subdomain.
pub(crate) fn hostname(pod: &Pod, cluster_domain: &str) -> (String, Option<String>) {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let Some(spec) = &pod.spec else { return (name, None) };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let chosen = [&spec.hostname_override, &spec.hostname].into_iter().flatten().find(|name| !name.is_empty());
    let mut host = chosen.cloned().unwrap_or(name);
    host.truncate(HOSTNAME_LEN_MAX);
    let host = host.trim_end_matches(['-', '.']).to_owned();
    let subdomain = spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty());
    let full = subdomain.map(|subdomain| format!("{host}.{subdomain}.{namespace}.svc.{cluster_domain}"));
    match full {
        Some(full) if spec.set_hostname_as_fqdn == Some(true) => (full.clone(), Some(full)),
        full => (host, full),
    }
}
