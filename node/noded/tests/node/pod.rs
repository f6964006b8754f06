//! Pods by CRI alone.

use std::path::Path;

use skep_cri::{Client, v1};

use crate::image::IMAGE;

pub(crate) struct Pod {
    pub(crate) address: String,
    container_id: String,
}

/// A sandbox and one container in it, running.
pub(crate) async fn run(cri: &Client, cgroup: &str, name: &str, command: &[&str]) -> Pod {
    let metadata = v1::PodSandboxMetadata {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        namespace: "test".to_owned(),
        attempt: 0,
    };
    let linux = v1::LinuxPodSandboxConfig {
        cgroup_parent: format!("{cgroup}/pods/pod{name}"),
        ..v1::LinuxPodSandboxConfig::default()
    };
    let sandbox =
        v1::PodSandboxConfig { metadata: Some(metadata), linux: Some(linux), ..v1::PodSandboxConfig::default() };
    let request = v1::RunPodSandboxRequest { config: Some(sandbox.clone()), ..v1::RunPodSandboxRequest::default() };
    let id = cri.run_pod_sandbox(request).await.unwrap().pod_sandbox_id;
    let status = v1::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
    let status = cri.pod_sandbox_status(status).await.unwrap().status.unwrap();
    let config = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "main".to_owned(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: IMAGE.to_owned(), ..v1::ImageSpec::default() }),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        linux: Some(v1::LinuxContainerConfig::default()),
        ..v1::ContainerConfig::default()
    };
    let request =
        v1::CreateContainerRequest { pod_sandbox_id: id, config: Some(config), sandbox_config: Some(sandbox) };
    let container_id = cri.create_container(request).await.unwrap().container_id;
    cri.start_container(v1::StartContainerRequest { container_id: container_id.clone() }).await.unwrap();
    Pod { address: status.network.unwrap().ip, container_id }
}

pub(crate) async fn exec(cri: &Client, pod: &Pod, command: &[&str]) -> (i32, String) {
    let cmd = command.iter().map(|word| (*word).to_owned()).collect();
    let request = v1::ExecSyncRequest { container_id: pod.container_id.clone(), cmd, timeout: 20 };
    let answer = cri.exec_sync(request).await.unwrap();
    (answer.exit_code, String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned())
}

/// How many containers have something mounted below `state_dir`.
pub(crate) fn containers_of(state_dir: &Path) -> usize {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.contains(state_dir.to_str().unwrap())).count()
}
