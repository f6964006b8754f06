//! Parsing, checksums, backend choice, flows and policy, generic over packet and maps, so that the host can test it.
//!
//! The programs under `ebpf/programs` bring [`Tables`] and [`Packet`] for the kernel; the tests here bring vectors and
//! hash maps. No loop is unbounded, nothing allocates, and every index is checked by the trait that it goes through.

#![no_std]

mod affinity;
mod backend;
mod checksum;
mod conntrack;
mod flow;
mod icmp;
mod maglev;
mod nat;
mod packet;
mod police;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod police_tests;
mod reply;

pub use affinity::{choose_affine, choose_for, pick};
pub use backend::{
    Choice, Drawn, Last, Picked, Tables, choose, choose_sticky, draw, find, is_same, is_service_address, lookup, stay,
};
pub use checksum::{Checksum, decrement_ttl};
pub use conntrack::{
    CLOSING_TIMEOUT_S, DATAGRAM_TIMEOUT_S, ESTABLISHED_TIMEOUT_S, Flows, Held, Place, SYN_TIMEOUT_S, is_closing,
    is_expired, is_settled, keep, timeout_s,
};
pub use flow::Flow;
pub use icmp::{Embedded, Ends, embedded, ends, read_embedded};
pub use maglev::flow_hash;
pub use nat::{Added, Has, NatTable, Opened, Outbound, Outside, current, forget, hold, is_alike, open, outbound};
pub use packet::{
    ETH_LEN, Frame, HEADERS_LEN, HOP_LEN, IpHeader, Malformed, Packet, Part, Ports, TCP_ACK, TCP_SYN, opens_flow,
};
pub use police::{End, NAMES_MAX, Policies, Verdict, allows, evaluate, is_policed, is_related, police};
pub use reply::{Cause, ERROR_V4_LEN, ERROR_V6_LEN, RESET_V4_LEN, RESET_V6_LEN, Reply, ReplyKind, refusal};
