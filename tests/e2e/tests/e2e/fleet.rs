//! Clusters of several nodes: pods across nodes, daemons and Node objects that go and come, joining, certificates.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use skep_e2e::{TestFleet, WITHIN};
use skep_testkit::fleet::{Family, Options};
use skep_testkit::wait_until;
use tempfile::NamedTempFile;

/// A pod of the test server on a node, in the Service `echo`.
pub(crate) fn echo(name: &str, node: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: echo}}}}\nspec:\n  \
         terminationGracePeriodSeconds: 1\n  nodeSelector: {{kubernetes.io/hostname: {node}}}\n  {more}\n  containers:\n  \
         - {{name: echo, image: 'skep-echo:v1', args: [serve], env: [{{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}], readinessProbe: {{httpGet: {{path: /name, port: 8080}}, periodSeconds: 1}}}}\n---\n"
    )
}

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: echo}\nspec:\n  selector: {app: echo}\n  \
                       ports: [{port: 80, targetPort: 8080}]\n---\n";

fn wget(test: &TestFleet, node: &str, url: &str) -> Result<String> {
    let output = test
        .fleet
        .on_node(node, "busybox")?
        .args(["timeout", "3", "busybox", "wget", "-q", "-O", "-", url])
        .output()?;
    ensure!(output.status.success(), "wget {url} on {node}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The test server's archive under a name of the same length that no node knows yet.
fn renamed_archive(name: &str) -> Result<NamedTempFile> {
    let folder = std::env::var_os("SKEP_IMAGES").context("SKEP_IMAGES is not set: run ./x test")?;
    let mut bytes = fs::read(Path::new(&folder).join("skep-echo-v2.tar"))?;
    let at =
        bytes.windows(name.len()).position(|held| held == b"skep-echo:v2").context("the archive has another name")?;
    bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
    let file = NamedTempFile::new()?;
    fs::write(file.path(), bytes)?;
    Ok(file)
}

fn pod_ip(test: &TestFleet, pod: &str) -> Result<String> {
    test.fleet.kubectl(&["get", "pod", pod, "-o", "jsonpath={.status.podIP}"])
}

pub(crate) fn wait_ready(test: &TestFleet, pods: &[&str]) -> Result<()> {
    for pod in pods {
        let ready = ["pod", pod, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"];
        test.wait_for(&ready, |ready| ready == "True")?;
    }
    Ok(())
}

fn node_field(test: &TestFleet, node: &str, path: &str) -> Result<String> {
    test.fleet.kubectl(&["get", "node", node, "-o", &format!("jsonpath={path}")])
}

#[test]
fn pods_of_two_nodes_reach_each_other() -> Result<()> {
    let test = TestFleet::start("e2e-two", Options::default())?;
    let [one, two] = [1, 2].map(|number| format!("e2e-two-{number}"));
    test.apply(&[echo("echo-one", &one, ""), echo("echo-two", &two, ""), SERVICE.to_owned()].concat())?;
    wait_ready(&test, &["echo-one", "echo-two"])?;
    let ranges: BTreeSet<String> =
        [&one, &two].into_iter().map(|node| node_field(&test, node, "{.spec.podCIDR}")).collect::<Result<_>>()?;
    assert_eq!(ranges, BTreeSet::from(["10.42.0.0/24".to_owned(), "10.42.1.0/24".to_owned()]));

    // From one node to the other's pod, and by the Service to both.
    let address = pod_ip(&test, "echo-two")?;
    let url = format!("http://{address}:8080/name");
    assert_eq!(wget(&test, &one, &url)?, "echo-two");
    let service = test.fleet.kubectl(&["get", "service", "echo", "-o", "jsonpath={.spec.clusterIP}"])?;
    let mut answered = BTreeSet::new();
    wait_until("an answer of each pod", WITHIN, || {
        answered.insert(wget(&test, &one, &format!("http://{service}/name"))?);
        Ok(answered.len() == 2)
    })?;

    // From a pod, whose log comes from its node by the node's own certificate.
    let asks = format!("while :; do timeout 3 wget -q -O - http://{service}/name; echo; sleep 0.1; done");
    let client = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: client}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
         nodeSelector: {{kubernetes.io/hostname: {two}}}\n  containers:\n  \
         - {{name: client, image: 'busybox:1', command: [sh, -c, '{asks}']}}\n"
    );
    test.apply(&client)?;
    wait_until("answers of both pods in the client's log", WITHIN, || {
        let log = test.fleet.kubectl(&["logs", "client"]).unwrap_or_default();
        Ok(log.contains("echo-one") && log.contains("echo-two"))
    })?;

    // A pod on its node's own network has the node's address.
    test.apply(&echo("echo-host", &two, "hostNetwork: true"))?;
    wait_ready(&test, &["echo-host"])?;
    assert_eq!(pod_ip(&test, "echo-host")?, test.fleet.address(&two)?.to_string());

    // An image that comes later, on every node.
    let archive = renamed_archive("skep-echo:v9")?;
    test.fleet.load_image(archive.path())?;
    let later = [echo("later-one", &one, ""), echo("later-two", &two, "")].concat();
    test.apply(&later.replace("skep-echo:v1", "skep-echo:v9"))?;
    wait_ready(&test, &["later-one", "later-two"])?;

    test.fleet.cut(&one, &two)?;
    assert!(wget(&test, &one, &url).is_err(), "a cut link carries nothing");
    test.fleet.heal()?;
    wait_until("the other node after the cut", WITHIN, || {
        Ok(wget(&test, &one, &url).is_ok_and(|name| name == "echo-two"))
    })
}

#[test]
fn nodes_outlive_their_daemon_and_their_object() -> Result<()> {
    let mut test = TestFleet::start("e2e-again", Options { family: Family::Dual, ..Options::default() })?;
    let [one, two] = [1, 2].map(|number| format!("e2e-again-{number}"));
    test.apply(&[echo("echo-two", &two, ""), SERVICE.to_owned()].concat())?;
    wait_ready(&test, &["echo-two"])?;
    let container = ["get", "pod", "echo-two", "-o", "jsonpath={.status.containerStatuses[0].containerID}"];
    let before = test.fleet.kubectl(&container)?;
    let url = format!("http://{}:8080/name", pod_ip(&test, "echo-two")?);
    let range = node_field(&test, &two, "{.spec.podCIDRs}")?;
    assert!(range.contains("\"10.42.") && range.contains("\"fd00:42:"), "{range}");

    test.fleet.kill_node(&two)?;
    assert_eq!(wget(&test, &one, &url)?, "echo-two", "without its daemon");
    // It has joined once: neither token nor hash is needed.
    test.fleet.start_node(&two, &[])?;
    wait_until("the daemon to serve logs", WITHIN, || Ok(test.fleet.kubectl(&["logs", "echo-two"]).is_ok()))?;
    assert_eq!(test.fleet.kubectl(&container)?, before, "no container was started anew");

    let uid = node_field(&test, &two, "{.metadata.uid}")?;
    test.fleet.kubectl(&["delete", "node", &two])?;
    test.wait_for(&["node", &two, "-o", "jsonpath={.metadata.uid}"], |now| now.contains('-') && now != uid)?;
    test.fleet.wait_ready()?;
    assert_eq!(node_field(&test, &two, "{.spec.podCIDRs}")?, range, "it keeps the ranges that its pods use");
    let owner = ["-n", "kube-node-lease", "lease", &two, "-o", "jsonpath={.metadata.ownerReferences[0].uid}"];
    let uid = node_field(&test, &two, "{.metadata.uid}")?;
    test.wait_for(&owner, |owner| owner == uid)?;
    assert_eq!(wget(&test, &one, &url)?, "echo-two");

    // Deleted while its daemon is down, it asks for that range again.
    test.fleet.stop_node(&one)?;
    let first = node_field(&test, &one, "{.spec.podCIDRs}")?;
    test.fleet.kubectl(&["delete", "node", &one])?;
    test.fleet.start_node(&one, &[])?;
    test.fleet.wait_ready()?;
    assert_eq!(node_field(&test, &one, "{.spec.podCIDRs}")?, first);

    // Without the control plane pods answer, and nodes find it when it is back.
    test.fleet.kill_server()?;
    assert_eq!(wget(&test, &one, &url)?, "echo-two", "without the control plane");
    test.fleet.start_server()?;
    test.fleet.wait_ready()?;
    test.apply(&echo("echo-late", &two, ""))?;
    wait_ready(&test, &["echo-late"])
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "it joined");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn joining_says_what_is_wrong_and_certificates_are_renewed() -> Result<()> {
    let server_args = ["--cluster-signing-duration", "15s"].map(str::to_owned).to_vec();
    let test = TestFleet::start("e2e-join", Options { nodes: 1, server_args, ..Options::default() })?;
    let node = "e2e-join-1";
    let dir = tempfile::tempdir()?;
    let line = test.fleet.skep(&["token", "create", "--print-join-command"])?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |flag: &str| words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1)).copied();
    let token = after("--token").context("no token")?;
    let hash = after("--ca-cert-hash").context("no hash")?;
    let refused = |args: &[&str]| -> Result<String> { Ok(complaint(&test.fleet.join_stranger(dir.path(), args)?)) };

    let wrong = format!("sha256:{}", "0".repeat(64));
    let text = refused(&["--token", token, "--ca-cert-hash", &wrong])?;
    assert!(text.contains("which is not the one given with --ca-cert-hash") && text.contains(hash), "{text}");
    let text = refused(&["--token", token])?;
    assert!(text.contains("the cluster's authority is not known here"), "{text}");
    let text = refused(&["--ca-cert-hash", hash])?;
    assert!(text.contains("give a bootstrap token with --token"), "{text}");

    test.fleet.skep(&["token", "create", "abcdef.0123456789abcdef", "--ttl", "1s"])?;
    let expired = |list: String| list.lines().any(|line| line.contains("abcdef.") && line.contains("expired"));
    wait_until("the token's end", WITHIN, || Ok(expired(test.fleet.skep(&["token", "list"])?)))?;
    let text = refused(&["--token", "abcdef.0123456789abcdef", "--ca-cert-hash", hash])?;
    assert!(text.contains("does not accept the bootstrap token abcdef") && text.contains("expired"), "{text}");
    let id = token.split('.').next().unwrap_or_default();
    test.fleet.skep(&["token", "delete", id])?;
    let text = refused(&["--token", token, "--ca-cert-hash", hash])?;
    assert!(text.contains(&format!("does not accept the bootstrap token {id}")), "{text}");

    let read =
        |file: &str| fs::read_to_string(test.fleet.node_dir(node).join("identity").join(file)).unwrap_or_default();
    let mut known = ["client.pem", "serving.pem"].map(|file| BTreeSet::from([read(file)]));
    wait_until("three certificates of each sort", WITHIN, || {
        for (seen, file) in known.iter_mut().zip(["client.pem", "serving.pem"]) {
            seen.insert(read(file));
        }
        Ok(known.iter().all(|seen| seen.iter().filter(|text| !text.is_empty()).count() >= 3))
    })?;
    // The first ones are over by now, and the node is as ready as before: its status is written and its logs are read.
    test.fleet.kubectl(&["run", "late", "--image=busybox:1", "--restart=Never", "--command", "--", "echo", "hello"])?;
    test.wait_for(&["pod", "late", "-o", "jsonpath={.status.phase}"], |phase| phase == "Succeeded")?;
    assert_eq!(test.fleet.kubectl(&["logs", "late"])?.trim(), "hello");
    Ok(())
}

