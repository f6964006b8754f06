//! A containerd of the node's own: started, adopted, watched over, ended.

mod config;
mod images;
mod launch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use self::launch::Launch;
use crate::cgroup::{CgroupError, Cgroups};
use crate::client::{self, Client};
use crate::process::Process;
use crate::v1;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const READY_INTERVAL: Duration = Duration::from_millis(50);
const STOP_GRACE: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// One that ran this long starts afresh with the shortest backoff.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// Where containerd lives and what it may use.
#[derive(Debug, Clone)]
pub struct Options {
    /// The node's directory: `containerd/` and `run/containerd.sock` are made in it.
    pub state_dir: PathBuf,
    /// The node's cgroup from the root of each hierarchy, like `/skep-NAME`.
    pub cgroup: String,
    /// Where CNI plugins are looked for.
    pub cni_bin_dir: PathBuf,
    /// Where CNI configuration is looked for.
    pub cni_conf_dir: PathBuf,
    /// The image of the container that holds a pod's namespaces.
    pub sandbox_image: String,
    /// The snapshotter, usually `overlayfs`.
    pub snapshotter: String,
}

impl Options {
    /// The usual settings for a node whose state is in `state_dir`.
    #[must_use]
    pub fn new(state_dir: &Path, cgroup: &str, sandbox_image: &str) -> Self {
        Options {
            state_dir: state_dir.to_owned(),
            cgroup: cgroup.to_owned(),
            cni_bin_dir: state_dir.join("cni/bin"),
            cni_conf_dir: state_dir.join("cni/net.d"),
            sandbox_image: sandbox_image.to_owned(),
            snapshotter: "overlayfs".to_owned(),
        }
    }

    /// Where the CRI of this containerd listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.state_dir.join("run/containerd.sock")
    }
}

