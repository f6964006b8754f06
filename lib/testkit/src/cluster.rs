//! A cluster of one node on this machine: a namespace that stands for the node, one for the world outside, and `skep up`.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::mem::ManuallyDrop;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Netns, Process, Side, cgroup2_root, connect, wait_until};

/// The image that holds each pod's namespaces, among those that the demo makes.
pub(crate) const PAUSE: &str = "docker.io/library/skep-pause:1";
/// The node's address on its link.
pub const NODE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// A host outside the cluster on the same link.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const PREFIX_LEN: u8 = 24;
const LINK: &str = "eth0";
const READY_WITHIN: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// The programs and images that a cluster is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The skep binary.
    pub skep: PathBuf,
    /// The kubectl binary.
    pub kubectl: PathBuf,
    /// OCI archives to import.
    pub images: Vec<PathBuf>,
}

/// A running cluster. On drop it is taken down.
pub struct Cluster {
    name: String,
    parts: Parts,
    listen: SocketAddr,
    process: Process,
    /// From the start of the process to the node's Ready.
    pub ready_after: Duration,
    /// A host outside the cluster.
    pub outside: Netns,
    /// The node. Dropped after the process that lives in it.
    pub node: Netns,
}

/// Where a cluster keeps what it must find again.
#[must_use]
pub fn state_dir(name: &str) -> PathBuf {
    PathBuf::from("/var/lib/skep").join(name)
}

/// The kubeconfig of a cluster.
#[must_use]
pub fn kubeconfig(name: &str) -> PathBuf {
    state_dir(name).join("admin.kubeconfig")
}

/// The namespaces of a cluster: the node's and the one outside.
#[must_use]
pub fn netns_names(name: &str) -> [String; 2] {
    [format!("skep-{name}"), format!("skep-{name}-out")]
}

impl Cluster {
    /// Lays the cables and starts `skep up` in the node's namespace; returns when the node is Ready.
    ///
    /// What an earlier cluster of that name left is removed first.
    ///
    /// # Errors
    /// The process ended, or the node was not Ready in time; with the last lines of the log.
    pub fn start(name: &str, parts: &Parts, listen: SocketAddr) -> Result<Cluster> {
        remove(name, &parts.skep)?;
        let [node_name, outside_name] = netns_names(name);
        let node = Netns::create(&node_name)?;
        let outside = Netns::create(&outside_name)?;
        connect(
            &Side { netns: &node, device: LINK, address: (NODE, PREFIX_LEN) },
            &Side { netns: &outside, device: LINK, address: (OUTSIDE, PREFIX_LEN) },
        )?;
        node.ip(&["route", "add", "default", "via", &OUTSIDE.to_string()])?;

        fs::create_dir_all(state_dir(name))?;
        let started = Instant::now();
        let process = spawn(name, parts, node.path().as_path(), listen)?;
        let parts = parts.clone();
        let mut cluster =
            Cluster { name: name.to_owned(), parts, listen, process, ready_after: Duration::ZERO, outside, node };
        cluster.wait_ready()?;
        cluster.ready_after = started.elapsed();
        Ok(cluster)
    }