/// Pods of both families on two nodes, one asking the other, through a tunnel; and a policy that forbids it.
#[test]
fn pods_reach_each_other_through_a_tunnel_unless_policy_forbids() -> Result<()> {
    let node_args = vec!["--routing".to_owned(), "vxlan".to_owned()];
    let test = TestFleet::start("e2e-tun", Options { family: Family::Dual, node_args, ..Options::default() })?;
    let [one, two] = [1, 2].map(|number| format!("e2e-tun-{number}"));
    test.apply(&echo("echo-two", &two, ""))?;
    wait_ready(&test, &["echo-two"])?;
    let ips = test.fleet.kubectl(&["get", "pod", "echo-two", "-o", "jsonpath={.status.podIPs[*].ip}"])?;
    let (v4, v6) = ips.split_once(' ').with_context(|| format!("addresses of both families, not {ips:?}"))?;
    let ask = |name: &str, url: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{asks: 'yes'}}}}\nspec:\n  \
             terminationGracePeriodSeconds: 1\n  nodeSelector: {{kubernetes.io/hostname: {one}}}\n  containers:\n  \
             - {{name: ask, image: 'busybox:1', command: [sh, -c, \
             'while :; do timeout 2 wget -q -O - {url} || echo none; echo; sleep 0.2; done']}}\n---\n"
        )
    };
    let pods = [ask("ask-v4", &format!("http://{v4}:8080/name")), ask("ask-v6", &format!("http://[{v6}]:8080/name"))];
    test.apply(&pods.concat())?;
    let says = |pod: &str, what: &str| -> Result<()> {
        wait_until(&format!("{pod} to say {what}"), WITHIN, || {
            let log = test.fleet.kubectl(&["logs", pod, "--tail=4"]).unwrap_or_default();
            Ok(log.lines().any(|line| line == what))
        })
    };
    says("ask-v4", "echo-two")?;
    says("ask-v6", "echo-two")?;
    for node in [&one, &two] {
        let socket = test.fleet.node_dir(node).join("run/skep.sock");
        let differences = test.fleet.skep(&["net", "--socket", &socket.to_string_lossy(), "verify", "-o", "json"])?;
        assert_eq!(differences.trim(), "[]", "{node}");
    }

    // A Service of both families, from the node and so past policy.
    test.apply(&SERVICE.replace("spec:\n", "spec:\n  ipFamilyPolicy: RequireDualStack\n"))?;
    let ips = test.fleet.kubectl(&["get", "service", "echo", "-o", "jsonpath={.spec.clusterIPs[*]}"])?;
    let (v4, v6) = ips.split_once(' ').with_context(|| format!("addresses of both families, not {ips:?}"))?;
    for url in [format!("http://{v4}/name"), format!("http://[{v6}]/name")] {
        wait_until(&url, WITHIN, || Ok(wget(&test, &one, &url).is_ok_and(|answer| answer == "echo-two")))?;
    }

    let deny = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed}\nspec:\n  \
                podSelector: {matchLabels: {app: echo}}\n  policyTypes: [Ingress]\n";
    test.apply(deny)?;
    says("ask-v4", "none")?;
    says("ask-v6", "none")?;
    test.apply(&format!("{deny}  ingress: [{{from: [{{podSelector: {{matchLabels: {{asks: 'yes'}}}}}}]}}]\n"))?;
    says("ask-v4", "echo-two")?;
    says("ask-v6", "echo-two")
}

