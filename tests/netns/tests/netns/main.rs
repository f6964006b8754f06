//! The datapath under real sockets.
#![allow(clippy::unwrap_used)]

mod churn;
mod fragments;
mod fuzz;
mod host_port;
mod lists;
mod maglev;
mod masquerade;
mod mtu;
mod node_port;
mod north_south;
mod per_packet;
mod pods;
mod policy;
mod programs;
mod routing;
mod sockets;
mod sockets_v6;
mod survival;
mod upstream;
