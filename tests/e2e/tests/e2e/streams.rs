//! Streams between `kubectl` and containers: commands, terminals, files, ports, logs and proxied requests.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use skep_e2e::{Lines, TestCluster, TestFleet, WITHIN};
use skep_testkit::fleet::Options;
use skep_testkit::wait_until;

use crate::{ECHO, ROLLOUT};

const BOX: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: box}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  \
                   - {name: box, image: 'busybox:1', command: [sh, -c, 'while :; do sleep 1; done']}\n";

/// Longer than any buffer on the way.
const FILE_LEN: usize = 50 << 20;

/// Runs a command to its end, with something to read.
fn feed(command: &mut Command, input: &[u8]) -> Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("no input")?;
    let input = input.to_vec();
    // One that ends early has no more use for its input.
    let fed = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output()?;
    ensure!(fed.join().is_ok(), "the input's thread panicked");
    Ok(output)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes that do not repeat soon.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    Ok(body.trim().to_owned())
}

/// The local address that a `kubectl port-forward` names.
fn forwarded(lines: &Lines) -> Result<SocketAddr> {
    let found = Mutex::new(None);
    wait_until("a forwarded port", WITHIN, || {
        lines.any(|line| {
            let rest = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split(' ').next());
            let port: Option<u16> = rest.and_then(|port| port.parse().ok());
            let mut found = found.lock().unwrap();
            *found = found.or(port);
            port.is_some()
        });
        Ok(found.lock().unwrap().is_some())
    })?;
    let port = found.lock().unwrap().context("no port")?;
    Ok(([127, 0, 0, 1], port).into())
}

/// Pods should support remote command execution over websockets [NodeConformance]
#[test]
fn commands_run_in_containers_and_files_go_both_ways() -> Result<()> {
    let test = TestCluster::start("e2e-exec")?;
    test.apply(BOX)?;
    test.cluster.kubectl(&["wait", "--for=condition=Ready", "pod/box", "--timeout=60s"])?;
    // WebSocket first, and what older clients speak.
    for websocket in ["true", "false"] {
        let kubectl = |args: &[&str], input: &[u8]| {
            let mut command = test.cluster.kubectl_command(args);
            feed(command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websocket), input)
        };
        let said = kubectl(&["exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 3"], b"")?;
        assert_eq!((said.status.code(), text(&said.stdout)), (Some(3), "out\n".to_owned()));
        let err = text(&said.stderr);
        assert!(err.contains("err\n") && err.contains("command terminated with exit code 3"), "{err}");
        // The command sees the end of its input, and all that came before it.
        let input = noise(3 << 20);
        let echoed = kubectl(&["exec", "-i", "box", "--", "cat"], &input)?;
        assert!(echoed.status.success() && echoed.stdout == input, "{} of {}", echoed.stdout.len(), input.len());
        let missing = kubectl(&["exec", "box", "--", "no-such-program"], b"")?;
        assert!(text(&missing.stderr).contains("executable file not found"), "{}", text(&missing.stderr));
        let nothing = kubectl(&["exec", "box", "-c", "none", "--", "true"], b"")?;
        assert!(text(&nothing.stderr).contains("container none is not valid for pod box"), "{}", text(&nothing.stderr));

        let dir = tempfile::tempdir()?;
        let (there, back) = (dir.path().join("there"), dir.path().join("back"));
        let file = noise(FILE_LEN);
        std::fs::write(&there, &file)?;
        let copied = kubectl(&["cp", &there.to_string_lossy(), "box:/tmp/file"], b"")?;
        ensure!(copied.status.success(), "{}", text(&copied.stderr));
        let copied = kubectl(&["cp", "box:/tmp/file", &back.to_string_lossy()], b"")?;
        ensure!(copied.status.success(), "{}", text(&copied.stderr));
        assert!(std::fs::read(&back)? == file, "the file came back as another");
    }
    // With a terminal, of the client's size.
    let kubectl = test.cluster.kubectl_command(&[]);
    let program = kubectl.get_program().to_string_lossy().into_owned();
    // The size comes a moment after the command's start.
    let command = "for i in $(seq 100); do stty size | grep 33 && break; sleep 0.1; done; test -t 0 && exit 5";
    let line = format!("stty rows 33 cols 77; {program} exec -it box -- sh -c '{command}'");
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env("KUBECONFIG", skep_testkit::cluster::kubeconfig("e2e-exec"));
    let said = feed(&mut script, b"")?;
    assert_eq!(said.status.code(), Some(5));
    assert!(text(&said.stdout).contains("33 77"), "{}", text(&said.stdout));

    // A client that goes away takes its streams along: the command reads the end of its input.
    let mut client = test.cluster.kubectl_command(&["exec", "-i", "box", "--", "sh", "-c", "cat; touch /tmp/ended"]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    client.stdin.as_mut().context("no input")?.write_all(b"x")?;
    let mut first = [0; 1];
    client.stdout.as_mut().context("no output")?.read_exact(&mut first)?;
    client.kill()?;
    client.wait()?;
    wait_until("the command's end", WITHIN, || {
        Ok(test.cluster.kubectl(&["exec", "box", "--", "test", "-e", "/tmp/ended"]).is_ok())
    })
}

