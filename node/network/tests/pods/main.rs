//! Real containerd, real pods: addresses, traffic, restarts, leftovers. Needs root, containerd and busybox-static.
#![allow(clippy::unwrap_used)]

mod image;
mod node;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use skep_cri::{Cgroups, Containerd};
use skep_network::CniRequest;
use skep_testkit::{Netns, wait_until};

use crate::node::{Daemon, NODE_IP, Place};

fn main() -> ExitCode {
    let argv0 = std::env::args_os().next().unwrap_or_default();
    if skep_network::is_plugin(&argv0) {
        return skep_network::plugin_main();
    }
    let pods = Trial::test("pods", || missing().map_or_else(in_netns, |missing| Err(missing.into())));
    // A machine that cannot run it skips it, but for CI's.
    let skipped = missing().is_some() && std::env::var_os("CI").is_none();
    libtest_mimic::run(&Arguments::from_args(), vec![pods.with_ignored_flag(skipped)]).exit_code()
}

fn in_netns() -> Result<(), Failed> {
    let netns = Netns::create(&format!("skep-test-net-{}", std::process::id()))?;
    netns.ip(&["addr", "add", &format!("{NODE_IP}/32"), "dev", "lo"])?;
    netns.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            errors_are_cni_errors().await;
            pods().await;
        });
        Ok(())
    })?
}

fn missing() -> Option<&'static str> {
    let there = |paths: &[&str]| paths.iter().any(|path| std::path::Path::new(path).exists());
    if !nix::unistd::geteuid().is_root() {
        return Some("it needs root");
    }
    if !there(&["/usr/bin/containerd", "/usr/local/bin/containerd"]) {
        return Some("apt-get install containerd runc");
    }
    (!there(&["/bin/busybox"])).then_some("apt-get install busybox-static")
}

async fn pods() {
    let place = Place::new();
    let archive = place.state_dir.join("busybox.tar");
    image::write(&archive);
    let daemon = Daemon::start(&place).await;
    let containerd = node::containerd(&place, &archive).await;
    assert!(!containerd.adopted());
    let client = containerd.client();
    node::wait_network_ready(&client).await;

    let (a, a_ip) = node::sandbox(&place, &client, "a").await;
    let (b, b_ip) = node::sandbox(&place, &client, "b").await;
    assert_eq!((a_ip.as_str(), b_ip.as_str()), ("10.99.0.1", "10.99.0.2"));
    assert_eq!(*daemon.recorder.log.lock().unwrap(), ["attached 10.99.0.1", "attached 10.99.0.2"]);
    let server = "echo from-a > /index.html; exec httpd -f -p 8080 -h /";
    node::container(&place, &client, (&a, "a"), &["sh", "-c", server]).await;
    let in_b = node::container(&place, &client, (&b, "b"), &["sleep", "1000000"]).await;
    let fetch = format!("http://{a_ip}:8080/index.html");
    traffic(&client, &in_b, &fetch, &a_ip).await;
    let (code, output) = node::exec(&client, &in_b, &["ip", "-o", "addr"]).await;
    for address in ["127.0.0.1/8", "10.99.0.2/32", "fd00:99::2/128"] {
        assert!(code == 0 && output.contains(address), "{output}");
    }
    assert!(!output.contains("fe80:"), "an address that the pod made up: {output}");

    let containerd = restarts(&place, &archive, containerd, &a).await;
    drop(daemon);
    let daemon = Daemon::start(&place).await;
    assert_eq!(daemon.network.attachments().await.len(), 2);
    assert_eq!(daemon.recorder.log.lock().unwrap().len(), 2);
    traffic(&client, &in_b, &fetch, &a_ip).await;

    node::remove_sandbox(&client, &a).await;
    assert_eq!(daemon.network.attachments().await.len(), 1);
    assert_eq!(host_links(), 1);
    let (_, c_ip) = node::sandbox(&place, &client, "c").await;
    assert_eq!(c_ip, "10.99.0.3", "an address just released comes last");

    leftovers(&place, daemon).await;
    let cgroups = Cgroups::detect().unwrap();
    assert!(!cgroups.processes(&place.cgroup).is_empty());
    containerd.stop().await.unwrap();
    assert_eq!(cgroups.processes(&place.cgroup), Vec::<i32>::new());
    wait_until("the pods' links to go with their namespaces", Duration::from_secs(10), || Ok(host_links() == 0))
        .unwrap();
    skep_cri::clean(&place.state_dir, &place.cgroup).unwrap();
    assert!(!cgroups.unified().dir(&place.cgroup).exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(place.state_dir.to_str().unwrap()), "{mounts}");
}

