//! A cluster of many nodes on this machine: a namespace for each, joined by a switch, a control plane in a process of its own,
//! and for each node its own daemon, containerd, cgroup and directory in bpffs.
//!
//! It runs in the background: whoever knows its name finds it again ([`Fleet::open`]) and takes it down ([`remove`]), by what it
//! wrote down of itself before it began.

mod member;
mod record;
mod switch;

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::cluster::{self, Parts, kubeconfig, read, state_dir};
use crate::{Netns, wait_until};

pub use self::record::{Family, Options};
use self::record::{Record, Running};
use self::switch::Switch;

/// The key of the control plane among the processes.
const SERVER: &str = "server";
const API_PORT: u16 = 6443;
const NODES_MAX: u8 = 99;
const READY_WITHIN: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(60);
const IMAGES_NAMESPACE: &str = "k8s.io";

/// A running cluster. On drop it is taken down, unless it was left.
pub struct Fleet {
    record: Record,
    parts: Parts,
    keep: bool,
    /// From the start of the first process to the last node's Ready.
    pub ready_after: Duration,
}

/// Whether there is a cluster of many nodes of that name, or what is left of one.
#[must_use]
pub fn exists(name: &str) -> bool {
    Record::path(name).exists()
}

impl Fleet {
    /// Lays the cables, starts the control plane and the nodes, and returns when all are Ready. What an earlier cluster of that
    /// name left is removed first.
    ///
    /// # Errors
    /// A process that ended, or a node that was not Ready in time; with the last lines of its log.
    pub fn start(name: &str, parts: &Parts, options: Options) -> Result<Fleet> {
        ensure!((1..=NODES_MAX).contains(&options.nodes), "nodes: 1 to {NODES_MAX}");
        remove(name, &parts.skep)?;
        let record = Record { name: name.to_owned(), options, processes: BTreeMap::new() };
        record.save()?;
        let parts = parts.clone();
        let mut fleet = Fleet { record, parts, keep: false, ready_after: Duration::ZERO };
        fleet.switch().lay(&fleet.record)?;
        let started = Instant::now();
        fleet.start_server()?;
        let join = fleet.join_command()?;
        for node in fleet.nodes() {
            fleet.start_node_with(&node, &join)?;
        }
        fleet.wait_ready()?;
        fleet.ready_after = started.elapsed();
        Ok(fleet)
    }

    /// The cluster of that name, which an earlier process started.
    ///
    /// # Errors
    /// There is none.
    pub fn open(name: &str, parts: &Parts) -> Result<Fleet> {
        let record = Record::load(name)?;
        Ok(Fleet { record, parts: parts.clone(), keep: true, ready_after: Duration::ZERO })
    }

    /// Lets it run on when this process ends.
    pub fn leave(mut self) {
        self.keep = true;
    }

