//! Parsing, checksums and backend choice, generic over packet and maps, so that the host can test it.
//!
//! The programs under `ebpf/programs` bring [`Tables`] and [`Packet`] for the kernel; the tests here bring vectors and
//! hash maps. No loop is unbounded, nothing allocates, and every index is checked by the trait that it goes through.

#![no_std]

mod backend;
mod checksum;
mod icmp;
mod nat;
mod node_port;
mod packet;

pub use backend::{Choice, Picked, Tables, choose, choose_sticky, is_same, lookup};
pub use checksum::{Checksum, decrement_ttl};
pub use icmp::{Embedded, Ends, embedded, ends, read_embedded};
pub use nat::{Added, NatTable, Outbound, Outside, inbound, outbound};
pub use node_port::{Forward, forward_keys, opens_flow};
pub use packet::{ETH_LEN, Frame, HEADERS_LEN, HOP_LEN, IpHeader, Malformed, Packet, Ports, TCP_ACK, TCP_SYN};