/// HostPort validates that there is no conflict between pods with same hostPort but different hostIP and protocol [LinuxOnly].
/// SchedulerPredicates [Serial] validates that there exists conflict between pods with same hostPort and protocol but one using 0.0.0.0
/// hostIP.
#[test]
fn a_services_port_answers_at_every_node() -> Result<()> {
    let mut test = TestFleet::start("e2e-ports", Options::default())?;
    let [one, two] = [1, 2].map(|number| format!("e2e-ports-{number}"));
    let service = |name: &str, policy: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  type: LoadBalancer\n  \
             externalTrafficPolicy: {policy}\n  selector: {{app: echo}}\n  ports: [{{port: 80, targetPort: 8080}}]\n---\n"
        )
    };
    test.apply(&[echo("echo-two", &two, ""), service("anywhere", "Cluster"), service("local", "Local")].concat())?;
    wait_ready(&test, &["echo-two"])?;
    let field =
        |name: &str, path: &str| test.fleet.kubectl(&["get", "service", name, "-o", &format!("jsonpath={path}")]);
    let at = |node: &str, port: &str| Ok::<_, anyhow::Error>(format!("http://{}:{port}", test.fleet.address(node)?));

    // The only backend is on the second node, and the caller is elsewhere for either.
    let port = field("anywhere", "{.spec.ports[0].nodePort}")?;
    for (caller, node) in [(&two, &one), (&one, &two)] {
        let url = format!("{}/name", at(node, &port)?);
        wait_until("an answer at the node's port", WITHIN, || {
            Ok(wget(&test, caller, &url).is_ok_and(|name| name == "echo-two"))
        })?;
    }

    // Where it has to be local, only the second node has one, and says so to load balancers.
    let port = field("local", "{.spec.ports[0].nodePort}")?;
    assert_eq!(wget(&test, &one, &format!("{}/name", at(&two, &port)?))?, "echo-two");
    assert!(wget(&test, &two, &format!("{}/name", at(&one, &port)?)).is_err());
    let port = field("local", "{.spec.healthCheckNodePort}")?;
    let healthy: serde_json::Value = serde_json::from_str(&wget(&test, &one, &at(&two, &port)?)?)?;
    assert_eq!(healthy["localEndpoints"], 1);
    let error = wget(&test, &two, &at(&one, &port)?).unwrap_err().to_string();
    assert!(error.contains("503"), "{error}");
    a_nodes_ports_lead_to_pods(&mut test, &one, &two)
}

