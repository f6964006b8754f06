//! Service translation at the socket: what the hooks of `cgroup_sock` do, for IPv4 and for IPv4 on IPv6 sockets.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval},
    programs::SockAddrContext,
};
use aya_log_ebpf::info;
use skep_abi::{Be16, Ip4, Metric, Origin, PROTO_TCP, PROTO_UDP, SockOrigin, UdpOriginKey};
use skep_logic::{Choice, Picked, choose_affine, choose_sticky, lookup};

use crate::{Kernel, SOCK_ORIGIN, UDP_ORIGIN, count, debugging};

/// The call goes on.
const PASS: i32 = 1;
/// The call fails with the error that was set.
const REFUSE: i32 = 0;

const ECONNREFUSED: i32 = 111;
const IPPROTO_MPTCP: u32 = 262;

/// Third word of an IPv4-mapped address (RFC 4291, 2.5.5.2), as it stands in memory.
const MAPPED: u32 = 0xffff_u32.to_be();

/// What an application asks of a socket. `V6` is an IPv6 one, which reaches IPv4 by mapped addresses.
pub struct Call<'a, const V6: bool>(pub &'a SockAddrContext);

impl<const V6: bool> Call<'_, V6> {
    /// `connect`.
    #[inline(always)]
    pub fn connect(&self) -> i32 {
        let kernel = Kernel::at_socket(self.0);
        let (addr, port, proto) = self.asked();
        let Some((key, head)) = lookup(&kernel, addr, port, proto) else {
            self.forget();
            return PASS;
        };
        match choose_affine(&kernel, &key, head, self.client()) {
            Choice::Backend(picked) => {
                self.store(origin(addr, port, &picked));
                count(Metric::Connect, 0);
                self.redirect(&picked)
            }
            Choice::NotService => {
                self.forget();
                PASS
            }
            Choice::NoBackend(_) => self.refuse(Metric::DropNoBackend),
            Choice::Raced(_) => self.refuse(Metric::DropBackendRace),
        }
    }

    /// `sendto` and the like, on an unconnected UDP socket. A flow stays with its backend while that is listed, as with connection
    /// tracking.
    #[inline(always)]
    pub fn send(&self) -> i32 {
        let kernel = Kernel::at_socket(self.0);
        let (addr, port, _) = self.asked();
        let Some((key, head)) = lookup(&kernel, addr, port, PROTO_UDP) else { return PASS };
        let last = self.stored();
        let choice = if last.service != 0 && (last.addr, last.port) == (addr, port) {
            choose_sticky(&kernel, &key, head, (last.backend, last.backend_port), last.row)
        } else {
            choose_affine(&kernel, &key, head, self.client())
        };
        match choice {
            Choice::Backend(picked) => {
                let next = origin(addr, port, &picked);
                if last != next {
                    self.remember(&last, &next);
                }
                count(Metric::SendMsg, 0);
                self.redirect(&picked)
            }
            Choice::NotService => PASS,
            Choice::NoBackend(_) => self.refuse(Metric::DropNoBackend),
            Choice::Raced(_) => self.refuse(Metric::DropBackendRace),
        }
    }

    /// `recvfrom` and `getpeername`: shows what was asked for instead of the backend that answers.
    #[inline(always)]
    pub fn show_origin(&self) -> i32 {
        let (addr, port, proto) = self.asked();
        let last = self.stored();
        if last.service != 0 && (last.backend, last.backend_port) == (addr, port) {
            self.write(last.addr, last.port);
        } else if proto == PROTO_UDP {
            // SAFETY: the value is copied out at once.
            let earlier = unsafe { UDP_ORIGIN.get(self.udp_key(addr, port)) }.copied();
            if let Some(earlier) = earlier {
                self.write(earlier.addr, earlier.port);
            }
        }
        PASS
    }

    /// Who calls, as session affinity tells clients apart: the network namespace.
    #[inline(always)]
    fn client(&self) -> u64 {
        // SAFETY: the helper reads the context that it is given.
        unsafe { bpf_get_netns_cookie(self.0.as_ptr()) }
    }

    /// Address, port and protocol in the call. An IPv6 address that maps none reads as 0.0.0.0, at which no service is. Multipath TCP
    /// counts as TCP: each of its subflows is.
    #[inline(always)]
    fn asked(&self) -> (Ip4, Be16, u8) {
        let sock = self.0.sock_addr;
        // SAFETY: the context is valid for the whole program.
        let (addr, port, protocol) = unsafe {
            let addr = if !V6 {
                (*sock).user_ip4
            } else if (*sock).user_ip6[0] == 0 && (*sock).user_ip6[1] == 0 && (*sock).user_ip6[2] == MAPPED {
                (*sock).user_ip6[3]
            } else {
                0
            };
            (addr, (*sock).user_port, (*sock).protocol)
        };
        let proto = if protocol == IPPROTO_MPTCP { PROTO_TCP } else { protocol as u8 };
        (Ip4::from_ne(addr), Be16::from_ne(port), proto)
    }

    #[inline(always)]
    fn write(&self, addr: Ip4, port: Be16) {
        let sock = self.0.sock_addr;
        // SAFETY: the context is valid for the whole program, and these fields are writable at these hooks. A mapped address stays
        // one: only its last word differs.
        unsafe {
            if V6 {
                (*sock).user_ip6[3] = addr.to_ne();
            } else {
                (*sock).user_ip4 = addr.to_ne();
            }
            (*sock).user_port = port.to_ne();
        }
    }

    #[inline(always)]
    fn redirect(&self, picked: &Picked) -> i32 {
        let backend = &picked.backend;
        if debugging() {
            let (addr, port, _) = self.asked();
            let (from, to) = (u32::from_be(addr.to_ne()), u32::from_be(backend.addr.to_ne()));
            let (port, to_port) = (port.get(), backend.port.get());
            info!(self.0, "service {} at {:i}:{} goes to {:i}:{}", backend.service, from, port, to, to_port);
        }
        self.write(backend.addr, backend.port);
        PASS
    }

    #[inline(always)]
    fn refuse(&self, why: Metric) -> i32 {
        count(why, 0);
        if debugging() {
            let (addr, port, _) = self.asked();
            info!(self.0, "refused {:i}:{}, reason {}", u32::from_be(addr.to_ne()), port.get(), why as u32);
        }
        // SAFETY: the helper takes no pointer.
        unsafe { bpf_set_retval(-ECONNREFUSED) };
        REFUSE
    }

    /// What the socket holds; all zero where that is nothing. Not an `Option`: the verifier would refuse a copy of what `None` leaves
    /// undefined.
    #[inline(always)]
    fn stored(&self) -> SockOrigin {
        // SAFETY: the context's socket is valid, and its storage is freed only after a grace period that this program holds off.
        match unsafe { SOCK_ORIGIN.get_ptr_mut(self.0).as_ref() } {
            Some(held) => *held,
            None => SockOrigin::default(),
        }
    }

    /// A socket that gets no storage still reaches its backend; only its peer's name is then the backend's.
    #[inline(always)]
    fn store(&self, mut next: SockOrigin) {
        let value = next;
        // SAFETY: as for `stored`; the helper copies the initial value before it returns.
        unsafe {
            let slot = SOCK_ORIGIN.get_or_insert_ptr_mut(self.0, Some(&mut next));
            if !slot.is_null() {
                *slot = value;
            }
        }
    }

    #[inline(always)]
    fn forget(&self) {
        // SAFETY: the context's socket is valid.
        let _ = unsafe { SOCK_ORIGIN.delete((*self.0.sock_addr).__bindgen_anon_1.sk) };
    }

    /// Keeps what a reply on an unconnected socket is to be shown as: the latest in the socket, the one before in the shared table.
    #[inline(always)]
    fn remember(&self, last: &SockOrigin, next: &SockOrigin) {
        if last.service != 0 && (last.backend, last.backend_port) != (next.backend, next.backend_port) {
            let origin = Origin { addr: last.addr, port: last.port, pad: [0; 2], service: last.service };
            let _ = UDP_ORIGIN.insert(self.udp_key(last.backend, last.backend_port), origin, 0);
        }
        self.store(*next);
    }

    #[inline(always)]
    fn udp_key(&self, backend: Ip4, port: Be16) -> UdpOriginKey {
        // SAFETY: the helper reads the context that it is given.
        let cookie = unsafe { bpf_get_socket_cookie(self.0.as_ptr()) };
        UdpOriginKey { cookie, backend, port, pad: [0; 2] }
    }
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
