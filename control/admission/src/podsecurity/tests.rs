#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use super::*;

fn spec(value: Value) -> PodSpec {
    serde_json::from_value(value).unwrap()
}

fn judge(level: Level, version: Version, annotations: &[(&str, &str)], value: Value) -> String {
    let annotations: BTreeMap<String, String> =
        annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    details(&evaluate(LevelVersion { level, version }, &annotations, &spec(value)))
}

/// What a container of a pod asks for, beside what the restricted level wants.
fn container(context: Value) -> Value {
    let mut whole = json!({
        "allowPrivilegeEscalation": false,
        "runAsNonRoot": true,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    for (key, value) in context.as_object().unwrap() {
        whole[key] = value.clone();
    }
    json!({"containers": [{"name": "a", "securityContext": whole}]})
}

/// Every control of the standards: a pod that violates it, at which level, and upstream's words for that.
#[test]
fn each_control_of_the_standards_has_its_words() {
    use Level::{Baseline, Restricted};
    let pod = |context: Value| json!({"containers": [{"name": "a"}], "securityContext": context});
    let with = |field: &str, value: Value| json!({"containers": [{"name": "a", field: value}]});
    let volume = |kind: &str, source: Value| {
        let mut pod = container(json!({}));
        pod["volumes"] = json!([{"name": "v", kind: source}]);
        pod
    };
    let cases = [
        (
            Baseline,
            json!({"containers": [], "hostNetwork": true, "hostPID": true, "hostIPC": true}),
            "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)",
        ),
        (
            Baseline,
            container(json!({"privileged": true})),
            "privileged (container \"a\" must not set securityContext.privileged=true)",
        ),
        (
            Baseline,
            container(json!({"capabilities": {"add": ["SYS_ADMIN", "NET_RAW", "CHOWN"]}})),
            "non-default capabilities (container \"a\" must not include \"NET_RAW\", \"SYS_ADMIN\" in \
             securityContext.capabilities.add)",
        ),
        (Baseline, volume("hostPath", json!({"path": "/"})), "hostPath volumes (volume \"v\")"),
        (
            Baseline,
            with("ports", json!([{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 443}])),
            "hostPort (container \"a\" uses hostPorts 443, 80)",
        ),
        (
            Baseline,
            with("livenessProbe", json!({"httpGet": {"port": 1, "host": "example.com"}})),
            "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"example.com\")",
        ),
        (
            Baseline,
            with("lifecycle", json!({"preStop": {"tcpSocket": {"port": 1, "host": "b"}}})),
            "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"b\")",
        ),
        (
            Baseline,
            pod(json!({"appArmorProfile": {"type": "Unconfined"}})),
            "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")",
        ),
        (
            Baseline,
            pod(json!({"seLinuxOptions": {"type": "t", "user": "u", "role": "r"}})),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"t\"; user may not be set; role may \
             not be set)",
        ),
        (
            Baseline,
            container(json!({"procMount": "Unmasked"})),
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            Baseline,
            pod(json!({"seccompProfile": {"type": "Unconfined"}})),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            Baseline,
            pod(json!({"sysctls": [{"name": "kernel.msgmax", "value": "1"}, {"name": "x", "value": "1"}]})),
            "forbidden sysctls (kernel.msgmax, x)",
        ),
        (
            Baseline,
            pod(json!({"windowsOptions": {"hostProcess": true}})),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            Restricted,
            container(json!({"allowPrivilegeEscalation": null})),
            "allowPrivilegeEscalation != false (container \"a\" must set \
             securityContext.allowPrivilegeEscalation=false)",
        ),
        (
            Restricted,
            container(json!({"capabilities": {"add": ["CHOWN"]}})),
            "unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]; container \
             \"a\" must not include \"CHOWN\" in securityContext.capabilities.add)",
        ),
        (
            Restricted,
            volume("nfs", json!({"server": "s", "path": "/"})),
            "restricted volume types (volume \"v\" uses restricted volume type \"nfs\")",
        ),
        (
            Restricted,
            container(json!({"runAsNonRoot": false})),
            "runAsNonRoot != true (container \"a\" must not set securityContext.runAsNonRoot=false)",
        ),
        (
            Restricted,
            container(json!({"runAsNonRoot": null})),
            "runAsNonRoot != true (pod or container \"a\" must set securityContext.runAsNonRoot=true)",
        ),
        (Restricted, container(json!({"runAsUser": 0})), "runAsUser=0 (container \"a\" must not set runAsUser=0)"),
        (
            Restricted,
            container(json!({"seccompProfile": null})),
            "seccompProfile (pod or container \"a\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
             \"Localhost\")",
        ),
        (
            Restricted,
            container(json!({"procMount": "Unmasked"})),
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
        ),
    ];
    for (level, pod, words) in cases {
        assert_eq!(judge(level, Version::Latest, &[], pod.clone()), words);
        assert_eq!(judge(Level::Privileged, Version::Latest, &[], pod.clone()), "");
        if level == Restricted && !words.starts_with("procMount") {
            assert_eq!(judge(Baseline, Version::Latest, &[], pod), "", "{words}");
        }
    }
}

#[test]
fn annotations_are_what_old_versions_look_at() {
    let pod = || json!({"containers": [{"name": "a"}]});
    let key = "container.seccomp.security.alpha.kubernetes.io/a";
    let bad = [(key, "unconfined")];
    let words = format!("seccompProfile (forbidden annotation {key}=\"unconfined\")");
    assert_eq!(judge(Level::Baseline, Version::Minor(18), &bad, pod()), words);
    assert_eq!(judge(Level::Baseline, Version::Minor(19), &bad, pod()), "");
    let armor = [("container.apparmor.security.beta.kubernetes.io/a", "unconfined")];
    let words = judge(Level::Baseline, Version::Latest, &armor, pod());
    assert!(words.starts_with("forbidden AppArmor profile (annotation must not set AppArmor profile type to "));
}

#[test]
fn versions_begin_where_upstream_says() {
    let sysctl = |name: &str| json!({"containers": [], "securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
    let engine = json!({"containers": [], "securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}});
    let probe = json!({"containers": [{"name": "a", "livenessProbe": {"tcpSocket": {"port": 1, "host": "b"}}}]});
    let namespaced =
        json!({"hostUsers": false, "containers": [{"name": "a", "securityContext": {"procMount": "Unmasked"}}]});
    // The first minor version that takes the pod, at the baseline.
    for (pod, first) in [
        (sysctl("net.ipv4.ip_local_reserved_ports"), 27),
        (sysctl("net.ipv4.tcp_keepalive_time"), 29),
        (sysctl("net.ipv4.tcp_rmem"), 32),
        (sysctl("net.ipv4.tcp_notsent_lowat"), 37),
        (engine, 31),
        (namespaced.clone(), 35),
    ] {
        let judge = |version| judge(Level::Baseline, version, &[], pod.clone());
        assert_ne!(judge(Version::Minor(first - 1)), "");
        assert_eq!(judge(Version::Minor(first)), "");
        assert_eq!(judge(Version::Latest), "");
    }
    assert_eq!(judge(Level::Baseline, Version::Minor(33), &[], probe.clone()), "");
    assert_ne!(judge(Level::Baseline, Version::Minor(34), &[], probe), "");
    // A pod whose root is nobody may run as root, but may not see all of /proc where the level is restricted.
    let words = judge(Level::Restricted, Version::Latest, &[], namespaced);
    assert!(words.contains("procMount (") && !words.contains("runAsNonRoot"), "{words}");
    let windows =
        json!({"os": {"name": "windows"}, "containers": [{"name": "a", "securityContext": {"runAsNonRoot": true}}]});
    assert_eq!(judge(Level::Restricted, Version::Latest, &[], windows.clone()), "");
    assert_ne!(judge(Level::Restricted, Version::Minor(24), &[], windows), "");
}

#[test]
fn labels_ask_for_a_policy() {
    let policy = |labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(k, v)| (format!("pod-security.kubernetes.io/{k}"), (*v).to_owned())).collect();
        let (policy, errors) = Policy::of_labels(&labels);
        let faults: Vec<String> = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        (format!("{} {} {}", policy.enforce, policy.audit, policy.warn), faults.join("; "))
    };
    let fine = |labels: &[(&str, &str)]| {
        let (text, faults) = policy(labels);
        assert_eq!(faults, "");
        text
    };
    assert_eq!(fine(&[]), "privileged:latest privileged:latest privileged:latest");
    // Whoever enforces is also warned of workloads, unless other warnings are asked for.
    let enforced = [("enforce", "baseline"), ("enforce-version", "v1.25")];
    assert_eq!(fine(&enforced), "baseline:v1.25 privileged:latest baseline:v1.25");
    assert_eq!(
        fine(&[("enforce", "baseline"), ("warn", "privileged"), ("audit", "restricted")]),
        "baseline:latest restricted:latest privileged:latest"
    );
    let (text, faults) = policy(&[("enforce", "strict"), ("warn", "strict"), ("audit-version", "v1.05")]);
    assert_eq!(text, "restricted:latest privileged:latest privileged:latest");
    assert_eq!(
        faults,
        "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, \
         baseline, restricted; metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: \"v1.05\": must \
         be \"latest\" or \"v1.x\"; metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: \"strict\": must be \
         one of privileged, baseline, restricted"
    );
}

#[test]
fn only_images_and_new_containers_are_looked_at_again() {
    let pod = |spec: Value| -> Pod { serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap() };
    let old = pod(json!({"containers": [{"name": "a", "image": "x"}]}));
    let other = pod(json!({"containers": [{"name": "a", "image": "x"}], "activeDeadlineSeconds": 3}));
    assert!(!is_significant(&other, &old));
    assert!(is_significant(&pod(json!({"containers": [{"name": "a", "image": "y"}]})), &old));
    let debug =
        json!({"containers": [{"name": "a", "image": "x"}], "ephemeralContainers": [{"name": "d", "image": "x"}]});
    assert!(is_significant(&pod(debug), &old));
}
