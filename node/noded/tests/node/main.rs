//! A whole node on the real kernel, against an API of two objects: up, a Service dispatched, left and adopted, down, cleaned.
//! Needs root, containerd and busybox-static.
#![allow(clippy::unwrap_used)]

mod api;
#[path = "../../../network/tests/pods/image.rs"]
mod image;
mod pod;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use skep_cri::{Cgroups, Client};
use skep_noded::Options;
use skep_observe::v1;
use skep_testkit::Netns;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const NODE_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 5);

fn main() -> ExitCode {
    let argv0 = std::env::args_os().next().unwrap_or_default();
    if skep_network::is_plugin(&argv0) {
        return skep_network::plugin_main();
    }
    let journey = Trial::test("journey", || missing().map_or_else(in_netns, |missing| Err(missing.into())));
    // A machine that cannot run it skips it, but for CI's.
    let skipped = missing().is_some() && std::env::var_os("CI").is_none();
    libtest_mimic::run(&Arguments::from_args(), vec![journey.with_ignored_flag(skipped)]).exit_code()
}

fn missing() -> Option<&'static str> {
    let there = |path: &str| Path::new(path).exists();
    let all = nix::unistd::geteuid().is_root() && there("/usr/bin/containerd") && there("/bin/busybox");
    (!all).then_some("it needs root, containerd, runc and busybox-static")
}

fn in_netns() -> Result<(), Failed> {
    let netns = Netns::create(&format!("skep-test-node-{}", std::process::id()))?;
    netns.ip(&["addr", "add", &format!("{NODE_IP}/32"), "dev", "lo"])?;
    let place = Place::new();
    netns.enter(|| {
        // Threads inherit the namespace.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(journey(&place));
        Ok(())
    })?
}

/// A node's name and directory. What a failed test left is removed on drop.
struct Place {
    dir: tempfile::TempDir,
    name: String,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("skep").tempdir().unwrap();
        Place { dir, name: format!("test-node-{}", std::process::id()) }
    }

    fn options(&self, teardown: bool) -> Options {
        let archive = self.dir.path().join("busybox.tar");
        if !archive.exists() {
            image::write(&archive);
        }
        Options {
            name: self.name.clone(),
            state_dir: self.dir.path().to_owned(),
            node_ips: vec![NODE_IP.into()],
            images: vec![archive],
            sandbox_image: image::IMAGE.to_owned(),
            pod_cidrs: vec!["10.42.0.0/24".parse().unwrap()],
            kubelet_port: 0,
            teardown,
            ..Options::default()
        }
    }

    fn cgroup(&self) -> String {
        format!("/skep-{}", self.name)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("run/skep.sock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A node that failed half way leaves its process, which is this one, in its cgroup.
        let _ = Cgroups::detect().and_then(|cgroups| cgroups.join_unified("/", 0));
        if let Err(error) = skep_noded::clean(self.dir.path(), &self.name) {
            eprintln!("left behind: {error:#}");
        }
    }
}

/// A running node.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn start(place: &Place, teardown: bool) -> Self {
        let stop = CancellationToken::new();
        let client = api::client(CLUSTER_IP, Ipv4Addr::new(10, 42, 0, 1));
        let resolver = Arc::new(rustls::server::ResolvesServerCertUsingSni::new());
        let tls = rustls::ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
        let mut task = tokio::spawn(skep_noded::run(place.options(teardown), client, Arc::new(tls), stop.clone()));
        for _ in 0..1500 {
            if place.dir.path().join("cni/net.d/10-skep.conflist").exists() && services(place).await.len() == 1 {
                return Running { stop, task };
            }
            let nap = tokio::time::timeout(Duration::from_millis(20), &mut task).await;
            assert!(nap.is_err(), "the node ended: {nap:?}");
        }
        panic!("the node does not come up");
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

async fn services(place: &Place) -> Vec<v1::Service> {
    let Ok(mut client) = skep_observe::connect(&place.socket()).await else { return Vec::new() };
    let answer = client.list_services(v1::ListServicesRequest {}).await;
    answer.map(|answer| answer.into_inner().services).unwrap_or_default()
}

async fn journey(place: &Place) {
    let node = Running::start(place, false).await;
    let refused = skep_noded::clean(place.dir.path(), &place.name).unwrap_err().to_string();
    assert!(refused.contains("is running"), "{refused}");
    let cri = Client::connect(&place.dir.path().join("run/containerd.sock")).unwrap();
    let server = "echo from-a > /index.html; exec httpd -f -p 8080 -h /";
    let a = pod::run(&cri, &place.cgroup(), "a", &["sh", "-c", server]).await;
    assert_eq!(a.address, "10.42.0.1");
    let b = pod::run(&cri, &place.cgroup(), "b", &["sleep", "1000000"]).await;
    dispatched(&cri, &b).await;
    shown(place).await;

    // A daemon that leaves takes nothing with it, and the next one finds everything in use.
    node.stop().await;
    assert!(!place.socket().exists());
    dispatched(&cri, &b).await;
    let node = Running::start(place, true).await;
    dispatched(&cri, &b).await;
    shown(place).await;

    node.stop().await;
    let cgroups = Cgroups::detect().unwrap();
    for hierarchy in cgroups.hierarchies() {
        let dir = hierarchy.dir(&place.cgroup());
        assert!(!dir.exists(), "{} is left", dir.display());
    }
    assert!(!skep_bpf::pin_dir(&place.name).exists());
    let links = std::process::Command::new("ip").args(["-o", "link"]).output().unwrap();
    let links = String::from_utf8(links.stdout).unwrap();
    assert_eq!(links.lines().count(), 1, "{links}");
    assert_eq!(pod::containers_of(place.dir.path()), 0);
}

/// From a pod and from the node itself, through the Service's address.
async fn dispatched(cri: &Client, from: &pod::Pod) {
    let url = format!("http://{CLUSTER_IP}/index.html");
    let mut answer = (1, String::new());
    for _ in 0..100 {
        answer = pod::exec(cri, from, &["wget", "-q", "-O", "-", &url]).await;
        if answer.0 == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(answer, (0, "from-a\n".to_owned()));
    let mut stream = TcpStream::connect((CLUSTER_IP, 80)).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), (CLUSTER_IP, 80).into());
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("from-a\n"), "{text}");
}

/// What an engineer sees.
async fn shown(place: &Place) {
    let mut client = skep_observe::connect(&place.socket()).await.unwrap();
    let services = services(place).await;
    assert_eq!((services[0].name.as_str(), services[0].active), ("default/web:http", 1));
    assert_eq!(
        (services[0].backends[0].address.as_str(), services[0].backends[0].pod.as_str()),
        ("10.42.0.1", "test/a")
    );
    let endpoints = client.list_endpoints(v1::ListEndpointsRequest {}).await.unwrap().into_inner().endpoints;
    assert_eq!(endpoints.len(), 2);
    assert!(endpoints.iter().all(|one| one.link.starts_with("skp")), "{endpoints:?}");
    let programs = client.list_programs(v1::ListProgramsRequest {}).await.unwrap().into_inner().programs;
    let attached: Vec<&str> = programs.iter().map(|one| one.attached.as_str()).collect();
    assert!(attached.contains(&format!("cgroup connect4 {}", place.cgroup()).as_str()), "{attached:?}");
    assert_eq!(attached.iter().filter(|one| one.starts_with("tcx ingress skp")).count(), 2, "{attached:?}");
    let status = client.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.services, status.endpoints), (1, 2));
    assert!(!client.list_maps(v1::ListMapsRequest {}).await.unwrap().into_inner().maps.is_empty());
}
