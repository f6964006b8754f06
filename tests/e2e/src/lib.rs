//! What the end-to-end tests share: a cluster of what `./x test` built.

mod disk;
mod lines;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use skep_testkit::cluster::{Cluster, Parts, remove};
use skep_testkit::fleet::{self, Fleet};
use skep_testkit::wait_until;

pub use disk::Disk;
pub use lines::Lines;

/// How long anything in a cluster may take before its test fails.
pub const WITHIN: Duration = Duration::from_secs(60);

/// One cluster at a time: nodes are namespaces of one machine with few cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Waits for its turn among the tests that start clusters.
pub fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A cluster for one test. It goes when the test ends, however it ends.
pub struct TestCluster {
    /// The cluster.
    pub cluster: Cluster,
    _state: State,
    _turn: MutexGuard<'static, ()>,
}

/// What a cluster leaves on disk. Goes after the cluster itself.
struct State {
    name: String,
    skep: PathBuf,
}

impl Drop for State {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name, &self.skep) {
            eprintln!("state of cluster {} left behind: {error:#}", self.name);
        }
    }
}

impl TestCluster {
    /// Waits for its turn and starts a cluster named after the test.
    ///
    /// # Errors
    /// The binaries are not named in the environment (`./x test` does it), or the cluster does not start.
    pub fn start(name: &str) -> Result<TestCluster> {
        let turn = turn();
        let parts = parts()?;
        let state = State { name: name.to_owned(), skep: parts.skep.clone() };
        let cluster = Cluster::start(name, &parts, ([127, 0, 0, 1], 0).into())?;
        Ok(TestCluster { cluster, _state: state, _turn: turn })
    }

    /// Applies a manifest given as text.
    ///
    /// # Errors
    /// What kubectl wrote to standard error.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.with_file("apply", manifest, &[])
    }

    /// `kubectl VERB -f FILE …` with the manifest in a file.
    ///
    /// # Errors
    /// What kubectl wrote to standard error.
    pub fn with_file(&self, verb: &str, manifest: &str, more: &[&str]) -> Result<String> {
        let file = std::env::temp_dir().join(format!("skep-e2e-{}-{verb}.yaml", std::process::id()));
        std::fs::write(&file, manifest)?;
        let path = file.to_string_lossy();
        let result = self.cluster.kubectl(&[&[verb, "-f", path.as_ref()], more].concat());
        std::fs::remove_file(&file)?;
        result
    }

    /// Waits until something holds.
    ///
    /// # Errors
    /// It does not within [`WITHIN`].
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
        wait_until(what, WITHIN, || Ok(holds()))
    }

    /// Waits until `kubectl get …` prints what `holds` accepts.
    ///
    /// # Errors
    /// It does not within [`WITHIN`]; with what was printed last.
    pub fn wait_for(&self, get: &[&str], holds: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        let outcome = wait_until(&format!("kubectl get {}", get.join(" ")), WITHIN, || {
            last = self.cluster.kubectl(&[&["get"], get].concat()).unwrap_or_else(|error| format!("{error:#}"));
            Ok(holds(&last))
        });
        outcome.with_context(|| format!("it printed: {last}")).map(|()| last)
    }
}

/// A cluster of many nodes for one test. It goes when the test ends, however it ends.
pub struct TestFleet {
    /// The cluster.
    pub fleet: Fleet,
    _turn: MutexGuard<'static, ()>,
}

impl TestFleet {
    /// Waits for its turn and starts a cluster named after the test.
    ///
    /// # Errors
    /// As for [`TestCluster::start`].
    pub fn start(name: &str, options: fleet::Options) -> Result<TestFleet> {
        let turn = turn();
        let fleet = Fleet::start(name, &parts()?, options)?;
        Ok(TestFleet { fleet, _turn: turn })
    }

    /// Applies a manifest given as text.
    ///
    /// # Errors
    /// What kubectl wrote to standard error.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        let mut command = self.fleet.kubectl_command(&["apply", "-f", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("kubectl has no input")?.write_all(manifest.as_bytes())?;
        let output = child.wait_with_output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Waits until what `kubectl get …` prints holds, and returns it.
    ///
    /// # Errors
    /// It does not within [`WITHIN`]; with what was printed last.
    pub fn wait_for(&self, get: &[&str], holds: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        let outcome = wait_until(&format!("kubectl get {}", get.join(" ")), WITHIN, || {
            last = self.fleet.kubectl(&[&["get"], get].concat()).unwrap_or_else(|error| format!("{error:#}"));
            Ok(holds(&last))
        });
        outcome.with_context(|| format!("it printed: {last}")).map(|()| last)
    }
}

/// The binary that the tests run.
///
/// # Errors
/// It is not named in the environment.
pub fn skep() -> Result<PathBuf> {
    path("SKEP_BIN")
}

/// The kubectl that the tests run.
///
/// # Errors
/// It is not named in the environment.
pub fn kubectl() -> Result<PathBuf> {
    path("SKEP_KUBECTL")
}

fn path(name: &str) -> Result<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).with_context(|| format!("{name} is not set: run ./x test"))
}

fn parts() -> Result<Parts> {
    let mut images = Vec::new();
    for entry in std::fs::read_dir(path("SKEP_IMAGES")?).context("read the folder of images")? {
        images.push(entry?.path());
    }
    images.retain(|path| path.extension().is_some_and(|extension| extension == "tar"));
    images.sort();
    Ok(Parts { skep: skep()?, kubectl: kubectl()?, images })
}
