//! Service translation at the socket: what the hooks of `cgroup_sock` do, for sockets of either family.

use aya_ebpf::{
    EbpfContext as _,
    bindings::bpf_sock_addr,
    helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval},
    programs::SockAddrContext,
};
use aya_log_ebpf::info;
use skep_abi::{Be16, Ip, Ip4, Metric, Origin, PROTO_TCP, PROTO_UDP, SCOPE_EXTERNAL, SockOrigin, SvcKey, UdpOriginKey};
use skep_logic::{Drawn, Last, Picked, find, is_service_address, pick};

use crate::checked::arguments;
use crate::{Kernel, SOCK_ORIGIN, UDP_ORIGIN, count, debugging};

/// The call goes on.
const PASS: i32 = 1;
/// The call fails with the error that was set.
const REFUSE: i32 = 0;

const ECONNREFUSED: i32 = 111;
const IPPROTO_MPTCP: u32 = 262;

/// What an application asks of a socket. `V6` is an IPv6 one, which reaches IPv4 by mapped addresses.
pub struct Call<'a, const V6: bool>(pub &'a SockAddrContext);

impl<const V6: bool> Call<'_, V6> {
    /// `connect`.
    #[inline(always)]
    pub fn connect(&self) -> i32 {
        let asked = self.asked();
        let mut pick = Pick::default();
        match pick_for(self.0, &asked, &Last::default(), &mut pick) {
            BACKEND => {
                self.store(&asked, &pick);
                if asked.proto == PROTO_UDP {
                    // By its cookie, so that the socket is found when its backend is gone.
                    let at = SockOrigin { backend: pick.addr, backend_port: pick.port, ..SockOrigin::default() };
                    self.keep_earlier(&SockOrigin { addr: asked.addr, port: asked.port, service: pick.service, ..at });
                }
                count(Metric::Connect, 0);
                self.redirect(&asked, &pick)
            }
            NOT_SERVICE => {
                self.forget();
                PASS
            }
            OTHER_PORT if !has_ports(asked.proto) => PASS,
            OTHER_PORT => self.refuse(&asked, Metric::Rejected),
            NO_BACKEND => self.refuse(&asked, Metric::DropNoBackend),
            _ => self.refuse(&asked, Metric::DropBackendRace),
        }
    }

    /// `sendto` and the like, on an unconnected UDP socket. A flow stays with its backend while that is listed, as with connection
    /// tracking.
    #[inline(always)]
    pub fn send(&self) -> i32 {
        let asked = Asked { proto: PROTO_UDP, ..self.asked() };
        let held = self.stored();
        let known = held.service != 0 && held.addr == asked.addr && held.port == asked.port;
        let last = Last { known, addr: held.backend, port: held.backend_port, row: held.row };
        let mut pick = Pick::default();
        match pick_for(self.0, &asked, &last, &mut pick) {
            BACKEND => {
                self.remember(&held, &asked, &pick);
                count(Metric::SendMsg, 0);
                self.redirect(&asked, &pick)
            }
            NOT_SERVICE => PASS,
            OTHER_PORT => self.refuse(&asked, Metric::Rejected),
            NO_BACKEND => self.refuse(&asked, Metric::DropNoBackend),
            _ => self.refuse(&asked, Metric::DropBackendRace),
        }
    }

    /// `recvfrom` and `getpeername`: shows what was asked for instead of the backend that answers.
    #[inline(always)]
    pub fn show_origin(&self) -> i32 {
        let Asked { addr, port, proto } = self.asked();
        let last = self.stored();
        if last.service != 0 && last.backend == addr && last.backend_port == port {
            self.write(&last.addr, last.port);
        } else if proto == PROTO_UDP {
            // SAFETY: the value is copied out at once.
            let earlier = unsafe { UDP_ORIGIN.get(self.udp_key(addr, port)) }.copied();
            if let Some(earlier) = earlier {
                self.write(&earlier.addr, earlier.port);
            }
        }
        PASS
    }

    /// Address, port and protocol in the call. Multipath TCP counts as TCP: each of its subflows is.
    #[inline(always)]
    fn asked(&self) -> Asked {
        let sock = self.0.sock_addr;
        // SAFETY: the context is valid for the whole program.
        let (addr, port, protocol) = unsafe {
            let addr = if V6 {
                let [a, b, c, d] = [0, 1, 2, 3].map(|word| (&raw const (*sock).user_ip6[word]).read_volatile());
                Ip::from_words([a, b, c, d])
            } else {
                Ip::from_v4(Ip4::from_ne((*sock).user_ip4))
            };
            (addr, (*sock).user_port, (*sock).protocol)
        };
        let proto = if protocol == IPPROTO_MPTCP { PROTO_TCP } else { protocol as u8 };
        Asked { addr, port: Be16::from_ne(port), proto }
    }

    #[inline(always)]
    fn write(&self, addr: &Ip, port: Be16) {
        let sock = self.0.sock_addr;
        // SAFETY: the context is valid for the whole program, and these fields are writable at these hooks. A mapped address stays
        // one, since a service's backends are of its family.
        unsafe {
            if V6 {
                let words = addr.words();
                (&raw mut (*sock).user_ip6[0]).write_volatile(words[0]);
                (&raw mut (*sock).user_ip6[1]).write_volatile(words[1]);
                (&raw mut (*sock).user_ip6[2]).write_volatile(words[2]);
                (&raw mut (*sock).user_ip6[3]).write_volatile(words[3]);
            } else {
                (*sock).user_ip4 = addr.v4().to_ne();
            }
            (*sock).user_port = port.to_ne();
        }
    }

    #[inline(always)]
    fn redirect(&self, asked: &Asked, pick: &Pick) -> i32 {
        if debugging() {
            if V6 {
                tell_redirect6(asked, pick)
            } else {
                tell_redirect4(asked, pick)
            };
        }
        self.write(&pick.addr, pick.port);
        PASS
    }

    #[inline(always)]
    fn refuse(&self, asked: &Asked, why: Metric) -> i32 {
        count(why, 0);
        if debugging() {
            if V6 {
                tell_refusal6(asked, why as u32)
            } else {
                tell_refusal4(asked, why as u32)
            };
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

    /// A socket that gets no storage still reaches its backend; only its peer's name is then the backend's. Called rather than inlined, for
    /// its stack.
    #[inline(never)]
    fn store(&self, asked: &Asked, pick: &Pick) {
        let mut next = origin(asked, pick);
        // SAFETY: as for `stored`; the helper copies the initial value before it returns.
        unsafe {
            let slot = SOCK_ORIGIN.get_or_insert_ptr_mut(self.0, Some(&mut next));
            if !slot.is_null() {
                *slot = next;
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
    fn remember(&self, held: &SockOrigin, asked: &Asked, pick: &Pick) {
        let same_backend = held.backend == pick.addr && held.backend_port == pick.port;
        let same = held.service == pick.service && held.addr == asked.addr && held.port == asked.port;
        if same && same_backend && held.row == pick.row {
            return;
        }
        if held.service != 0 && !same_backend {
            self.keep_earlier(held);
        }
        self.store(asked, pick);
    }

    /// Keeps an earlier translation, or that of a connected socket.
    #[inline(never)]
    fn keep_earlier(&self, held: &SockOrigin) {
        let origin = Origin { addr: held.addr, port: held.port, pad: [0; 2], service: held.service };
        let _ = UDP_ORIGIN.insert(self.udp_key(held.backend, held.backend_port), origin, 0);
    }

    #[inline(always)]
    fn udp_key(&self, backend: Ip, port: Be16) -> UdpOriginKey {
        // SAFETY: the helper reads the context that it is given.
        let cookie = unsafe { bpf_get_socket_cookie(self.0.as_ptr()) };
        UdpOriginKey { cookie, backend, port, pad: [0; 6] }
    }
}

/// What lines are written with, and not looked at for.
const NO_CONTEXT: SockAddrContext = SockAddrContext::new(core::ptr::null_mut());

/// A debug line of a call that goes to a backend, on an IPv4 socket.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_redirect4(asked: *const Asked, pick: *const Pick) -> i32 {
    arguments!(asked, pick or 0);
    let (from, to) = (u32::from_be(asked.addr.v4().to_ne()), u32::from_be(pick.addr.v4().to_ne()));
    let (port, to_port) = (asked.port.get(), pick.port.get());
    info!(&NO_CONTEXT, "service {} at {:i}:{} goes to {:i}:{}", pick.service, from, port, to, to_port);
    0
}

/// The same on an IPv6 socket, whatever family it reaches.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_redirect6(asked: *const Asked, pick: *const Pick) -> i32 {
    arguments!(asked, pick or 0);
    let port = asked.port.get();
    info!(&NO_CONTEXT, "service {} at {:i} port {} goes to {:i}", pick.service, asked.addr.0, port, pick.addr.0);
    0
}

/// A debug line of a call that is refused, on an IPv4 socket.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_refusal4(asked: *const Asked, why: u32) -> i32 {
    arguments!(asked or 0);
    info!(&NO_CONTEXT, "refused {:i}:{}, reason {}", u32::from_be(asked.addr.v4().to_ne()), asked.port.get(), why);
    0
}

/// The same on an IPv6 socket.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_refusal6(asked: *const Asked, why: u32) -> i32 {
    arguments!(asked or 0);
    info!(&NO_CONTEXT, "refused {:i} port {}, reason {}", asked.addr.0, asked.port.get(), why);
    0
}

