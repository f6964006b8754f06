//! A node without a cluster: a namespace, a containerd, and the network under test.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use skep_cri::{Client, Containerd, v1};
use skep_network::{Attachment, CniService, Endpoints, Install, Network, Options};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;

use crate::image::IMAGE;

pub(crate) const NODE_IP: &str = "192.0.2.1";

/// Notes what the datapath would be told.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) log: Mutex<Vec<String>>,
}

impl Endpoints for Recorder {
    fn attached(&self, attachment: &Attachment) -> anyhow::Result<()> {
        self.log.lock().unwrap().push(format!("attached {}", attachment.addresses[0]));
        Ok(())
    }

    fn detached(&self, attachment: &Attachment) -> anyhow::Result<()> {
        self.log.lock().unwrap().push(format!("detached {}", attachment.addresses[0]));
        Ok(())
    }
}

/// Directories and names of one node under test. Whatever it left is removed on drop.
pub(crate) struct Place {
    pub(crate) state_dir: PathBuf,
    pub(crate) cgroup: String,
    _dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("skep").tempdir().unwrap();
        let cgroup = format!("/skep-test-network-{}", std::process::id());
        Place { state_dir: dir.path().to_owned(), cgroup, _dir: dir }
    }

    pub(crate) fn containerd(&self) -> skep_cri::Options {
        skep_cri::Options::new(&self.state_dir, &self.cgroup, IMAGE)
    }

    pub(crate) fn install(&self) -> Install {
        let containerd = self.containerd();
        let socket = self.state_dir.join("run/skep.sock");
        Install { bin_dir: containerd.cni_bin_dir, conf_dir: containerd.cni_conf_dir, socket }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = skep_cri::clean(&self.state_dir, &self.cgroup) {
            eprintln!("left behind: {error:?}");
        }
    }
}

/// What a daemon would hold; dropped, it is as if the daemon was killed.
pub(crate) struct Daemon {
    pub(crate) network: Arc<Network>,
    pub(crate) recorder: Arc<Recorder>,
    server: tokio::task::JoinHandle<()>,
}

impl Daemon {
    pub(crate) async fn start(place: &Place) -> Self {
        let recorder = Arc::new(Recorder::default());
        let options = Options {
            pod_cidrs: vec!["10.99.0.0/28".parse().unwrap(), "fd00:99::/64".parse().unwrap()],
            node_ips: vec![NODE_IP.parse().unwrap()],
            link: None,
            lease_file: place.state_dir.join("cni/leases.json"),
            mtu: None,
            mtu_overhead: 0,
            netns: None,
        };
        let network = Arc::new(Network::open(options, recorder.clone()).await.unwrap());
        let install = place.install();
        install.install_plugins(&std::env::current_exe().unwrap()).unwrap();
        std::fs::create_dir_all(install.socket.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&install.socket);
        let listener = UnixListenerStream::new(UnixListener::bind(&install.socket).unwrap());
        let service = CniService::new(Arc::clone(&network));
        let server = tokio::spawn(async move {
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(listener).await.unwrap();
        });
        install.publish().unwrap();
        Daemon { network, recorder, server }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Starts containerd with the image in it, and waits until its network is ready.
pub(crate) async fn containerd(place: &Place, archive: &Path) -> Containerd {
    let containerd = Containerd::start(place.containerd()).await.unwrap();
    if !containerd.list_images().await.unwrap().iter().any(|name| name == IMAGE) {
        assert_eq!(containerd.import_image(archive).await.unwrap(), [IMAGE]);
    }
    containerd
}

pub(crate) async fn wait_network_ready(client: &Client) {
    for _ in 0..500 {
        let status = client.status(v1::StatusRequest::default()).await.unwrap().status.unwrap();
        if status.conditions.iter().all(|condition| condition.status) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the runtime's network is not ready");
}

pub(crate) fn sandbox_config(place: &Place, name: &str) -> v1::PodSandboxConfig {
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            namespace: "test".to_owned(),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        log_directory: place.state_dir.join("logs").to_string_lossy().into_owned(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: format!("{}/pods/pod{name}", place.cgroup),
            ..v1::LinuxPodSandboxConfig::default()
        }),
        ..v1::PodSandboxConfig::default()
    }
}

/// A running sandbox and its address.
pub(crate) async fn sandbox(place: &Place, client: &Client, name: &str) -> (String, String) {
    let request =
        v1::RunPodSandboxRequest { config: Some(sandbox_config(place, name)), ..v1::RunPodSandboxRequest::default() };
    let id = client.run_pod_sandbox(request).await.unwrap().pod_sandbox_id;
    let status = sandbox_status(client, &id).await.unwrap();
    (id, status.network.unwrap().ip)
}

pub(crate) async fn sandbox_status(client: &Client, id: &str) -> Result<v1::PodSandboxStatus, skep_cri::Error> {
    let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
    Ok(client.pod_sandbox_status(request).await?.status.unwrap())
}

/// A running container in that sandbox.
pub(crate) async fn container(place: &Place, client: &Client, sandbox: (&str, &str), command: &[&str]) -> String {
    let (id, name) = sandbox;
    let config = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "main".to_owned(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: IMAGE.to_owned(), ..v1::ImageSpec::default() }),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        log_path: "main.log".to_owned(),
        linux: Some(v1::LinuxContainerConfig::default()),
        ..v1::ContainerConfig::default()
    };
    let request = v1::CreateContainerRequest {
        pod_sandbox_id: id.to_owned(),
        config: Some(config),
        sandbox_config: Some(sandbox_config(place, name)),
    };
    let container_id = client.create_container(request).await.unwrap().container_id;
    client.start_container(v1::StartContainerRequest { container_id: container_id.clone() }).await.unwrap();
    container_id
}

pub(crate) async fn exec(client: &Client, container_id: &str, command: &[&str]) -> (i32, String) {
    let cmd = command.iter().map(|word| (*word).to_owned()).collect();
    let request = v1::ExecSyncRequest { container_id: container_id.to_owned(), cmd, timeout: 20 };
    let answer = client.exec_sync(request).await.unwrap();
    (answer.exit_code, String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned())
}

pub(crate) async fn remove_sandbox(client: &Client, id: &str) {
    let pod_sandbox_id = id.to_owned();
    client.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() }).await.unwrap();
    // Told twice, as a restarted node agent may.
    client.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() }).await.unwrap();
    client.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id }).await.unwrap();
}
