//! One node, from nothing to serving and back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use skep_bpf::Datapath;
use skep_cri::{Cgroups, Client, Containerd, v1};
use skep_network::{Install, Network};
use skep_observe::{InspectService, Timing};

use crate::Options;
use crate::endpoints::PodLinks;
use crate::policy::Policing;
use crate::routing;
use crate::socket::Socket;
use crate::tables::KernelTables;

/// What containers get between SIGTERM and SIGKILL when the whole node goes.
const CONTAINER_GRACE_S: i64 = 2;
const SANDBOXES_AT_ONCE: usize = 8;
const SANDBOXES_TIMEOUT: Duration = Duration::from_secs(30);
const DATAPATH_TIMEOUT: Duration = Duration::from_secs(5);
const DATAPATH_INTERVAL: Duration = Duration::from_millis(10);

/// The parts that run, in the order in which they were started.
pub(crate) struct Node {
    options: Options,
    cgroups: Cgroups,
    /// The cgroup that the process was started in, to go back to.
    home: String,
    pub(crate) programming: Arc<Timing>,
    pub(crate) policy_timing: Arc<Timing>,
    pub(crate) datapath: Option<Arc<Datapath>>,
    pub(crate) tables: Option<Arc<KernelTables>>,
    pub(crate) policing: Option<Arc<Policing>>,
    pub(crate) network: Option<Arc<Network>>,
    socket: Option<Socket>,
    containerd: Option<Containerd>,
}

impl Node {
    pub(crate) fn new(options: Options, cgroups: Cgroups) -> Self {
        Node {
            options,
            cgroups,
            home: String::new(),
            programming: Arc::default(),
            policy_timing: Arc::default(),
            datapath: None,
            tables: None,
            policing: None,
            network: None,
            socket: None,
            containerd: None,
        }
    }

    /// Starts all parts, or adopts what an earlier daemon left of them. What was started before a failure is kept for
    /// [`Node::down`].
    ///
    /// # Errors
    /// A part does not start.
    pub(crate) async fn up(&mut self) -> Result<()> {
        let began = Instant::now();
        self.enter_cgroup()?;
        let overhead = routing::prepare(&self.options).await?;
        let datapath = Arc::new(self.open_datapath()?);
        self.datapath = Some(Arc::clone(&datapath));
        let tables = Arc::new(KernelTables::new(Arc::clone(&datapath)));
        self.tables = Some(Arc::clone(&tables));
        let policing = Arc::new(Policing::open(Arc::clone(&datapath))?);
        self.policing = Some(Arc::clone(&policing));
        let links = Arc::new(PodLinks::new(Arc::clone(&datapath), Arc::clone(&policing)));
        let network = skep_network::Options {
            pod_cidrs: self.options.pod_cidrs.clone(),
            node_ips: self.options.node_ips.clone(),
            link: self.options.link.clone(),
            lease_file: self.options.state_dir.join("cni/leases.json"),
            mtu: None,
            mtu_overhead: overhead,
            netns: None,
        };
        let network = Arc::new(Network::open(network, Arc::clone(&links) as Arc<_>).await?);
        links.retain(&network.attachments().await)?;
        self.network = Some(Arc::clone(&network));
        self.socket = Some(Socket::serve(
            &self.options.socket(),
            Some(Arc::clone(&network)),
            InspectService::new(
                &self.options.name,
                &datapath,
                Some(&network),
                [Arc::clone(&self.programming), Arc::clone(&self.policy_timing)],
                &[tables, links, policing],
            ),
        )?);
        self.start_containerd().await?;
        tracing::info!(ms = began.elapsed().as_millis(), node = self.options.name, "node is up");
        Ok(())
    }

    /// Where the runtime listens; needs [`Node::up`].
    pub(crate) fn cri_socket(&self) -> Result<std::path::PathBuf> {
        Ok(self.containerd.as_ref().context("containerd is not running")?.socket().to_owned())
    }

    fn enter_cgroup(&mut self) -> Result<()> {
        let cgroup = self.options.cgroup();
        self.home = own_cgroup()?;
        // Started from a shell of the node, or a second time by one process: that is no place to go back to.
        if self.home.starts_with(&cgroup) {
            "/".clone_into(&mut self.home);
        }
        self.cgroups.ensure(&cgroup)?;
        self.cgroups.ensure(&format!("{cgroup}/pods"))?;
        // The daemon's own connections to Services are translated as everyone's.
        self.cgroups.join_unified(&format!("{cgroup}/daemon"), 0)?;
        Ok(())
    }

    fn open_datapath(&self) -> Result<Datapath> {
        let cgroup = self.cgroups.unified().dir(&self.options.cgroup());
        let mut options = skep_bpf::Options::new(self.options.pin_dir(), cgroup);
        options.link.clone_from(&self.options.link);
        options.overlay = routing::overlay(&self.options);
        if self.options.masquerade {
            options.masquerade.addresses = self.options.node_ips.clone();
        }
        options.addresses.clone_from(&self.options.node_ips);
        let datapath = Datapath::open(&options).context("start the datapath")?;
        datapath.set_node_addresses(&self.options.known_addresses())?;
        Ok(datapath)
    }

