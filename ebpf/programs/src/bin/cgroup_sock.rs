//! Service translation at the socket, for pods and the node alike: `connect` and `sendmsg` go to a backend, `recvmsg` and
//! `getpeername` show what was asked for.

#![no_std]
#![no_main]

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_socket_cookie, bpf_set_retval},
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use aya_log_ebpf::info;
use skep_abi::{Be16, Ip4, Metric, Origin, PROTO_TCP, PROTO_UDP, SockOrigin, UdpOriginKey};
use skep_logic::{Choice, Picked, choose, choose_sticky, lookup};
use skep_programs::{Kernel, SOCK_ORIGIN, UDP_ORIGIN, count, debugging};

const PASS: i32 = 1;
const REFUSE: i32 = 0;
const ECONNREFUSED: i32 = 111;
const IPPROTO_MPTCP: u32 = 262;

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    let (addr, port, proto) = asked(&ctx);
    let kernel = Kernel::at_socket(&ctx);
    let Some((key, head)) = lookup(&kernel, addr, port, proto) else {
        forget(&ctx);
        return PASS;
    };
    match choose(&kernel, &key, head) {
        Choice::Backend(picked) => {
            store(&ctx, origin(addr, port, &picked));
            count(Metric::Connect, 0);
            redirect(&ctx, &picked)
        }
        Choice::NotService => {
            forget(&ctx);
            PASS
        }
        Choice::NoBackend(_) => refuse(&ctx, Metric::DropNoBackend),
        Choice::Raced(_) => refuse(&ctx, Metric::DropBackendRace),
    }
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    let (addr, port, _) = asked(&ctx);
    let kernel = Kernel::at_socket(&ctx);
    let Some((key, head)) = lookup(&kernel, addr, port, PROTO_UDP) else { return PASS };
    let last = stored(&ctx);
    let choice = if last.service != 0 && (last.addr, last.port) == (addr, port) {
        choose_sticky(&kernel, &key, head, (last.backend, last.backend_port), last.row)
    } else {
        choose(&kernel, &key, head)
    };
    match choice {
        Choice::Backend(picked) => {
            let next = origin(addr, port, &picked);
            if last != next {
                remember(&ctx, &last, &next);
            }
            count(Metric::SendMsg, 0);
            redirect(&ctx, &picked)
        }
        Choice::NotService => PASS,
        Choice::NoBackend(_) => refuse(&ctx, Metric::DropNoBackend),
        Choice::Raced(_) => refuse(&ctx, Metric::DropBackendRace),
    }
}

#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(ctx: SockAddrContext) -> i32 {
    show_origin(&ctx);
    PASS
}

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    show_origin(&ctx);
    PASS
}

/// What the application asked for. Multipath TCP counts as TCP: each of its subflows is.
#[inline(always)]
fn asked(ctx: &SockAddrContext) -> (Ip4, Be16, u8) {
    // SAFETY: the context is valid for the whole program.
    let (addr, port, protocol) = unsafe {
        let sock = ctx.sock_addr;
        ((*sock).user_ip4, (*sock).user_port, (*sock).protocol)
    };
    let proto = if protocol == IPPROTO_MPTCP { PROTO_TCP } else { protocol as u8 };
    (Ip4::from_ne(addr), Be16::from_ne(port), proto)
}

#[inline(always)]
fn write(ctx: &SockAddrContext, addr: Ip4, port: Be16) {
    // SAFETY: the context is valid for the whole program, and both fields are writable at these hooks.
    unsafe {
        (*ctx.sock_addr).user_ip4 = addr.to_ne();
        (*ctx.sock_addr).user_port = port.to_ne();
    }
}

#[inline(always)]
fn redirect(ctx: &SockAddrContext, picked: &Picked) -> i32 {
    let backend = &picked.backend;
    if debugging() {
        let (addr, port, _) = asked(ctx);
        let (from, to) = (u32::from_be(addr.to_ne()), u32::from_be(backend.addr.to_ne()));
        info!(ctx, "service {} at {:i}:{} goes to {:i}:{}", backend.service, from, port.get(), to, backend.port.get());
    }
    write(ctx, backend.addr, backend.port);
    PASS
}

#[inline(always)]
fn refuse(ctx: &SockAddrContext, why: Metric) -> i32 {
    count(why, 0);
    if debugging() {
        let (addr, port, _) = asked(ctx);
        info!(ctx, "refused {:i}:{}, reason {}", u32::from_be(addr.to_ne()), port.get(), why as u32);
    }
    // SAFETY: the helper takes no pointer.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    REFUSE
}

#[inline(always)]
fn origin(addr: Ip4, port: Be16, picked: &Picked) -> SockOrigin {
    SockOrigin {
        addr,
        backend: picked.backend.addr,
        port,
        backend_port: picked.backend.port,
        service: picked.head.service,
        row: picked.row,
    }
}

/// What the socket holds; all zero where that is nothing. Not an `Option`: the verifier would refuse a copy of what `None` leaves
/// undefined.
#[inline(always)]
fn stored(ctx: &SockAddrContext) -> SockOrigin {
    // SAFETY: the context's socket is valid, and its storage is freed only after a grace period that this program holds off.
    match unsafe { SOCK_ORIGIN.get_ptr_mut(ctx).as_ref() } {
        Some(held) => *held,
        None => SockOrigin::default(),
    }
}

/// A socket that gets no storage still reaches its backend; only its peer's name is then the backend's.
#[inline(always)]
fn store(ctx: &SockAddrContext, mut next: SockOrigin) {
    let value = next;
    // SAFETY: as for `stored`; the helper copies the initial value before it returns.
    unsafe {
        let slot = SOCK_ORIGIN.get_or_insert_ptr_mut(ctx, Some(&mut next));
        if !slot.is_null() {
            *slot = value;
        }
    }
}

#[inline(always)]
fn forget(ctx: &SockAddrContext) {
    // SAFETY: the context's socket is valid.
    let _ = unsafe { SOCK_ORIGIN.delete((*ctx.sock_addr).__bindgen_anon_1.sk) };
}

/// Keeps what a reply on an unconnected socket is to be shown as: the latest in the socket, the one before in the shared table.
#[inline(always)]
fn remember(ctx: &SockAddrContext, last: &SockOrigin, next: &SockOrigin) {
    if last.service != 0 && (last.backend, last.backend_port) != (next.backend, next.backend_port) {
        let origin = Origin { addr: last.addr, port: last.port, pad: [0; 2], service: last.service };
        let _ = UDP_ORIGIN.insert(udp_key(ctx, last.backend, last.backend_port), origin, 0);
    }
    store(ctx, *next);
}

#[inline(always)]
fn udp_key(ctx: &SockAddrContext, backend: Ip4, port: Be16) -> UdpOriginKey {
    // SAFETY: the helper reads the context that it is given.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    UdpOriginKey { cookie, backend, port, pad: [0; 2] }
}

/// Shows what was asked for instead of the backend that answers.
#[inline(always)]
fn show_origin(ctx: &SockAddrContext) {
    let (addr, port, proto) = asked(ctx);
    let last = stored(ctx);
    if last.service != 0 && (last.backend, last.backend_port) == (addr, port) {
        write(ctx, last.addr, last.port);
    } else if proto == PROTO_UDP {
        // SAFETY: the value is copied out at once.
        let earlier = unsafe { UDP_ORIGIN.get(udp_key(ctx, addr, port)) }.copied();
        if let Some(earlier) = earlier {
            write(ctx, earlier.addr, earlier.port);
        }
    }
}
