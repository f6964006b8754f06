//! Controls of what a pod shares with its node: namespaces, ports, volumes, kernel settings.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction, Volume};

use super::checks::{Subject, Violation};
use super::container::{containers, names};
use super::{named, plural, quoted, setters};

pub(super) fn violation(reason: &str, detail: String) -> Option<Violation> {
    Some(Violation { reason: reason.to_owned(), detail })
}

pub(super) fn namespaces(pod: Subject<'_>) -> Option<Violation> {
    let spec = pod.spec;
    let shared =
        [("hostNetwork=true", spec.host_network), ("hostPID=true", spec.host_pid), ("hostIPC=true", spec.host_ipc)];
    let shared: Vec<&str> = shared.into_iter().filter(|(_, set)| *set == Some(true)).map(|(text, _)| text).collect();
    if shared.is_empty() { None } else { violation("host namespaces", shared.join(", ")) }
}

pub(super) fn path_volumes(pod: Subject<'_>) -> Option<Violation> {
    let volumes = pod.spec.volumes.iter().flatten().filter(|volume| volume.host_path.is_some());
    let names: Vec<&str> = volumes.map(|volume| volume.name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    violation("hostPath volumes", format!("{} {}", plural(names.len(), "volume", "volumes"), quoted(&names)))
}

pub(super) fn ports(pod: Subject<'_>) -> Option<Violation> {
    let mut used = BTreeSet::new();
    let bad = names(pod.spec, |container| {
        let ports: Vec<String> = container
            .ports
            .iter()
            .filter_map(|port| port.host_port)
            .filter(|port| *port != 0)
            .map(|port| port.to_string())
            .collect();
        used.extend(ports.iter().cloned());
        !ports.is_empty()
    });
    if bad.is_empty() {
        return None;
    }
    let uses = plural(bad.len(), "uses", "use");
    let ports = plural(used.len(), "hostPort", "hostPorts");
    let list: Vec<String> = used.into_iter().collect();
    violation("hostPort", format!("{} {uses} {ports} {}", named(&bad), list.join(", ")))
}

pub(super) fn probes_and_lifecycle(pod: Subject<'_>) -> Option<Violation> {
    let (mut hosts, mut bad) = (BTreeSet::new(), BTreeSet::new());
    for container in containers(pod.spec) {
        let probed = container.probes.into_iter().flatten().flat_map(of_probe);
        let handlers = container.lifecycle.into_iter().flat_map(|l| [&l.post_start, &l.pre_stop]);
        let handled = handlers.flatten().flat_map(of_handler);
        for host in probed.chain(handled) {
            hosts.insert(host);
            bad.insert(container.name);
        }
    }
    if bad.is_empty() {
        return None;
    }
    let bad: Vec<&str> = bad.into_iter().collect();
    let uses = plural(bad.len(), "uses", "use");
    let what = plural(hosts.len(), "probe or lifecycle host", "probe or lifecycle hosts");
    violation("probe or lifecycle host", format!("{} {uses} {what} {}", named(&bad), quoted(&hosts)))
}

fn of_probe(probe: &Probe) -> impl Iterator<Item = &str> {
    given(probe.http_get.as_ref(), probe.tcp_socket.as_ref())
}

fn of_handler(handler: &LifecycleHandler) -> impl Iterator<Item = &str> {
    given(handler.http_get.as_ref(), handler.tcp_socket.as_ref())
}

fn given<'a>(http: Option<&'a HTTPGetAction>, tcp: Option<&'a TCPSocketAction>) -> impl Iterator<Item = &'a str> {
    let hosts = [http.and_then(|get| get.host.as_deref()), tcp.and_then(|socket| socket.host.as_deref())];
    hosts.into_iter().flatten().filter(|host| !host.is_empty())
}

/// Kernel settings that concern the pod's own namespaces alone, and since which version each is known to be safe.
const SAFE_SYSCTLS: &[(u32, &str)] = &[
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
    (37, "net.ipv4.tcp_slow_start_after_idle"),
    (37, "net.ipv4.tcp_notsent_lowat"),
];

/// As of a minor version.
pub(super) fn sysctls<const MINOR: u32>(pod: Subject<'_>) -> Option<Violation> {
    let set = pod.spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    let safe = |name: &str| SAFE_SYSCTLS.iter().any(|(since, safe)| *since <= MINOR && *safe == name);
    let bad: Vec<&str> = set.map(|sysctl| sysctl.name.as_str()).filter(|name| !safe(name)).collect();
    if bad.is_empty() { None } else { violation("forbidden sysctls", bad.join(", ")) }
}

pub(super) fn windows_process(pod: Subject<'_>) -> Option<Violation> {
    let context = pod.spec.security_context.as_ref();
    let whole = context.and_then(|c| c.windows_options.as_ref()).is_some_and(|o| o.host_process == Some(true));
    let bad = names(pod.spec, |container| {
        container
            .security
            .and_then(|c| c.windows_options.as_ref())
            .is_some_and(|options| options.host_process == Some(true))
    });
    let who = setters(whole, &bad)?;
    violation("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}

pub(super) fn restricted_volumes(pod: Subject<'_>) -> Option<Violation> {
    let bad: Vec<(&str, &str)> = pod
        .spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| restricted_type(volume).map(|kind| (volume.name.as_str(), kind)))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let kinds: BTreeSet<&str> = bad.iter().map(|(_, kind)| *kind).collect();
    let volumes = plural(bad.len(), "volume", "volumes");
    let uses = plural(bad.len(), "uses", "use");
    let types = plural(kinds.len(), "restricted volume type", "restricted volume types");
    let names = quoted(bad.iter().map(|(name, _)| name));
    violation("restricted volume types", format!("{volumes} {names} {uses} {types} {}", quoted(&kinds)))
}

/// The type of a volume that is none of those that all pods may use.
fn restricted_type(volume: &Volume) -> Option<&'static str> {
    let allowed = volume.config_map.is_some()
        || volume.csi.is_some()
        || volume.downward_api.is_some()
        || volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.image.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.projected.is_some()
        || volume.secret.is_some();
    if allowed {
        return None;
    }
    let kinds = [
        ("hostPath", volume.host_path.is_some()),
        ("gcePersistentDisk", volume.gce_persistent_disk.is_some()),
        ("awsElasticBlockStore", volume.aws_elastic_block_store.is_some()),
        ("gitRepo", volume.git_repo.is_some()),
        ("nfs", volume.nfs.is_some()),
        ("iscsi", volume.iscsi.is_some()),
        ("glusterfs", volume.glusterfs.is_some()),
        ("rbd", volume.rbd.is_some()),
        ("flexVolume", volume.flex_volume.is_some()),
        ("cinder", volume.cinder.is_some()),
        ("cephfs", volume.cephfs.is_some()),
        ("flocker", volume.flocker.is_some()),
        ("fc", volume.fc.is_some()),
        ("azureFile", volume.azure_file.is_some()),
        ("vsphereVolume", volume.vsphere_volume.is_some()),
        ("quobyte", volume.quobyte.is_some()),
        ("azureDisk", volume.azure_disk.is_some()),
        ("photonPersistentDisk", volume.photon_persistent_disk.is_some()),
        ("portworxVolume", volume.portworx_volume.is_some()),
        ("scaleIO", volume.scale_io.is_some()),
        ("storageos", volume.storageos.is_some()),
    ];
    Some(kinds.into_iter().find(|(_, used)| *used).map_or("unknown", |(kind, _)| kind))
}
