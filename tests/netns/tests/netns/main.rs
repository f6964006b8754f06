//! The datapath under real sockets.
#![allow(clippy::unwrap_used)]

mod masquerade;
mod mtu;
mod node_port;
mod pods;
mod programs;
mod routing;
mod sockets;
mod survival;
