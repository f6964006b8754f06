//! The node's side of the container runtime.
//!
//! [`Client`] speaks CRI v1 to whatever runtime listens on a unix socket. [`Containerd`] is a runtime of the node's own:
//! it writes its settings, starts it in a session of its own so that it outlives the daemon, adopts one that a killed
//! daemon left behind, and restarts it while the daemon lives. [`clean`] removes what a dead node left.
//!
//! Invariants: nothing is ended that is not recorded under the node's state directory or inside its cgroup, and
//! always by id; a running containerd is never restarted just because the daemon was.
//!
//! Task: one supervisor per [`Containerd`], ended by [`Containerd::stop`] or [`Containerd::release`].

mod cgroup;
mod client;
mod containerd;
mod process;

/// The messages of CRI v1, generated from `proto/`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}

/// The longest path that `sockaddr_un` takes, its final zero left out.
pub(crate) const SOCKET_PATH_LEN_MAX: usize = 107;

pub use cgroup::{CgroupError, Cgroups, Hierarchy};
pub use client::{Client, Error};
pub use containerd::{Containerd, ContainerdError, Options, clean, end};
