//! A pod as the runtime holds it: what `observe` returns and `plan` reads.

use std::cmp::Reverse;
use std::net::IpAddr;

use jiff::Timestamp;

/// A pod's sandboxes and containers, each newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Runtime {
    pub(crate) sandboxes: Vec<Sandbox>,
    pub(crate) containers: Vec<Container>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) ready: bool,
    pub(crate) created: Timestamp,
    /// Empty on host-network pods, and until the network is set up.
    pub(crate) ips: Vec<IpAddr>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) sandbox: String,
    pub(crate) name: String,
    /// The restart count with which this instance was made.
    pub(crate) attempt: u32,
    /// The hash of the spec that it was made from.
    pub(crate) hash: String,
    /// As the pod names it.
    pub(crate) image: String,
    pub(crate) image_id: String,
    pub(crate) created: Timestamp,
    pub(crate) state: State,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    Created,
    Running { started: Timestamp },
    Exited(Exit),
    Unknown,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exit {
    pub(crate) code: i32,
    /// `Completed`, `Error`, `OOMKilled`, …
    pub(crate) reason: String,
    /// The termination message.
    pub(crate) message: String,
    pub(crate) started: Timestamp,
    pub(crate) finished: Timestamp,
}

impl Container {
    pub(crate) fn running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    pub(crate) fn exit(&self) -> Option<&Exit> {
        match &self.state {
            State::Exited(exit) => Some(exit),
            _ => None,
        }
    }

    /// Whether a process of it may be alive.
    pub(crate) fn alive(&self) -> bool {
        matches!(self.state, State::Running { .. } | State::Unknown)
    }
}

impl Runtime {
    /// The newest sandbox, if it is ready.
    pub(crate) fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// Every instance of a container, newest first.
    pub(crate) fn instances<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Container> {
        self.containers.iter().filter(move |container| container.name == name)
    }

    /// The newest instance, in whatever sandbox.
    pub(crate) fn latest<'a>(&'a self, name: &'a str) -> Option<&'a Container> {
        self.instances(name).next()
    }

    /// The newest instance in one sandbox.
    pub(crate) fn latest_in<'a>(&'a self, sandbox: &'a str, name: &'a str) -> Option<&'a Container> {
        self.instances(name).find(|container| container.sandbox == sandbox)
    }

    /// Whether nothing of the pod is left to stop.
    pub(crate) fn stopped(&self) -> bool {
        !self.containers.iter().any(Container::alive) && !self.sandboxes.iter().any(|sandbox| sandbox.ready)
    }

    /// Puts both lists into their order.
    pub(crate) fn sort(&mut self) {
        self.sandboxes.sort_by_key(|sandbox| Reverse((sandbox.attempt, sandbox.created)));
        self.containers.sort_by_key(|container| Reverse((container.created, container.attempt)));
    }
}
