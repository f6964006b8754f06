//! Service translation at the socket, for pods and the node alike: `connect` and `sendmsg` go to a backend, `recvmsg` and
//! `getpeername` show what was asked for. IPv6 sockets come by with
//! IPv4 in mapped addresses too (what they send there unconnected passes `sendmsg4`). `post_bind` keeps the node's own programs off
//! the ports of Services.

#![no_std]
#![no_main]

use aya_ebpf::{
    macros::{cgroup_sock, cgroup_sock_addr},
    programs::{SockAddrContext, SockContext},
};
use skep_programs::{Call, guard_node_port};

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    Call::<false>(&ctx).connect()
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    Call::<false>(&ctx).send()
}

#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(ctx: SockAddrContext) -> i32 {
    Call::<false>(&ctx).show_origin()
}

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    Call::<false>(&ctx).show_origin()
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    Call::<true>(&ctx).connect()
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    Call::<true>(&ctx).send()
}

#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(ctx: SockAddrContext) -> i32 {
    Call::<true>(&ctx).show_origin()
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    Call::<true>(&ctx).show_origin()
}

#[cgroup_sock(post_bind4)]
pub fn post_bind4(ctx: SockContext) -> i32 {
    guard_node_port(&ctx)
}

#[cgroup_sock(post_bind6)]
pub fn post_bind6(ctx: SockContext) -> i32 {
    guard_node_port(&ctx)
}