    /// The nodes' names.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        self.record.nodes()
    }

    /// The name of a node that is given by it, or by its number.
    ///
    /// # Errors
    /// There is no such node.
    pub fn find(&self, node: &str) -> Result<String> {
        let nodes = self.nodes();
        let by_number = node.parse::<usize>().ok().and_then(|number| nodes.get(number.checked_sub(1)?));
        let found = by_number.or_else(|| nodes.iter().find(|name| *name == node));
        found.cloned().with_context(|| format!("there is no node {node}: there are {}", nodes.join(", ")))
    }

    /// A node's address on the switch, that of IPv4 if it has one.
    ///
    /// # Errors
    /// There is no such node.
    pub fn address(&self, node: &str) -> Result<IpAddr> {
        self.record.number(node).map(|number| self.record.address(number))
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
        command.args(args).env("KUBECONFIG", kubeconfig(&self.record.name));
        command
    }

    /// Runs skep with `args`, pointed at this cluster.
    ///
    /// # Errors
    /// What it wrote to standard error.
    pub fn skep(&self, args: &[&str]) -> Result<String> {
        read(Command::new(&self.parts.skep).args(args).env("KUBECONFIG", kubeconfig(&self.record.name)))
    }

    /// A program as a process of a node: in its namespace and its cgroup.
    ///
    /// # Errors
    /// The node is gone.
    pub fn on_node(&self, node: &str, program: &str) -> Result<Command> {
        cluster::on_node(&Netns::existing(&member::netns(node)), node, program)
    }

    /// The directory in which a node keeps its state.
    #[must_use]
    pub fn node_dir(&self, node: &str) -> PathBuf {
        state_dir(&self.record.name).join(node)
    }

    /// What a node's daemon wrote to its log.
    #[must_use]
    pub fn node_log(&self, node: &str) -> String {
        fs::read_to_string(self.log_path(node)).unwrap_or_default()
    }

    /// Stops all traffic between two nodes.
    ///
    /// # Errors
    /// nftables' own.
    pub fn cut(&self, a: &str, b: &str) -> Result<()> {
        self.switch().cut(self.record.number(a)?, self.record.number(b)?)
    }

    /// Undoes every cut.
    ///
    /// # Errors
    /// nftables' own.
    pub fn heal(&self) -> Result<()> {
        self.switch().heal()
    }

    /// Imports an OCI archive on every node.
    ///
    /// # Errors
    /// containerd's own.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        for node in self.nodes() {
            let socket = self.node_dir(&node).join("run/containerd.sock");
            let mut command = Command::new("ctr");
            command
                .arg("--address")
                .arg(socket)
                .args(["--namespace", IMAGES_NAMESPACE, "images", "import"])
                .arg(archive);
            read(&mut command).with_context(|| format!("import on {node}"))?;
        }
        Ok(())
    }

    /// Kills a node's daemon with SIGKILL: its pods and what is in the kernel go on.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill_node(&mut self, node: &str) -> Result<()> {
        self.end(node, Signal::SIGKILL)
    }

    /// Ends a node's daemon as Ctrl-C does.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub fn stop_node(&mut self, node: &str) -> Result<()> {
        self.end(node, Signal::SIGTERM)
    }

    /// Kills the control plane with SIGKILL.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill_server(&mut self) -> Result<()> {
        self.end(SERVER, Signal::SIGKILL)
    }

    /// Starts the control plane again, and waits until it answers.
    ///
    /// # Errors
    /// It ended, or does not answer in time.
    pub fn start_server(&mut self) -> Result<()> {
        let (name, options) = (self.record.name.clone(), &self.record.options);
        let first = self.nodes().swap_remove(0);
        let mut command = Command::new(&self.parts.skep);
        command.args(["server", "--name", &name, "--listen", &options.listen.to_string()]);
        command.args(["--advertise", &self.server_address().to_string()]);
        command.arg("--netns").arg(Netns::existing(&member::netns(&first)).path());
        command.arg("--state-dir").arg(state_dir(&name).join(SERVER)).arg("--kubeconfig").arg(kubeconfig(&name));
        command.args(["--cluster-cidr", &options.family.cluster_cidr()]);
        command.args(["--service-cidr", &options.family.service_cidr()]).args(&options.server_args);
        // That of an earlier one names another port.
        if kubeconfig(&name).exists() {
            fs::remove_file(kubeconfig(&name)).context("remove the old kubeconfig")?;
        }
        self.spawn(SERVER, command)?;
        wait_until("the control plane", READY_WITHIN, || {
            self.check_processes()?;
            Ok(kubeconfig(&name).exists() && self.kubectl(&["get", "--raw", "/readyz"]).is_ok())
        })
    }

    /// Starts the daemon of a node that has joined once, with `more` arguments.
    ///
    /// # Errors
    /// The program does not start.
    pub fn start_node(&mut self, node: &str, more: &[&str]) -> Result<()> {
        let mut command = self.node_command(node)?;
        command.args(more);
        self.spawn(node, command)
    }

    /// Waits until every node is Ready.
    ///
    /// # Errors
    /// A process ended, or a node is not Ready in time.
    pub fn wait_ready(&self) -> Result<()> {
        let query = "jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=='Ready')].status} {end}";
        let mut last = String::new();
        let waited = wait_until("all nodes to be Ready", READY_WITHIN, || {
            self.check_processes()?;
            last = self.kubectl(&["get", "nodes", "-o", query]).unwrap_or_else(|error| format!("{error:#}"));
            Ok(self.nodes().iter().all(|node| last.split(' ').any(|one| one == format!("{node}=True"))))
        });
        waited.with_context(|| {
            let logs: Vec<String> = self.nodes().iter().map(|node| cluster::tail(&self.log_path(node))).collect();
            format!("the nodes are: {last}\n{}", logs.join("\n"))
        })
    }

    /// Runs `skep node` for a node that is not of the cluster, in the first node's namespace, to its end.
    ///
    /// # Errors
    /// The program does not start.
    pub fn join_stranger(&self, dir: &Path, args: &[&str]) -> Result<Output> {
        let first = self.nodes().swap_remove(0);
        let mut command = Command::new(&self.parts.skep);
        command.args(["node", "--name", &format!("{}-stranger", self.record.name), "--link", switch::LINK]);
        command.args(["--server", &format!("https://{}", self.server_address())]);
        command.arg("--netns").arg(Netns::existing(&member::netns(&first)).path());
        command.arg("--state-dir").arg(dir).args(args).stdin(Stdio::null());
        command.output().context("start skep node")
    }

    fn check_processes(&self) -> Result<()> {
        for (key, process) in &self.record.processes {
            if !process.is_alive() {
                bail!("{key} has ended:\n{}", cluster::tail(&self.log_path(key)));
            }
        }
        Ok(())
    }

    /// The process of a node's daemon.
    ///
    /// # Errors
    /// It was never started.
    pub fn node_pid(&self, node: &str) -> Result<i32> {
        Ok(self.running(node)?.pid())
    }

    fn running(&self, key: &str) -> Result<&Running> {
        self.record.processes.get(key).with_context(|| format!("{key} does not run"))
    }

    fn end(&mut self, key: &str, signal: Signal) -> Result<()> {
        let process = self.running(key)?;
        process.signal(signal)?;
        wait_until(&format!("the end of {key}"), STOP_WITHIN, || Ok(!process.is_alive()))?;
        self.record.processes.remove(key);
        self.record.save()
    }

    /// Where nodes reach the control plane, which is in the first one's namespace.
    fn server_address(&self) -> SocketAddr {
        SocketAddr::new(self.record.address(1), API_PORT)
    }

    fn switch(&self) -> Switch {
        Switch::new(&self.record.name)
    }

    fn log_path(&self, key: &str) -> PathBuf {
        state_dir(&self.record.name).join(format!("{key}.log"))
    }

    fn spawn(&mut self, key: &str, command: Command) -> Result<()> {
        let process = Running::spawn(command, &self.log_path(key))?;
        self.record.processes.insert(key.to_owned(), process);
        self.record.save()
    }

    /// What a node is told to join, beyond the server: token and hash.
    fn join_command(&self) -> Result<Vec<String>> {
        let line = self.skep(&["token", "create", "--print-join-command"])?;
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let from = words.iter().position(|word| word == "--token").context("the join command has no --token")?;
        Ok(words[from..].to_vec())
    }

    fn start_node_with(&mut self, node: &str, join: &[String]) -> Result<()> {
        let mut command = self.node_command(node)?;
        command.args(join);
        self.spawn(node, command)
    }

    /// `skep node` for a node, without what it joins by.
    ///
    /// # Errors
    /// There is no such node.
    pub fn node_command(&self, node: &str) -> Result<Command> {
        let mut command = Command::new(&self.parts.skep);
        command.args(["node", "--name", node, "--server", &format!("https://{}", self.server_address())]);
        command.arg("--netns").arg(Netns::existing(&member::netns(node)).path());
        command.arg("--state-dir").arg(self.node_dir(node));
        let addresses = self.record.addresses(self.record.number(node)?);
        command.args(["--link", switch::LINK, "--node-ip", &addresses]);
        command.args(["--service-cidr", &self.record.options.family.service_cidr()]);
        command.args(["--sandbox-image", cluster::PAUSE]).args(&self.record.options.node_args);
        for archive in &self.parts.images {
            command.arg("--image").arg(archive);
        }
        Ok(command)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = remove(&self.record.name, &self.parts.skep) {
            eprintln!("cluster {} left behind: {error:#}", self.record.name);
        }
    }
}

