use serde_json::{Value, json};

use super::*;

fn text(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut value = json!({"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v"}]});
    change(&mut value);
    let mut spec: PodSpec = crate::decode::decode(value).unwrap().0;
    crate::pod_spec::default_spec(&mut spec);
    crate::pod_spec::default_pod(&mut spec);
    let mut errors = Errors::new();
    validate_spec(&mut errors, &Path::root("spec"), &spec);
    errors.into_vec().iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
}

/// One fault, as an object merged into the only container.
fn container(fault: Value) -> Vec<String> {
    text(|spec| {
        let container = spec["containers"][0].as_object_mut().unwrap();
        container.extend(fault.as_object().unwrap().clone());
    })
}

/// One fault, as an object merged into the spec.
fn spec(fault: Value) -> Vec<String> {
    text(|spec| spec.as_object_mut().unwrap().extend(fault.as_object().unwrap().clone()))
}

#[test]
fn a_full_pod_passes() {
    let errors = spec(json!({
        "containers": [{"name": "c", "image": "i:1", "ports": [{"name": "http", "containerPort": 80, "hostPort": 80}],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}},
                {"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
            "envFrom": [{"configMapRef": {"name": "m"}}],
            "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a/b"}],
            "readinessProbe": {"httpGet": {"port": "http"}}, "livenessProbe": {"exec": {"command": ["true"]}},
            "startupProbe": {"tcpSocket": {"port": 80}},
            "resources": {"limits": {"cpu": "1", "example.com/gpu": 1}, "requests": {"cpu": "100m"}},
            "securityContext": {"runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}}}],
        "initContainers": [{"name": "init", "image": "i"}],
        "volumes": [{"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "p"}]}},
            {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}},
                {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}},
            {"name": "e", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "h", "hostPath": {"path": "/a"}}],
        "tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}}]}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}],
        "nodeSelector": {"a": "b"}
    }));
    assert_eq!(errors, Vec::<String>::new());
}

