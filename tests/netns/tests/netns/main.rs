//! The datapath under real sockets.
#![allow(clippy::unwrap_used)]

mod lists;
mod node_port;
mod pods;
mod policy;
mod programs;
mod sockets;
mod survival;