/// Takes a cluster down and removes whatever it left: processes, pins, cgroups, mounts, namespaces, state. Nothing is ended but
/// processes that it started, by their ids. One that is not there is no error.
///
/// # Errors
/// A part that would not go, by name.
pub fn remove(name: &str, skep: &Path) -> Result<()> {
    if !exists(name) {
        return Ok(());
    }
    let record = Record::load(name)?;
    let (servers, nodes): (Vec<_>, Vec<_>) = record.processes.iter().partition(|(key, _)| *key == SERVER);
    // Nodes write their last status and their pods' ends through the server.
    for processes in [nodes, servers] {
        processes.iter().for_each(|(_, process)| drop(process.signal(Signal::SIGTERM)));
        let ended = wait_until("the processes' ends", STOP_WITHIN, || {
            Ok(processes.iter().all(|(_, process)| !process.is_alive()))
        });
        if ended.is_err() {
            processes.iter().for_each(|(_, process)| drop(process.signal(Signal::SIGKILL)));
        }
    }
    for node in record.nodes() {
        let dir = state_dir(name).join(&node);
        if dir.exists() {
            read(Command::new(skep).args(["clean", "--name", &node, "--state-dir"]).arg(&dir)).context("clean up")?;
        }
        Netns::remove_stale(&member::netns(&node))?;
    }
    Switch::new(name).remove()?;
    fs::remove_dir_all(state_dir(name)).with_context(|| format!("remove {}", state_dir(name).display()))
}
