//! What a cluster wrote down of itself, so that any process can find and end it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::cluster::state_dir;

/// The address families of nodes, pods and Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// Both, IPv4 first.
    Dual,
}

impl Family {
    pub(super) fn cluster_cidr(self) -> String {
        self.join("10.42.0.0/16", "fd00:42::/48")
    }

    pub(super) fn service_cidr(self) -> String {
        self.join("10.96.0.0/16", "fd00:96::/112")
    }

    pub(super) fn has_v4(self) -> bool {
        self != Self::Ipv6
    }

    pub(super) fn has_v6(self) -> bool {
        self != Self::Ipv4
    }

    /// Those of these that the cluster has, with a comma.
    fn join(self, v4: impl ToString, v6: impl ToString) -> String {
        let own = [self.has_v4().then(|| v4.to_string()), self.has_v6().then(|| v6.to_string())];
        own.into_iter().flatten().collect::<Vec<_>>().join(",")
    }
}

/// What a cluster is to be like.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// How many nodes.
    pub nodes: u8,
    /// Their address families.
    pub family: Family,
    /// Where this machine's kubectl reaches the API server; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What `skep server` is told besides.
    pub server_args: Vec<String>,
    /// What each `skep node` is told besides.
    pub node_args: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        let listen = ([127, 0, 0, 1], 0).into();
        Self { nodes: 2, family: Family::Ipv4, listen, server_args: Vec::new(), node_args: Vec::new() }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) options: Options,
    /// By node, and the control plane.
    pub(super) processes: BTreeMap<String, Running>,
}

impl Record {
    pub(super) fn path(name: &str) -> PathBuf {
        state_dir(name).join("cluster.json")
    }

    pub(super) fn load(name: &str) -> Result<Self> {
        let path = Self::path(name);
        let text = fs::read(&path).with_context(|| format!("no cluster {name} is up: read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("parse {}", path.display()))
    }

    pub(super) fn save(&self) -> Result<()> {
        let path = Self::path(&self.name);
        fs::create_dir_all(state_dir(&self.name))?;
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(self)?).with_context(|| format!("write {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("write {}", path.display()))
    }

    pub(super) fn nodes(&self) -> Vec<String> {
        (1..=self.options.nodes).map(|number| format!("{}-{number}", self.name)).collect()
    }

    /// A node's number, from 1.
    pub(super) fn number(&self, node: &str) -> Result<u8> {
        let found = (1..=self.options.nodes).find(|number| format!("{}-{number}", self.name) == node);
        found.with_context(|| format!("there is no node {node}"))
    }

    /// A node's addresses, with a comma.
    pub(super) fn addresses(&self, number: u8) -> String {
        self.options.family.join(Self::address_v4(number), Self::address_v6(number))
    }

    /// The address that a node is known by.
    pub(super) fn address(&self, number: u8) -> IpAddr {
        if self.options.family.has_v4() { Self::address_v4(number).into() } else { Self::address_v6(number).into() }
    }

    pub(super) fn address_v6(number: u8) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0x18, 0, 0, 0, 0, 0, number.into())
    }

    pub(super) fn address_v4(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 0, number)
    }
}

/// A process in the background. Its time of start tells it from a later one with its id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Running {
    pid: i32,
    started_ticks: u64,
}

impl Running {
    /// In a session of its own, so that it outlives the terminal.
    pub(super) fn spawn(mut command: Command, log: &Path) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log).context("open the log")?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let own_session = || nix::unistd::setsid().map(|_| ()).map_err(std::io::Error::from);
        // SAFETY: between fork and exec the closure makes one system call.
        unsafe { command.pre_exec(own_session) };
        let child = command.spawn().with_context(|| format!("start {}", command.get_program().display()))?;
        let pid = i32::try_from(child.id()).context("process id")?;
        let (_, started_ticks) = stat(pid).context("the process ended at once")?;
        Ok(Self { pid, started_ticks })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    pub(super) fn is_alive(&self) -> bool {
        // Where it is a child of this process, its end is taken note of.
        let _ = waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG));
        stat(self.pid).is_some_and(|(state, started)| started == self.started_ticks && state != 'Z')
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        if self.is_alive() {
            kill(Pid::from_raw(self.pid), signal).with_context(|| format!("signal process {}", self.pid))?;
        }
        Ok(())
    }
}

/// State and time of start of a process, fields 3 and 22 of its `stat`; the name before them may hold anything.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.nth(18)?.parse().ok()?))
}