#[inline(always)]
fn origin(asked: &Asked, pick: &Pick) -> SockOrigin {
    SockOrigin {
        addr: asked.addr,
        backend: pick.addr,
        port: asked.port,
        backend_port: pick.port,
        service: pick.service,
        row: pick.row,
    }
}

#[inline(always)]
const fn has_ports(proto: u8) -> bool {
    proto == PROTO_TCP || proto == PROTO_UDP
}

/// What a call asks for.
#[repr(C)]
struct Asked {
    addr: Ip,
    port: Be16,
    proto: u8,
}

/// The backend that was chosen.
#[repr(C)]
#[derive(Default)]
struct Pick {
    addr: Ip,
    port: Be16,
    service: u32,
    row: u32,
}

// What a call is for.
/// A service: the backend that was chosen.
const BACKEND: i32 = 0;
/// No service's address.
const NOT_SERVICE: i32 = 1;
/// The address of a service, which does not have the port.
const OTHER_PORT: i32 = 2;
/// A service without a backend.
const NO_BACKEND: i32 = 3;
/// Every attempt met a row of another service.
const RACED: i32 = 4;

/// The service that a call is for.
#[repr(C)]
#[derive(Default)]
struct Found {
    key: SvcKey,
    picked: Picked,
}

/// Finds the service that a call is for.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_called(ctx: *mut bpf_sock_addr, asked: *const Asked, found: *mut Found) -> i32 {
    arguments!(asked or NOT_SERVICE);
    arguments!(mut found or NOT_SERVICE);
    let ctx = SockAddrContext::new(ctx);
    let kernel = Kernel::at_socket(&ctx);
    found.key = SvcKey { addr: asked.addr, port: asked.port, proto: asked.proto, scope: SCOPE_EXTERNAL };
    if find(&kernel, &mut found.key, &mut found.picked.head) {
        return BACKEND;
    }
    if is_service_address(&kernel, asked.addr) { OTHER_PORT } else { NOT_SERVICE }
}