/// Ports of a node that pods ask for: told apart by address and protocol, kept by a new daemon, gone with their pod.
fn a_nodes_ports_lead_to_pods(test: &mut TestFleet, one: &str, two: &str) -> Result<()> {
    const PORT: u16 = 54_323;
    let address = test.fleet.address(two)?;
    let pod = |name: &str, host_ip: &str, protocol: &str| {
        let port = format!("{{containerPort: 8080, hostPort: {PORT}, hostIP: '{host_ip}', protocol: {protocol}}}");
        echo(name, two, "").replace("args: [serve]", &format!("args: [serve], ports: [{port}]"))
    };
    let own = address.to_string();
    let pods = [pod("near", "127.0.0.1", "TCP"), pod("far", &own, "TCP"), pod("datagrams", &own, "UDP")];
    test.apply(&pods.concat())?;
    wait_ready(test, &["near", "far", "datagrams"])?;
    let answers = |test: &TestFleet| -> Result<()> {
        for (caller, host, name) in [(two, "127.0.0.1", "near"), (two, &own, "far"), (one, &own, "far")] {
            let url = format!("http://{host}:{PORT}/name");
            wait_until(&url, WITHIN, || Ok(wget(test, caller, &url).is_ok_and(|answer| answer == name)))?;
        }
        let ask = format!("exec 3<>/dev/udp/{own}/{PORT}; echo -n who >&3; timeout 3 dd bs=1500 count=1 <&3");
        for caller in [one, two] {
            wait_until("an answer over UDP", WITHIN, || {
                let output = test.fleet.on_node(caller, "bash")?.args(["-c", &ask]).output()?;
                Ok(String::from_utf8_lossy(&output.stdout).contains("datagrams"))
            })?;
        }
        Ok(())
    };
    answers(test)?;

    test.apply(&pod("anywhere", "", "TCP"))?;
    let why = ["pod", "anywhere", "-o", "jsonpath={.status.conditions[?(@.type=='PodScheduled')].message}"];
    test.wait_for(&why, |why| why.contains("node(s) didn't have free ports for the requested pod ports"))?;

    let socket = test.fleet.node_dir(two).join("run/skep.sock").to_string_lossy().into_owned();
    let net = |test: &TestFleet, args: &[&str]| test.fleet.skep(&[&["net", "--socket", &socket], args].concat());
    let rows = net(test, &["service", "list"])?;
    assert!(rows.contains("default/pod/far") && rows.contains("HostPort"), "{rows}");
    test.fleet.kill_node(two)?;
    assert_eq!(wget(test, one, &format!("http://{own}:{PORT}/name"))?, "far", "without its daemon");
    test.fleet.start_node(two, &[])?;
    wait_until("agreement", WITHIN, || Ok(net(test, &["verify", "-o", "json"]).is_ok_and(|text| text.trim() == "[]")))?;
    answers(test)?;
    test.fleet.kubectl(&["delete", "pod", "near", "far", "datagrams"])?;
    wait_until("the port of a pod that is gone", WITHIN, || {
        Ok(!net(test, &["service", "list"])?.contains("default/pod/far"))
    })
}

