//! Pods as a system lays them out: a client, a server on the client's node, and one on another node.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use skep_testkit::{Netns, Process, wait_until};

use crate::shell::read;

const PORT: u16 = 5001;
const GRACE: Duration = Duration::from_secs(2);
const WITHIN: Duration = Duration::from_secs(20);
/// How much longer than asked sending may take, its connection's set-up included.
const PATIENCE_S: u64 = 3;

/// What was sent in a time, in the unit of its kind: bytes, exchanges, datagrams.
#[derive(Deserialize)]
pub(super) struct Outcome {
    pub(super) units: u64,
    pub(super) seconds: f64,
}

/// Where a pod is, and its address.
pub(super) struct Pod {
    pub(super) netns: PathBuf,
    pub(super) address: Ipv4Addr,
}

/// From where to where.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    SameNode,
    Across,
}

impl Place {
    pub(super) const ALL: [Place; 2] = [Place::SameNode, Place::Across];

    pub(super) fn name(self) -> &'static str {
        match self {
            Place::SameNode => "same-node",
            Place::Across => "across",
        }
    }
}

/// A system's pods, with their servers running.
pub(super) struct Site {
    client: Pod,
    near: Pod,
    far: Pod,
    program: PathBuf,
    _servers: [Process; 2],
    _namespaces: Vec<Netns>,
}

impl Site {
    /// Starts the servers, and waits until the client reaches both. The namespaces are kept as long as the site.
    pub(super) fn open([client, near, far]: [Pod; 3], program: &Path, namespaces: Vec<Netns>) -> Result<Site> {
        let serve = |pod: &Pod| {
            let mut command = enter(&pod.netns, program);
            command.args(["traffic-serve", "--port", &PORT.to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
            Process::spawn(&mut command, GRACE)
        };
        let servers = [serve(&near)?, serve(&far)?];
        let site = Site { client, near, far, program: program.to_owned(), _servers: servers, _namespaces: namespaces };
        for place in Place::ALL {
            wait_until(
                &format!("the server at {}", site.server(place).address),
                WITHIN,
                || Ok(site.is_reached(place)),
            )?;
        }
        Ok(site)
    }

    pub(super) fn server(&self, place: Place) -> &Pod {
        match place {
            Place::SameNode => &self.near,
            Place::Across => &self.far,
        }
    }

    /// Whether an exchange comes to its end.
    pub(super) fn is_reached(&self, place: Place) -> bool {
        self.traffic(place, "rr", 1).is_ok()
    }

    /// Sends for so long.
    pub(super) fn traffic(&self, place: Place, kind: &str, for_ms: u64) -> Result<Outcome> {
        let target = format!("{}:{PORT}", self.server(place).address);
        let mut command = enter(&self.client.netns, Path::new("timeout"));
        command.arg((for_ms / 1000 + PATIENCE_S).to_string()).arg(&self.program);
        command.args(["traffic", "--kind", kind, "--target", &target, "--for-ms", &for_ms.to_string()]);
        let text = read(&mut command)?;
        serde_json::from_str(text.trim()).with_context(|| format!("parse {text}"))
    }
}

/// A program as a process of a namespace.
pub(super) fn enter(netns: &Path, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", netns.display())).arg(program);
    command
}