/// Chooses a backend of the service: the one that the caller has had while that is listed, or that of its network namespace where the service
/// has affinity.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn choose_called(ctx: *mut bpf_sock_addr, found: *mut Found, last: *const Last, picked: *mut Pick) -> i32 {
    arguments!(last or NOT_SERVICE);
    arguments!(mut found, picked or NOT_SERVICE);
    // SAFETY: the helper reads the context that it is given.
    let client = Ip::of_cookie(unsafe { bpf_get_netns_cookie(ctx.cast()) });
    match pick(&Kernel::at_link(), &found.key, &mut found.picked, &client, *last) {
        Drawn::Backend => {
            let Picked { row, backend, .. } = &found.picked;
            *picked = Pick { addr: backend.addr, port: backend.port, service: backend.service, row: *row };
            BACKEND
        }
        Drawn::NotService => NOT_SERVICE,
        Drawn::NoBackend => NO_BACKEND,
        Drawn::Raced => RACED,
    }
}

/// Chooses a backend for a call.
#[inline(always)]
fn pick_for(ctx: &SockAddrContext, asked: &Asked, last: &Last, pick: &mut Pick) -> i32 {
    let mut found = Found::default();
    match find_called(ctx.sock_addr, asked, &mut found) {
        BACKEND => choose_called(ctx.sock_addr, &mut found, last, pick),
        other => other,
    }
}