/// Nodes, pods and Services of a cluster that has no IPv4.
#[test]
fn a_cluster_of_ipv6_alone_serves() -> Result<()> {
    let test = TestFleet::start("e2e-six", Options { family: Family::Ipv6, ..Options::default() })?;
    let [one, two] = [1, 2].map(|number| format!("e2e-six-{number}"));
    test.apply(&[echo("echo-one", &one, ""), echo("echo-two", &two, ""), SERVICE.to_owned()].concat())?;
    wait_ready(&test, &["echo-one", "echo-two"])?;
    let vip = test.fleet.kubectl(&["get", "service", "echo", "-o", "jsonpath={.spec.clusterIP}"])?;
    assert!(vip.starts_with("fd00:96::"), "{vip}");
    let (url, mut answered) = (format!("http://[{vip}]/name"), BTreeSet::new());
    wait_until("answers of both pods", WITHIN, || {
        answered.extend(wget(&test, &one, &url));
        Ok(answered.len() == 2)
    })?;
    for node in [&one, &two] {
        let socket = test.fleet.node_dir(node).join("run/skep.sock");
        let differences = test.fleet.skep(&["net", "--socket", &socket.to_string_lossy(), "verify", "-o", "json"])?;
        assert_eq!(differences.trim(), "[]", "{node}");
    }
    Ok(())
}