#[test]
fn attached_and_run_with_terminals_and_pipes() -> Result<()> {
    let test = TestCluster::start("e2e-attach")?;
    let run = ["run", "once", "-i", "--rm", "--quiet", "--image=busybox:1", "--restart=Never", "--command", "--"];
    let mut command = test.cluster.kubectl_command(&[&run[..], &["sh", "-c", "cat; exit 6"]].concat());
    let said = feed(&mut command, b"typed\n")?;
    assert_eq!(said.status.code(), Some(6), "{}", text(&said.stderr));
    assert!(text(&said.stdout).contains("typed"), "{}", text(&said.stdout));
    test.wait_for(&["pods", "-o", "name"], str::is_empty)?;

    let talker = "apiVersion: v1\nkind: Pod\nmetadata: {name: talker}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  \
                  - {name: talker, image: 'busybox:1', stdin: true, stdinOnce: true, tty: true, \
                  command: [sh, -c, 'while read line; do echo got $line; done']}\n";
    test.apply(talker)?;
    test.cluster.kubectl(&["wait", "--for=condition=Ready", "pod/talker", "--timeout=60s"])?;
    let mut command = test.cluster.kubectl_command(&["attach", "-i", "--quiet", "talker"]);
    let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    client.stdin.as_mut().context("no input")?.write_all(b"hello\n")?;
    let mut output = client.stdout.take().context("no output")?;
    let mut seen = Vec::new();
    while !text(&seen).contains("got hello") {
        let mut bytes = [0; 256];
        let len = output.read(&mut bytes)?;
        ensure!(len > 0, "attach ended after {:?}", text(&seen));
        seen.extend_from_slice(&bytes[..len]);
    }
    client.kill()?;
    client.wait()?;
    Ok(())
}

/// Proxy version v1 should proxy through a service and a pod
/// `[sig-cli] Kubectl client Proxy server should support proxy with --port 0`
#[test]
fn ports_are_forwarded_and_requests_proxied() -> Result<()> {
    let test = TestCluster::start("e2e-forward")?;
    test.apply(ECHO)?;
    test.cluster.kubectl(ROLLOUT)?;
    let pods = test.cluster.kubectl(&["get", "pods", "-l", "app=echo", "-o", "jsonpath={.items[*].metadata.name}"])?;
    let pod = pods.split(' ').next().context("no pod")?.to_owned();
    for (websocket, target, port) in [
        ("true", format!("pod/{pod}"), ":8080"),
        ("true", "service/echo".to_owned(), ":80"),
        ("false", format!("pod/{pod}"), ":8080"),
    ] {
        let mut command = test.cluster.kubectl_command(&["port-forward", &target, port]);
        let lines = Lines::of(command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websocket))?;
        let address = forwarded(&lines)?;
        for _ in 0..5 {
            assert!(pods.contains(&get(address, "/name")?));
        }
        // Several at once, each with an end of its own.
        let held = TcpStream::connect(address)?;
        assert!(pods.contains(&get(address, "/name")?));
        drop(held);
        assert!(pods.contains(&get(address, "/name")?));
    }

    let raw = |path: &str| test.cluster.kubectl(&["get", "--raw", path]);
    let base = "/api/v1/namespaces/default";
    assert_eq!(raw(&format!("{base}/pods/{pod}:8080/proxy/name"))?.trim(), pod);
    assert_eq!(raw(&format!("{base}/pods/{pod}/proxy/name"))?.trim(), pod, "the first port that it names");
    for service in ["echo:http", "echo:80", "http:echo:http"] {
        assert!(pods.contains(raw(&format!("{base}/services/{service}/proxy/name"))?.trim()), "{service}");
    }
    assert_eq!(raw("/api/v1/nodes/e2e-forward/proxy/healthz")?.trim(), "ok");
    let refused = raw(&format!("{base}/services/echo:81/proxy/")).unwrap_err().to_string();
    assert!(refused.contains("no service port 81 found for service \"echo\""), "{refused}");
    let refused = raw(&format!("{base}/pods/{pod}:9/proxy/")).unwrap_err().to_string();
    assert!(refused.contains("error trying to reach service: dial tcp") && refused.contains("refused"), "{refused}");

    let lines = Lines::of(&mut test.cluster.kubectl_command(&["proxy", "--port=0"]))?;
    let port = Mutex::new(None);
    wait_until("the proxy", WITHIN, || {
        lines.any(|line| {
            let found = line.rsplit(':').next().and_then(|port| port.trim().parse::<u16>().ok());
            port.lock().unwrap().clone_from(&found);
            found.is_some()
        });
        Ok(port.lock().unwrap().is_some())
    })?;
    let port = port.lock().unwrap().context("no port")?;
    let answer = get(([127, 0, 0, 1], port).into(), &format!("{base}/services/echo:http/proxy/name"))?;
    assert!(pods.contains(answer.lines().find(|line| line.starts_with("echo-")).unwrap_or("none")), "{answer}");
    Ok(())
}