    /// Kills `skep up` with SIGKILL: what lives in the kernel and in containerd goes on.
    ///
    /// # Errors
    /// It had ended before.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.child().wait().context("wait for the killed process")?;
        Ok(())
    }

    /// Kills the node's containerd with SIGKILL, and returns when another has taken its place.
    ///
    /// # Errors
    /// There is none, or no other comes.
    pub fn kill_containerd(&self) -> Result<()> {
        let record = state_dir(&self.name).join("containerd/process.json");
        let pid = || -> Result<i32> {
            let record: serde_json::Value = serde_json::from_slice(&fs::read(&record)?)?;
            Ok(i32::try_from(record["pid"].as_i64().context("the record has no pid")?)?)
        };
        let first = pid().context("read containerd's record")?;
        kill(Pid::from_raw(first), Signal::SIGKILL).context("kill containerd")?;
        wait_until("another containerd", READY_WITHIN, || Ok(pid().is_ok_and(|pid| pid != first)))
    }

    /// Kills every process of the node with SIGKILL: containerd, its shims and all containers, as a power cut does.
    ///
    /// # Errors
    /// The node's cgroup cannot be read, or processes stay.
    pub fn kill_processes(&self) -> Result<()> {
        let cgroup = cgroup2_root()?.join(format!("skep-{}", self.name));
        wait_until("the end of the node's processes", STOP_WITHIN, || {
            let pids = processes(&cgroup)?;
            for pid in &pids {
                // One that ended by itself meanwhile is what was wanted.
                let _ended = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            Ok(pids.is_empty())
        })
    }

    /// Starts `skep up` again on the state that is there; returns when the node is Ready.
    ///
    /// # Errors
    /// As for [`Cluster::start`].
    pub fn restart(&mut self) -> Result<()> {
        fs::remove_file(kubeconfig(&self.name)).context("remove the old kubeconfig")?;
        self.process = spawn(&self.name, &self.parts, &self.node.path(), self.listen)?;
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let (name, kubeconfig) = (self.name.clone(), kubeconfig(&self.name));
        wait_until("the node to be Ready", READY_WITHIN, || {
            if let Some(status) = self.process.try_wait()? {
                bail!("skep up ended with {status}:\n{}", log_tail(&name));
            }
            let status = "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}";
            Ok(kubeconfig.exists() && self.kubectl(&["get", "nodes", "-o", status]).is_ok_and(|text| text == "True"))
        })
        .with_context(|| log_tail(&name))
    }

    /// Runs kubectl and returns what it printed.
    ///
    /// # Errors
    /// What kubectl wrote to standard error.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        read(&mut self.kubectl_command(args))
    }

    /// kubectl with `args`, pointed at this cluster.
    #[must_use]
    pub fn kubectl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.parts.kubectl);
        command.args(args).env("KUBECONFIG", kubeconfig(&self.name));
        command
    }

    /// `skep net …` against this node.
    ///
    /// # Errors
    /// What it wrote to standard error.
    pub fn skep_net(&self, args: &[&str]) -> Result<String> {
        read(&mut self.skep_net_command(args))
    }

    /// `skep net` with `args`, pointed at this node.
    #[must_use]
    pub fn skep_net_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.parts.skep);
        command.arg("net").arg("--socket").arg(state_dir(&self.name).join("run/skep.sock")).args(args);
        command
    }

    /// A program as a process of the node: in its namespace and its cgroup.
    ///
    /// # Errors
    /// The namespace or the cgroup is gone.
    pub fn on_node(&self, program: &str) -> Result<Command> {
        on_node(&self.node, &self.name, program)
    }

    /// Resident memory of `skep up`, MiB.
    ///
    /// # Errors
    /// The process has ended.
    pub fn rss_mib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in the process' status")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().context("parse VmRSS")?;
        Ok(kib / 1024)
    }

    /// The process of `skep up`.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Lets the cluster run on when this process ends.
    pub fn leave(self) {
        let _kept = ManuallyDrop::new(self);
    }

    /// Ends `skep up` as Ctrl-C does, and checks that it took everything down.
    ///
    /// # Errors
    /// It did not end well.
    pub fn stop(mut self) -> Result<()> {
        let status = self.process.stop()?;
        if !status.success() {
            bail!("skep up ended with {status}:\n{}", log_tail(&self.name));
        }
        let (name, skep) = (self.name.clone(), self.parts.skep.clone());
        drop(self);
        remove(&name, &skep)
    }
}

/// The processes of a cgroup and of those below it.
fn processes(cgroup: &Path) -> Result<Vec<i32>> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).with_context(|| format!("read {}", cgroup.display()))?;
    let mut pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in fs::read_dir(cgroup).with_context(|| format!("read {}", cgroup.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            pids.extend(processes(&path)?);
        }
    }
    Ok(pids)
}

/// A program in a node's namespace and cgroup.
pub(crate) fn on_node(netns: &Netns, name: &str, program: &str) -> Result<Command> {
    let mut command = netns.command(program)?;
    let procs = cgroup2_root()?.join(format!("skep-{name}/host"));
    fs::create_dir_all(&procs)?;
    let procs = procs.join("cgroup.procs");
    // SAFETY: between fork and exec the closure only opens a file and writes one byte; it allocates nothing shared.
    unsafe { command.pre_exec(move || OpenOptions::new().write(true).open(&procs)?.write_all(b"0")) };
    Ok(command)
}

fn spawn(name: &str, parts: &Parts, netns: &Path, listen: SocketAddr) -> Result<Process> {
    let mut command = Command::new(&parts.skep);
    command.arg("up").args(["--name", name]).arg("--netns").arg(netns).arg("--state-dir").arg(state_dir(name));
    command.args(["--node-ip", &NODE.to_string(), "--link", LINK, "--listen", &listen.to_string()]);
    command.arg("--kubeconfig").arg(kubeconfig(name)).args(["--sandbox-image", PAUSE]);
    for archive in &parts.images {
        command.arg("--image").arg(archive);
    }
    let log = OpenOptions::new().create(true).append(true).open(log_path(name)).context("open the log")?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Process::spawn(&mut command, STOP_WITHIN)
}

/// Where `skep up` writes what it says.
#[must_use]
pub fn log_path(name: &str) -> PathBuf {
    state_dir(name).join("up.log")
}

/// The last lines of the log, for an error.
#[must_use]
pub fn log_tail(name: &str) -> String {
    tail(&log_path(name))
}

pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(25)..].join("\n");
    format!("the last lines of {}:\n{tail}", log.display())
}

/// Removes whatever a cluster of that name left: processes, pins, cgroups, mounts, namespaces, state.
///
/// # Errors
/// A part that would not go, by name.
pub fn remove(name: &str, skep: &Path) -> Result<()> {
    let state = state_dir(name);
    if state.exists() && skep.exists() {
        read(Command::new(skep).args(["clean", "--name", name, "--state-dir"]).arg(&state)).context("clean up")?;
    }
    for netns in netns_names(name) {
        Netns::remove_stale(&netns)?;
    }
    match fs::remove_dir_all(&state) {
        // A disk that somebody mounted there stays, empty.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ResourceBusy) => Ok(()),
        removed => removed.with_context(|| format!("remove {}", state.display())),
    }
}

/// Runs to its end and returns what it printed.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("start {}", command.get_program().display()))?;
    if !output.status.success() {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        bail!(
            "{} {}: {}",
            command.get_program().display(),
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