/// Why there is no containerd.
#[derive(Debug, thiserror::Error)]
pub enum ContainerdError {
    /// A program is not installed.
    #[error("{program} is not installed: apt-get install containerd runc")]
    Missing {
        /// Its name.
        program: &'static str,
    },
    /// The state directory's path is too long.
    #[error("{path:?} is longer than a unix socket's path may be: choose a shorter state directory")]
    SocketPath {
        /// The socket's path.
        path: PathBuf,
    },
    /// A file could not be used.
    #[error("containerd's {path:?}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// The program did not start, or a signal did not reach it.
    #[error("containerd's process")]
    Process(#[source] std::io::Error),
    /// It started and did not come to answer.
    #[error("containerd does not come up ({reason}); its log {log:?} ends with: {tail}")]
    NotReady {
        /// What was seen instead.
        reason: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// The cgroup for it could not be made.
    #[error("containerd's cgroup")]
    Cgroup(#[from] CgroupError),
    /// An image file was not taken.
    #[error("import of image {path:?}: {reason}")]
    Import {
        /// The file.
        path: PathBuf,
        /// What `ctr` said.
        reason: String,
    },
    /// A call of CRI failed.
    #[error("containerd's CRI")]
    Cri(#[from] client::Error),
}

/// A running containerd, watched over until [`Containerd::stop`] or [`Containerd::release`]. Dropped without either, it
/// is released.
#[derive(Debug)]
pub struct Containerd {
    launch: Arc<Launch>,
    current: Arc<Mutex<Arc<Process>>>,
    client: Client,
    adopted: bool,
    supervisor: JoinHandle<()>,
}

impl Containerd {
    /// Adopts the containerd that a daemon before left under the same directory, if it lives and has these very settings;
    /// else starts one. Containers survive either way. Returns when CRI answers. The namespaces of the caller are
    /// inherited.
    ///
    /// # Errors
    /// A program is missing, a directory is not writable, or containerd does not come up.
    pub async fn start(options: Options) -> Result<Self, ContainerdError> {
        let launch = Arc::new(Launch::prepare(options)?);
        let client = Client::connect(launch.socket())?;
        let (process, adopted) = match adopt(&launch, &client).await? {
            Some(process) => (process, true),
            None => (start_and_wait(&launch, &client).await?, false),
        };
        tracing::info!(pid = process.pid(), adopted, socket = ?launch.socket(), "containerd is ready");
        let current = Arc::new(Mutex::new(Arc::new(process)));
        let supervisor = tokio::spawn(supervise(Arc::clone(&launch), Arc::clone(&current)));
        Ok(Containerd { launch, current, client, adopted, supervisor })
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where its CRI listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.launch.socket()
    }

    /// Whether a daemon before this one started it.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// The number of its process at the moment.
    #[must_use]
    pub fn pid(&self) -> i32 {
        lock(&self.current).pid()
    }

    /// Leaves it running for the next daemon.
    pub fn release(self) {
        self.supervisor.abort();
    }

    /// Ends it, its shims, and every container that is still there.
    ///
    /// # Errors
    /// Processes do not end.
    pub async fn stop(mut self) -> Result<(), ContainerdError> {
        self.supervisor.abort();
        // Awaited, so that no restart is under way when the process is looked at.
        let _ = (&mut self.supervisor).await;
        let process = Arc::clone(&lock(&self.current));
        let launch = Arc::clone(&self.launch);
        let end = move || {
            process.terminate(STOP_GRACE).map_err(ContainerdError::Process)?;
            launch.end_containers()
        };
        tokio::task::spawn_blocking(end).await.map_err(|error| ContainerdError::Process(error.into()))?
    }

    /// Imports an image archive (an OCI layout or `docker save`), and waits until CRI knows it.
    ///
    /// # Returns
    /// The names of the images in it.
    ///
    /// # Errors
    /// containerd refuses the file, or it names no image.
    pub async fn import_image(&self, path: &Path) -> Result<Vec<String>, ContainerdError> {
        images::import(&self.launch, &self.client, path).await
    }

    /// The names of the images that it has.
    ///
    /// # Errors
    /// CRI does not answer.
    pub async fn list_images(&self) -> Result<Vec<String>, ContainerdError> {
        let answer = self.client.list_images(v1::ListImagesRequest::default()).await?;
        let mut names: Vec<String> = answer.images.into_iter().flat_map(|image| image.repo_tags).collect();
        names.sort();
        Ok(names)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

fn lock(current: &Mutex<Arc<Process>>) -> std::sync::MutexGuard<'_, Arc<Process>> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The living containerd of the same settings. Another one of ours is ended first: two cannot share a directory.
async fn adopt(launch: &Arc<Launch>, client: &Client) -> Result<Option<Process>, ContainerdError> {
    let Some(process) = launch.recorded()? else { return Ok(None) };
    if launch.settings_are_current() {
        match wait_ready(launch, client, &process).await {
            Ok(()) => return Ok(Some(process)),
            Err(error) => tracing::warn!(pid = process.pid(), %error, "the containerd left behind is replaced"),
        }
    }
    tokio::task::spawn_blocking(move || process.terminate(STOP_GRACE))
        .await
        .map_err(|error| ContainerdError::Process(error.into()))?
        .map_err(ContainerdError::Process)?;
    Ok(None)
}

async fn start_and_wait(launch: &Launch, client: &Client) -> Result<Process, ContainerdError> {
    launch.write_settings()?;
    let process = launch.spawn()?;
    if let Err(error) = wait_ready(launch, client, &process).await {
        let _ = process.terminate(STOP_GRACE);
        return Err(error);
    }
    Ok(process)
}

async fn wait_ready(launch: &Launch, client: &Client, process: &Process) -> Result<(), ContainerdError> {
    let not_ready = |reason: String| ContainerdError::NotReady {
        reason,
        log: launch.log_path().to_owned(),
        tail: launch.log_tail(),
    };
    let began = Instant::now();
    loop {
        let answer = tokio::select! {
            ended = process.exited() => {
                ended.map_err(ContainerdError::Process)?;
                return Err(not_ready("it ended".to_owned()));
            }
            answer = client.version(v1::VersionRequest::default()) => answer,
        };
        match answer {
            Ok(_) => return Ok(()),
            Err(error) if began.elapsed() > READY_TIMEOUT => return Err(not_ready(error.to_string())),
            Err(_) => tokio::time::sleep(READY_INTERVAL).await,
        }
    }
}

/// Starts containerd again whenever it ends. Told nothing, it ends with its [`Containerd`].
async fn supervise(launch: Arc<Launch>, current: Arc<Mutex<Arc<Process>>>) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let process = Arc::clone(&lock(&current));
        let began = Instant::now();
        if let Err(error) = process.exited().await {
            tracing::error!(%error, "containerd cannot be watched");
            return;
        }
        tracing::warn!(pid = process.pid(), tail = launch.log_tail(), "containerd ended and is started again");
        if began.elapsed() > HEALTHY_AFTER {
            backoff = BACKOFF_MIN;
        }
        loop {
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
            match launch.spawn() {
                Ok(process) => {
                    *lock(&current) = Arc::new(process);
                    break;
                }
                Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "containerd does not start"),
            }
        }
    }
}

/// Ends the containerd recorded under `state_dir`, everything in the node's cgroup, and what they left outside of containerd's
/// own directory: mounts, sockets, namespaces, cgroup directories. For a node whose daemon is dead; the caller is spared even
/// if it is inside of the cgroup.
///
/// # Errors
/// Processes do not end, or something cannot be removed.
pub fn end(state_dir: &Path, cgroup: &str) -> Result<(), ContainerdError> {
    if let Some(process) = launch::recorded(state_dir)? {
        process.terminate(STOP_GRACE).map_err(ContainerdError::Process)?;
    }
    let cgroups = Cgroups::detect()?;
    cgroups.kill(cgroup)?;
    launch::detach_remains(state_dir)?;
    cgroups.remove(cgroup)?;
    Ok(())
}

/// As [`end`]; then containerd's directory goes as well, with all images and logs of its own.
///
/// # Errors
/// As for [`end`].
pub fn clean(state_dir: &Path, cgroup: &str) -> Result<(), ContainerdError> {
    end(state_dir, cgroup)?;
    launch::remove_dir(state_dir)
}
