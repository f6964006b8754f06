//! Real binaries, real containers, `kubectl`.
#![allow(clippy::unwrap_used)]

mod access;
mod admission;
mod apply;
mod clients;
mod custom;
mod faults;
mod fleet;
mod inspect;
mod kinds;
mod proxy;
mod schema;
mod services;
mod streams;

use std::time::Duration;

use skep_e2e::TestCluster;
use skep_testkit::wait_until;

const ECHO: &str = include_str!("../../../../deploy/demo/echo.yaml");
const ROLLOUT: &[&str] = &["rollout", "status", "deployment/echo", "--timeout=60s"];

/// What the test server answers on the ClusterIP, asked by a process of the node.
fn ask(test: &TestCluster) -> anyhow::Result<String> {
    let address = test.cluster.kubectl(&["get", "service", "echo", "-o", "jsonpath={.spec.clusterIP}"])?;
    let output = test
        .cluster
        .on_node("busybox")?
        .args(["timeout", "5", "busybox", "wget", "-q", "-O", "-"])
        .arg(format!("http://{address}/name"))
        .output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[test]
fn deployment_rolls_out_back_and_is_garbage_collected() -> anyhow::Result<()> {
    let test = TestCluster::start("e2e-rollout")?;
    let kubectl = |args: &[&str]| test.cluster.kubectl(args);
    test.apply(ECHO)?;
    kubectl(ROLLOUT)?;
    assert!(ask(&test)?.starts_with("echo-"));

    kubectl(&["set", "image", "deployment/echo", "echo=skep-echo:v2"])?;
    kubectl(ROLLOUT)?;
    let images = ["pods", "-l", "app=echo", "-o", "jsonpath={.items[*].spec.containers[0].image}"];
    test.wait_for(&images, |text| text == "skep-echo:v2 skep-echo:v2 skep-echo:v2")?;
    kubectl(&["rollout", "undo", "deployment/echo"])?;
    kubectl(ROLLOUT)?;
    test.wait_for(&images, |text| text == "skep-echo:v1 skep-echo:v1 skep-echo:v1")?;
    assert_eq!(
        kubectl(&["get", "replicasets", "-o", "name"])?.lines().count(),
        2,
        "undo takes the old ReplicaSet again"
    );

    kubectl(&["delete", "deployment", "echo"])?;
    test.wait_for(&["pods,replicasets", "-o", "name"], str::is_empty)?;
    Ok(())
}

#[test]
fn killed_daemon_leaves_traffic_running_and_its_successor_adopts_all() -> anyhow::Result<()> {
    let mut test = TestCluster::start("e2e-kill")?;
    test.apply(ECHO)?;
    test.cluster.kubectl(ROLLOUT)?;
    let containers = ["get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].containerID}"];
    let before = test.cluster.kubectl(&containers)?;
    let address = test.cluster.kubectl(&["get", "service", "echo", "-o", "jsonpath={.spec.clusterIP}"])?;

    test.cluster.kill()?;
    let url = format!("http://{address}/name");
    for _ in 0..50 {
        let output = test
            .cluster
            .on_node("busybox")?
            .args(["timeout", "5", "busybox", "wget", "-q", "-O", "-", &url])
            .output()?;
        assert!(output.status.success(), "without the daemon: {}", String::from_utf8_lossy(&output.stderr));
    }
    test.cluster.restart()?;
    assert_eq!(test.cluster.kubectl(&containers)?, before, "no container was started anew");
    test.cluster.kubectl(&["scale", "deployment/echo", "--replicas=4"])?;
    test.cluster.kubectl(ROLLOUT)?;
    ask(&test)?;
    Ok(())
}

#[test]
fn bad_manifests_get_kubernetes_answers() -> anyhow::Result<()> {
    let test = TestCluster::start("e2e-bad")?;
    let refused = |verb: &str, manifest: &str, more: &[&str]| match test.with_file(verb, manifest, more) {
        Ok(text) => panic!("accepted: {text}"),
        Err(error) => format!("{error:#}"),
    };
    let pod = |spec: &str| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: bad}}\nspec: {spec}\n");

    let unknown = refused("apply", &pod("{containers: [{name: a, image: busybox:1, imagee: x}]}"), &[]);
    assert!(unknown.contains(r#"unknown field "spec.containers[0].imagee""#), "{unknown}");
    let kind = refused("create", &pod("{containers: [{name: a, image: busybox:1, stdin: 7}]}"), &["--validate=false"]);
    assert!(kind.contains("stdin"), "{kind}");
    let name = refused("create", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Bad_Name}\n", &[]);
    assert!(name.contains("Invalid value: \"Bad_Name\"") && name.contains("RFC 1123 subdomain"), "{name}");
    let missing = refused("create", &pod("{containers: [{image: busybox:1}]}"), &[]);
    assert!(missing.contains("spec.containers[0].name: Required value"), "{missing}");
    let selector = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: bad}\nspec: {selector: {matchLabels: {a: b}}, \
                    template: {metadata: {labels: {a: c}}, spec: {containers: [{name: a, image: busybox:1}]}}}\n";
    let selector = refused("create", selector, &[]);
    assert!(selector.contains("`selector` does not match template `labels`"), "{selector}");
    Ok(())
}