    async fn start_containerd(&mut self) -> Result<()> {
        let Options { state_dir, sandbox_image, images, .. } = &self.options;
        let options = skep_cri::Options::new(state_dir, &self.options.cgroup(), sandbox_image);
        let install = self.install(&options);
        let program = std::env::current_exe().context("find the path of this program")?;
        // An upgrade may have put another binary there since this one started.
        let program = if program.exists() { program } else { "/proc/self/exe".into() };
        install.install_plugins(&program).context("install the CNI plugin")?;
        let containerd = Containerd::start(options).await?;
        let containerd = self.containerd.insert(containerd);
        for image in images {
            let names = containerd.import_image(image).await?;
            tracing::info!(?names, archive = ?image, "images imported");
        }
        install.publish().context("publish the CNI configuration")
    }

    fn install(&self, containerd: &skep_cri::Options) -> Install {
        Install {
            bin_dir: containerd.cni_bin_dir.clone(),
            conf_dir: containerd.cni_conf_dir.clone(),
            socket: self.options.socket(),
        }
    }

    /// Ends the daemon's part of everything, and leaves pods, their network and containerd running.
    pub(crate) async fn leave(&mut self) {
        if let Some(socket) = self.socket.take() {
            socket.close().await;
        }
        if let Some(containerd) = self.containerd.take() {
            containerd.release();
        }
    }

    /// Takes everything down, in the order that lets each part still use those below it.
    ///
    /// # Errors
    /// The first failure; the rest is taken down all the same.
    pub(crate) async fn down(&mut self) -> Result<()> {
        let mut outcome = Ok(());
        let cgroup = self.options.cgroup();
        let options = skep_cri::Options::new(&self.options.state_dir, &cgroup, &self.options.sandbox_image);
        let containerd = self.containerd.take();
        // Interrupted at its start: it may run, and what an earlier one ran with it.
        let unknown = containerd.is_none();
        if let Some(containerd) = containerd {
            keep_first(&mut outcome, stop_sandboxes(&containerd.client()).await);
            keep_first(&mut outcome, containerd.stop().await.context("stop containerd"));
        }
        // Not before the pods end: containerd needs it to give back their network.
        keep_first(&mut outcome, self.install(&options).withdraw().context("withdraw the CNI configuration"));
        if let Some(network) = self.network.take() {
            keep_first(&mut outcome, network.remove_all().await.context("remove pods' interfaces"));
            keep_first(&mut outcome, routing::undo(&network).await);
        }
        if let Some(socket) = self.socket.take() {
            socket.close().await;
        }
        (self.tables, self.policing) = (None, None);
        keep_first(&mut outcome, self.detach_datapath().await);
        let home = std::mem::take(&mut self.home);
        keep_first(&mut outcome, self.cgroups.join_unified(&home, 0).context("leave the node's cgroup"));
        if unknown {
            let state_dir = &self.options.state_dir;
            keep_first(&mut outcome, skep_cri::end(state_dir, &cgroup).context("end a containerd that was starting"));
        }
        keep_first(&mut outcome, self.cgroups.kill(&cgroup).context("end what is left in the node's cgroup"));
        keep_first(&mut outcome, self.cgroups.remove(&cgroup).context("remove the node's cgroup"));
        outcome
    }

    async fn detach_datapath(&mut self) -> Result<()> {
        let Some(datapath) = self.datapath.take() else { return Ok(()) };
        // A last connection may still hold it for a moment, and with it the lock that shows it in use.
        let held = Arc::downgrade(&datapath);
        drop(datapath);
        let began = Instant::now();
        while held.strong_count() > 0 {
            if began.elapsed() > DATAPATH_TIMEOUT {
                bail!("the datapath is still in use");
            }
            tokio::time::sleep(DATAPATH_INTERVAL).await;
        }
        skep_bpf::detach_all(&self.options.pin_dir()).context("detach the datapath")
    }
}

fn keep_first(outcome: &mut Result<()>, next: Result<()>) {
    match (outcome.is_ok(), next) {
        (true, next) => *outcome = next,
        (false, Err(error)) => tracing::warn!(error = format!("{error:#}"), "and besides"),
        (false, Ok(())) => {}
    }
}

/// The caller's cgroup2, from the root of the hierarchy.
fn own_cgroup() -> Result<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
    let own =
        text.lines().find_map(|line| line.strip_prefix("0::")).context("/proc/self/cgroup has no line of cgroup2")?;
    Ok(own.to_owned())
}

/// SIGTERM to every container, and the end of every sandbox, so that each gives back its network.
async fn stop_sandboxes(client: &Client) -> Result<()> {
    let stop = async {
        let containers = client.list_containers(v1::ListContainersRequest::default()).await?.containers;
        let containers = futures::stream::iter(containers).map(|container| async move {
            let request = v1::StopContainerRequest { container_id: container.id, timeout: CONTAINER_GRACE_S };
            client.stop_container(request).await
        });
        // One that does not stop ends with its sandbox.
        containers.buffer_unordered(SANDBOXES_AT_ONCE).for_each(|_| std::future::ready(())).await;
        let sandboxes = client.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?.items;
        let sandboxes = futures::stream::iter(sandboxes).map(|sandbox| async move {
            let pod_sandbox_id = sandbox.id;
            client.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() }).await?;
            client.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id }).await
        });
        let mut ends = std::pin::pin!(sandboxes.buffer_unordered(SANDBOXES_AT_ONCE));
        let mut outcome = Ok(());
        while let Some(ended) = ends.next().await {
            outcome = outcome.and(ended.map(|_| ()));
        }
        outcome
    };
    let stopped = tokio::time::timeout(SANDBOXES_TIMEOUT, stop).await.context("pods do not end in time")?;
    stopped.context("stop pods")
}
