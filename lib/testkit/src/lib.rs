//! Guards for what tests and the demo make on a host: whatever a guard made, its drop removes.
//!
//! * [`Netns`]: a named network namespace, standing for a host; [`Netns::enter`] runs code in it, [`Netns::command`] a program.
//! * [`connect`]: a veth pair between two namespaces.
//! * [`Cgroup`]: a directory in the cgroup2 hierarchy.
//! * [`packet::Packets`]: packets, whole and damaged, to run programs on.
//! * [`Process`]: a child that is ended with its guard.
//! * [`cluster::Cluster`]: a whole cluster of real binaries on this machine, of one node; [`fleet::Fleet`]: of many.
//!
//! Invariant: nothing is killed or removed but by the id or name that the guard itself made.

mod cgroup;
pub mod cluster;
pub mod fleet;
mod netns;
pub mod packet;
mod process;

pub use cgroup::{Cgroup, cgroup2_root, remove_cgroup_tree};
pub use netns::{Netns, Side, connect};
pub use process::{Process, wait_until};