#[test]
fn containers_are_checked() {
    let cases = [
        (json!({"name": ""}), "spec.containers[0].name: Required value"),
        (json!({"image": ""}), "spec.containers[0].image: Required value"),
        (
            json!({"imagePullPolicy": "x"}),
            "spec.containers[0].imagePullPolicy: Unsupported value: \"x\": supported values: \"Always\", \
             \"IfNotPresent\", \"Never\"",
        ),
        (json!({"ports": [{"containerPort": 0}]}), "spec.containers[0].ports[0].containerPort: Required value"),
        (
            json!({"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]}),
            "spec.containers[0].ports[1].name: Duplicate value: \"a\"",
        ),
        (
            json!({"ports": [{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]}),
            "spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//9\"",
        ),
        (json!({"env": [{"name": ""}]}), "spec.containers[0].env[0].name: Required value"),
        (
            json!({"env": [{"name": "A", "value": "1", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
        ),
        (
            json!({"envFrom": [{}]}),
            "spec.containers[0].envFrom[0]: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
        ),
        (
            json!({"volumeMounts": [{"name": "w", "mountPath": "/w"}]}),
            "spec.containers[0].volumeMounts[0].name: Not found: \"w\"",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/w"}, {"name": "v", "mountPath": "/w"}]}),
            "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/w\": must be unique",
        ),
        (
            json!({"livenessProbe": {"successThreshold": 2, "exec": {"command": ["a"]}}}),
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            json!({"readinessProbe": {}}),
            "spec.containers[0].readinessProbe: Required value: must specify a handler type",
        ),
        (
            json!({"readinessProbe": {"httpGet": {"port": 0}}}),
            "spec.containers[0].readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            json!({"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            json!({"resources": {"requests": {"memory": "x"}}}),
            "spec.containers[0].resources.requests[memory]: Invalid value: \"x\": quantities must match the regular \
             expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            json!({"securityContext": {"runAsUser": -1}}),
            "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ),
    ];
    for (fault, expected) in cases {
        assert_eq!(container(fault), [expected]);
    }
}

#[test]
fn specs_are_checked() {
    let cases = [
        (json!({"containers": []}), "spec.containers: Required value"),
        (
            json!({"restartPolicy": "x"}),
            "spec.restartPolicy: Unsupported value: \"x\": supported values: \"Always\", \"Never\", \"OnFailure\"",
        ),
        (
            json!({"dnsPolicy": "None"}),
            "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
        ),
        (json!({"volumes": [{"name": "a"}, {"name": "a"}]}), "spec.volumes[1].name: Duplicate value: \"a\""),
        (
            json!({"volumes": [{"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}}]}),
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (
            json!({"volumes": [{"name": "a", "secret": {"secretName": "s", "defaultMode": 4096}}]}),
            "spec.volumes[0].secret.defaultMode: Invalid value: 4096: must be a number between 0 and 0777 (octal), both \
             inclusive",
        ),
        (
            json!({"tolerations": [{"key": "a", "operator": "x"}]}),
            "spec.tolerations[0].operator: Unsupported value: \"x\": supported values: \"Equal\", \"Exists\"",
        ),
        (
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": []}}}}),
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: \
             must have at least one node selector term",
        ),
        (
            json!({"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]}),
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        ),
        (
            json!({"initContainers": [{"name": "c", "image": "i"}]}),
            "spec.initContainers[0].name: Duplicate value: \"c\"",
        ),
        (
            json!({"hostAliases": [{"ip": "x"}]}),
            "spec.hostAliases[0].ip: Invalid value: \"x\": must be valid IP address",
        ),
        (
            json!({"activeDeadlineSeconds": 0}),
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
    ];
    for (fault, expected) in cases {
        assert_eq!(spec(fault), [expected]);
    }
}

#[test]
fn volumes_of_all_sorts_are_checked() {
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let good = json!([
        {"name": "n", "nfs": {"server": "s", "path": "/p"}}, {"name": "c", "csi": {"driver": "a.b"}},
        {"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}}, {"name": "i", "image": {"reference": "r"}},
        {"name": "s", "iscsi": {"targetPortal": "p", "iqn": "iqn.a", "lun": 1}},
        {"name": "f", "fc": {"targetWWNs": ["a"], "lun": 1}},
    ]);
    assert_eq!(spec(json!({"volumes": good})), Vec::<String>::new());
    for (source, expected) in [
        (json!({"nfs": {"server": "s", "path": "p"}}), "nfs.path: Invalid value: \"p\": must be an absolute path"),
        (json!({"csi": {"driver": "-"}}), "csi.driver: Invalid value: \"-\": a lowercase RFC 1123 subdomain must"),
        (json!({"ephemeral": {}}), "ephemeral.volumeClaimTemplate: Required value"),
        (
            json!({"ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}}),
            "ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value",
        ),
        (
            json!({"iscsi": {"targetPortal": "p", "iqn": "x", "lun": 1}}),
            "iscsi.iqn: Invalid value: \"x\": must be valid format starting with iqn, eui, or naa",
        ),
        (
            json!({"fc": {"lun": 1}}),
            "fc.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both",
        ),
    ] {
        let mut volume = json!({"name": "v"});
        volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        let faults = spec(json!({"volumes": [volume]}));
        assert!(faults.len() == 1 && faults[0].starts_with(&format!("spec.volumes[0].{expected}")), "{faults:?}");
    }
}

#[test]
fn what_the_node_must_offer_is_checked() {
    for (fault, expected) in [
        (
            json!({"os": {"name": "x"}}),
            "spec.os.name: Unsupported value: \"x\": supported values: \"linux\", \"windows\"",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "A", "value": "1"}]}}),
            "spec.securityContext.sysctls[0].name: Invalid value: \"A\": must have at most 253 characters and match regex \
             ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
        ),
        (
            json!({"securityContext": {"appArmorProfile": {"type": "Localhost"}}}),
            "spec.securityContext.appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is \
             Localhost",
        ),
        (
            json!({"resourceClaims": [{"name": "r"}]}),
            "spec.resourceClaims[0]: Invalid value: \"r\": must specify one of: `resourceClaimName`, \
             `resourceClaimTemplateName`",
        ),
    ] {
        assert_eq!(spec(fault), [expected]);
    }
    for (fault, expected) in [
        (
            json!({"volumeDevices": [{"name": "x", "devicePath": "/d"}]}),
            "spec.containers[0].volumeDevices[0].name: Not found: \"x\"",
        ),
        (
            json!({"resizePolicy": [{"resourceName": "x", "restartPolicy": "NotRequired"}]}),
            "spec.containers[0].resizePolicy[0].resourceName: Unsupported value: \"x\": supported values: \"cpu\", \
             \"memory\"",
        ),
        (
            json!({"resources": {"limits": {"hugepages-2Mi": "2Mi"}}}),
            "spec.containers[0].resources: Forbidden: HugePages require cpu or memory",
        ),
    ] {
        assert_eq!(container(fault), [expected]);
    }
}