#[test]
fn missing_image_backs_off_and_crash_restarts() -> anyhow::Result<()> {
    let test = TestCluster::start("e2e-image")?;
    test.cluster.kubectl(&["run", "missing", "--image=no-such-image:1"])?;
    let waiting = ["pod", "missing", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}"];
    test.wait_for(&waiting, |reason| reason == "ErrImagePull")?;
    test.wait_for(&waiting, |reason| reason == "ImagePullBackOff")?;

    test.cluster.kubectl(&[
        "run",
        "crash",
        "--image=busybox:1",
        "--command",
        "--",
        "sh",
        "-c",
        "echo hello; exit 3",
    ])?;
    let restarts = ["pod", "crash", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"];
    test.wait_for(&restarts, |count| count.parse().is_ok_and(|count: u32| count >= 1))?;
    let code = ["pod", "crash", "-o", "jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}"];
    test.wait_for(&code, |code| code == "3")?;
    assert_eq!(test.cluster.kubectl(&["logs", "crash"])?.trim(), "hello");
    Ok(())
}

#[test]
fn namespace_takes_its_contents_along() -> anyhow::Result<()> {
    let test = TestCluster::start("e2e-namespace")?;
    let kubectl = |args: &[&str]| test.cluster.kubectl(args);
    let pod = "apiVersion: v1\nkind: Namespace\nmetadata: {name: short-lived}\n---\n\
               apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: short-lived}\ndata: {colour: blue}\n---\n\
               apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: short-lived}\nstringData: {value: s3cret}\n---\n\
               apiVersion: v1\nkind: Pod\nmetadata: {name: reader, namespace: short-lived}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  \
               - name: reader\n    image: busybox:1\n    command: [sh, -c, 'cat /settings/colour; echo; cat /key/value; echo; echo $COLOUR; sleep 3600']\n    \
               env: [{name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}]\n    \
               volumeMounts: [{name: settings, mountPath: /settings}, {name: key, mountPath: /key}]\n  volumes:\n  \
               - {name: settings, configMap: {name: settings}}\n  - {name: key, secret: {secretName: key}}\n";
    test.apply(pod)?;
    wait_until("the pod's output", Duration::from_secs(30), || {
        Ok(kubectl(&["-n", "short-lived", "logs", "reader"]).is_ok_and(|text| text == "blue\ns3cret\nblue\n"))
    })?;
    kubectl(&["delete", "namespace", "short-lived", "--timeout=60s"])?;
    let left = kubectl(&["get", "namespaces", "-o", "name"])?;
    assert!(!left.contains("short-lived"), "{left}");
    Ok(())
}

#[test]
fn containerd_that_dies_is_started_again() -> anyhow::Result<()> {
    let test = TestCluster::start("e2e-runtime")?;
    test.apply(ECHO)?;
    test.cluster.kubectl(ROLLOUT)?;
    test.cluster.kill_containerd()?;
    // The containers live on, and new ones can be made once it is back.
    ask(&test)?;
    test.cluster.kubectl(&["scale", "deployment/echo", "--replicas=4"])?;
    test.cluster.kubectl(ROLLOUT)?;
    let restarts =
        ["get", "pods", "-l", "app=echo", "-o", "jsonpath={.items[*].status.containerStatuses[0].restartCount}"];
    assert_eq!(test.cluster.kubectl(&restarts)?, "0 0 0 0");
    Ok(())
}

#[test]
fn probes_restart_and_hold_back_and_logs_follow() -> anyhow::Result<()> {
    let test = TestCluster::start("e2e-probes")?;
    let mortal = "apiVersion: v1\nkind: Pod\nmetadata: {name: mortal}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  \
                  - name: mortal\n    image: busybox:1\n    command: [sh, -c, 'touch /tmp/alive; sleep 2; rm /tmp/alive; sleep 3600']\n    \
                  livenessProbe: {exec: {command: [cat, /tmp/alive]}, periodSeconds: 1, failureThreshold: 1}\n    \
                  readinessProbe: {tcpSocket: {port: 4242}, periodSeconds: 1}\n";
    test.apply(mortal)?;
    let count = ["pod", "mortal", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"];
    test.wait_for(&count, |count| count.parse().is_ok_and(|count: u32| count >= 1))?;
    let ready = ["get", "pod", "mortal", "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"];
    assert_eq!(test.cluster.kubectl(&ready)?, "False", "nothing listens on the port that readiness asks");
    let events = test.cluster.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"])?;
    assert!(events.contains("Unhealthy") && events.contains("Killing"), "{events}");

    let count = "for i in 1 2 3; do echo line $i; sleep 1; done";
    test.cluster.kubectl(&[
        "run",
        "counter",
        "--image=busybox:1",
        "--restart=Never",
        "--command",
        "--",
        "sh",
        "-c",
        count,
    ])?;
    let phase = ["pod", "counter", "-o", "jsonpath={.status.phase}"];
    test.wait_for(&phase, |phase| phase == "Running" || phase == "Succeeded")?;
    assert_eq!(test.cluster.kubectl(&["logs", "--follow", "counter"])?, "line 1\nline 2\nline 3\n");
    Ok(())
}

#[test]
fn typed_clients_send_protobuf() -> anyhow::Result<()> {
    let test = TestCluster::start("e2e-typed")?;
    let kubectl = |args: &[&str]| test.cluster.kubectl(args);
    kubectl(&["create", "namespace", "typed"])?;
    let typed = |args: &[&str]| kubectl(&[&["-n", "typed"][..], args].concat());
    typed(&["create", "configmap", "settings", "--from-literal=colour=blue"])?;
    typed(&["create", "secret", "generic", "key", "--from-literal=value=s3cret"])?;
    typed(&["create", "deployment", "echo", "--image=skep-echo:v1", "--replicas=2", "--port=8080"])?;
    typed(&["expose", "deployment", "echo", "--port=80", "--target-port=8080"])?;
    for (object, path, value) in [
        ("configmap/settings", "{.data.colour}", "blue"),
        ("secret/key", "{.data.value} {.type}", "czNjcmV0 Opaque"),
        ("deployment/echo", "{.spec.replicas} {.spec.template.spec.containers[0].image}", "2 skep-echo:v1"),
        ("service/echo", "{.spec.type} {.spec.ports[0].targetPort} {.spec.selector.app}", "ClusterIP 8080 echo"),
    ] {
        assert_eq!(typed(&["get", object, "-o", &format!("jsonpath={path}")])?, value, "{object}");
    }
    typed(&["scale", "deployment/echo", "--replicas=0"])?;
    assert_eq!(typed(&["get", "deployment/echo", "-o", "jsonpath={.spec.replicas}"])?, "0");
    Ok(())
}

#[test]
fn network_policy_denies_then_allows_and_survives_the_daemon() -> anyhow::Result<()> {
    let mut test = TestCluster::start("e2e-policy")?;
    test.apply(ECHO)?;
    test.cluster.kubectl(ROLLOUT)?;
    let url = test.cluster.kubectl(&["get", "service", "echo", "-o", "jsonpath=http://{.spec.clusterIP}/name"])?;
    let ask = format!("while :; do timeout 2 wget -q -O /dev/null {url} && echo yes || echo no; sleep 0.1; done");
    let client = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{role: {name}}}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
             containers:\n  - {{name: c, image: busybox:1, command: [sh, -c, '{ask}']}}\n"
        )
    };
    test.apply(&format!("{}---\n{}", client("friend"), client("stranger")))?;
    test.cluster.kubectl(&["wait", "--for=condition=Ready", "pod/friend", "pod/stranger", "--timeout=60s"])?;
    // The second answer from now on is to a question that was asked after now.
    let reaches = |test: &TestCluster, pod: &str| {
        let lines = || -> anyhow::Result<Vec<String>> {
            let text = test.cluster.kubectl(&["logs", pod])?;
            Ok(text.lines().filter(|line| matches!(*line, "yes" | "no")).map(str::to_owned).collect())
        };
        let before = lines().unwrap().len();
        let mut answers = Vec::new();
        wait_until("an answer", Duration::from_secs(15), || {
            answers = lines()?;
            Ok(answers.len() >= before + 2)
        })
        .unwrap();
        answers[before + 1] == "yes"
    };
    assert!(reaches(&test, "friend") && reaches(&test, "stranger"), "without a policy");

    test.apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny}\nspec: {podSelector: {}}\n",
    )?;
    wait_until("the denial", Duration::from_secs(10), || {
        Ok(test.cluster.skep_net(&["identity", "list"])?.contains("ingress"))
    })?;
    assert!(!reaches(&test, "friend") && !reaches(&test, "stranger"), "everything is denied");
    test.apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: friends}\nspec:\n  podSelector: {matchLabels: {app: echo}}\n  \
         ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}], ports: [{port: http}]}]\n",
    )?;
    wait_until("the permission", Duration::from_secs(10), || Ok(reaches(&test, "friend")))?;
    assert!(!reaches(&test, "stranger"), "only the friend is let in");
    let rows = test.cluster.skep_net(&["policy", "get", "default/friends"])?;
    assert!(rows.contains("8080/TCP") && rows.contains("default/friends ingress[0]"), "{rows}");
    assert!(test.cluster.skep_net(&["verify"])?.contains("holds what it should"));
    assert!(test.cluster.skep_net(&["drops"])?.contains("ingress_policy"));
    // Probes come from the node, and still pass; so would a restart of a pod show.
    let ready = ["pods", "-l", "app=echo", "-o", "jsonpath={.items[*].status.containerStatuses[0].ready}"];
    test.wait_for(&ready, |text| text == "true true true")?;

    test.cluster.kill()?;
    test.cluster.restart()?;
    wait_until("agreement", Duration::from_secs(30), || Ok(test.cluster.skep_net(&["verify"]).is_ok()))?;
    assert!(reaches(&test, "friend") && !reaches(&test, "stranger"), "a new daemon changes nothing");
    // A pod that is new is policed from its first packet on.
    test.cluster.kubectl(&["rollout", "restart", "deployment/echo"])?;
    test.cluster.kubectl(ROLLOUT)?;
    assert!(reaches(&test, "friend") && !reaches(&test, "stranger"), "new pods are policed");
    test.cluster.kubectl(&["delete", "networkpolicy", "--all"])?;
    wait_until("the end of policy", Duration::from_secs(10), || Ok(reaches(&test, "stranger")))?;
    assert!(test.cluster.skep_net(&["verify"])?.contains("holds what it should"));
    Ok(())
}