/// Kubectl logs logs should be able to retrieve and filter logs
#[test]
fn logs_are_filtered_and_of_all_containers() -> Result<()> {
    let test = TestCluster::start("e2e-logs")?;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: many}\nspec:\n  terminationGracePeriodSeconds: 1\n  initContainers:\n  \
               - {name: setup, image: 'busybox:1', command: [echo, prepared]}\n  containers:\n  \
               - {name: lines, image: 'busybox:1', command: [sh, -c, 'for i in 1 2 3 4 5; do echo line $i; done; while :; do sleep 1; done']}\n  \
               - {name: crash, image: 'busybox:1', command: [sh, -c, 'echo once; exit 7']}\n";
    test.apply(pod)?;
    let logs = |args: &[&str]| test.cluster.kubectl(&[&["logs", "many"], args].concat());
    let last = |args: &[&str], wanted: &str| -> Result<()> {
        let mut got = String::new();
        let waited = wait_until("a log", WITHIN, || {
            got = logs(args).unwrap_or_else(|error| format!("{error:#}"));
            Ok(got == wanted)
        });
        waited.with_context(|| format!("{args:?} printed {got:?}"))
    };
    last(&["-c", "lines"], "line 1\nline 2\nline 3\nline 4\nline 5\n")?;
    last(&["-c", "lines", "--tail=2"], "line 4\nline 5\n")?;
    last(&["-c", "lines", "--tail=0"], "")?;
    last(&["-c", "lines", "--limit-bytes=6"], "line 1")?;
    last(&["-c", "lines", "--since=1h", "--tail=1"], "line 5\n")?;
    last(&["-c", "lines", "--since-time=2999-01-01T00:00:00Z"], "")?;
    last(&["-c", "setup"], "prepared\n")?;
    last(&["-c", "crash", "--previous"], "once\n")?;
    let stamped = logs(&["-c", "lines", "--tail=1", "--timestamps"])?;
    let (time, line) = stamped.split_once(' ').context("no time")?;
    assert!(time.ends_with('Z') && time.contains('T') && line == "line 5\n", "{stamped}");
    let all = logs(&["--all-containers", "--prefix"])?;
    for line in ["[pod/many/setup] prepared", "[pod/many/lines] line 3", "[pod/many/crash] once"] {
        assert!(all.contains(line), "{all}");
    }
    let refused = logs(&["-c", "lines", "--previous"]).unwrap_err().to_string();
    assert!(refused.contains("previous terminated container \"lines\" in pod \"many\" not found"), "{refused}");
    let follow = Lines::of(&mut test.cluster.kubectl_command(&["logs", "-f", "many", "-c", "lines", "--tail=1"]))?;
    wait_until("the followed line", WITHIN, || Ok(follow.any(|line| line == "line 5")))
}

/// The control plane is on the first node, the pod on the second.
#[test]
fn streams_reach_pods_of_other_nodes() -> Result<()> {
    let test = TestFleet::start("e2e-far", Options::default())?;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: far}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
               nodeSelector: {kubernetes.io/hostname: e2e-far-2}\n  containers:\n  - {name: far, image: 'skep-echo:v1', args: [serve], \
               env: [{name: POD_NAME, value: far}], ports: [{containerPort: 8080}]}\n  \
               - {name: box, image: 'busybox:1', command: [sh, -c, 'echo here; while :; do sleep 1; done']}\n";
    test.apply(pod)?;
    test.wait_for(&["pod", "far", "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"], |ready| {
        ready == "True"
    })?;
    let input = noise(1 << 20);
    let mut command = test.fleet.kubectl_command(&["exec", "-i", "far", "-c", "box", "--", "cat"]);
    assert!(feed(&mut command, &input)?.stdout == input);
    assert_eq!(test.fleet.kubectl(&["logs", "far", "-c", "box"])?, "here\n");
    let lines = Lines::of(&mut test.fleet.kubectl_command(&["port-forward", "far", ":8080"]))?;
    assert_eq!(get(forwarded(&lines)?, "/name")?, "far");
    let raw = test.fleet.kubectl(&["get", "--raw", "/api/v1/namespaces/default/pods/far/proxy/name"])?;
    assert_eq!(raw.trim(), "far");
    assert_eq!(test.fleet.kubectl(&["get", "--raw", "/api/v1/nodes/e2e-far-2/proxy/healthz"])?.trim(), "ok");
    Ok(())
}