/// Pod to pod, and node to pod.
async fn traffic(client: &skep_cri::Client, from: &str, url: &str, address: &str) {
    let mut answer = (1, String::new());
    for _ in 0..100 {
        answer = node::exec(client, from, &["wget", "-q", "-O", "-", url]).await;
        if answer.0 == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(answer, (0, "from-a\n".to_owned()));
    let mut stream = TcpStream::connect((address, 8080)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("from-a\n"), "{text}");
}

/// A killed containerd comes back by itself; one left running is adopted. Sandboxes stay through both.
async fn restarts(place: &Place, archive: &std::path::Path, containerd: Containerd, sandbox: &str) -> Containerd {
    let killed = containerd.pid();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(killed), nix::sys::signal::Signal::SIGKILL).unwrap();
    let client = containerd.client();
    let ready = skep_cri::v1::PodSandboxState::SandboxReady;
    for _ in 0..500 {
        let status = node::sandbox_status(&client, sandbox).await;
        if containerd.pid() != killed && status.is_ok_and(|status| status.state() == ready) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let living = containerd.pid();
    assert_ne!(living, killed);
    containerd.release();
    let adopted = node::containerd(place, archive).await;
    assert!(adopted.adopted());
    assert_eq!(adopted.pid(), living);
    assert_eq!(node::sandbox_status(&client, sandbox).await.unwrap().state(), ready);
    adopted
}

/// An interface that nobody holds a lease of goes at the next start, and so does what GC does not name.
async fn leftovers(place: &Place, daemon: Daemon) {
    ip(&["link", "add", "skp0stale", "type", "veth", "peer", "name", "stale1"]);
    assert_eq!(host_links(), 3);
    drop(daemon);
    let daemon = Daemon::start(place).await;
    assert_eq!(host_links(), 2);
    let keep = daemon.network.attachments().await.remove(0);
    let valid = serde_json::json!([{ "containerID": keep.container_id, "ifname": keep.ifname }]);
    let config = serde_json::json!({ "cniVersion": "1.1.0", "cni.dev/valid-attachments": valid }).to_string();
    let gc = CniRequest { command: "GC".to_owned(), config: config.into_bytes(), ..CniRequest::default() };
    assert_eq!(skep_network::handle_cni(&daemon.network, &gc).await.unwrap(), "");
    assert_eq!(daemon.network.attachments().await, std::slice::from_ref(&keep));
    assert_eq!(host_links(), 1);

    let config = serde_json::json!({ "cniVersion": "1.1.0", "prevResult": { "ips": [{ "address": "10.99.0.9/32" }] } });
    let mut check = CniRequest {
        command: "CHECK".to_owned(),
        container_id: keep.container_id.clone(),
        netns: keep.netns.clone(),
        ifname: keep.ifname.clone(),
        config: config.to_string().into_bytes(),
        ..CniRequest::default()
    };
    assert_eq!(skep_network::handle_cni(&daemon.network, &check).await.unwrap_err().code, 101);
    check.config = br#"{"cniVersion":"1.1.0"}"#.to_vec();
    skep_network::handle_cni(&daemon.network, &check).await.unwrap();
    let (netns, address) = (format!("--net={}", keep.netns.display()), keep.addresses[0].to_string());
    let delete = ["ip", "addr", "del", &format!("{address}/32"), "dev", &keep.ifname];
    assert!(std::process::Command::new("nsenter").arg(netns).args(delete).status().unwrap().success());
    let error = skep_network::handle_cni(&daemon.network, &check).await.unwrap_err();
    assert!(error.code == 101 && error.details.contains(&address), "{error}");
    ip(&["link", "del", &keep.host_ifname]);
    assert_eq!(skep_network::handle_cni(&daemon.network, &check).await.unwrap_err().code, 101);
    daemon.network.remove_all().await.unwrap();
    assert!(daemon.network.attachments().await.is_empty());
}

/// What cannot be done is answered with the specification's codes, and leaves nothing.
async fn errors_are_cni_errors() {
    let place = Place::new();
    let daemon = Daemon::start(&place).await;
    let call = |command: &str, netns: &str, config: &str| CniRequest {
        command: command.to_owned(),
        container_id: "x".to_owned(),
        netns: netns.into(),
        ifname: "eth0".to_owned(),
        config: config.as_bytes().to_vec(),
        ..CniRequest::default()
    };
    let current = r#"{"cniVersion":"1.0.0"}"#;
    for (request, code) in [
        (call("ADD", "/run/netns/none-such", current), 5),
        (call("ADD", "", current), 4),
        (call("FLY", "/run/netns/x", current), 4),
        (call("ADD", "/run/netns/x", r#"{"cniVersion":"9.0.0"}"#), 1),
        (call("GC", "", current), 7),
        (call("CHECK", "/run/netns/x", current), 101),
    ] {
        let error = skep_network::handle_cni(&daemon.network, &request).await.unwrap_err();
        assert_eq!(error.code, code, "{error}");
    }
    assert_eq!(skep_network::handle_cni(&daemon.network, &call("DEL", "", current)).await.unwrap(), "");
    assert_eq!(skep_network::handle_cni(&daemon.network, &call("STATUS", "", current)).await.unwrap(), "");
    assert!(daemon.network.attachments().await.is_empty());
}

fn ip(args: &[&str]) {
    assert!(std::process::Command::new("ip").args(args).status().unwrap().success());
}

/// How many interfaces lead to pods.
fn host_links() -> usize {
    let output = std::process::Command::new("ip").args(["-o", "link"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().filter(|line| line.contains(": skp")).count()
}
