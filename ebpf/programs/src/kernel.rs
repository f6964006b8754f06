//! The tables in the kernel.

use aya_ebpf::{
    EbpfContext as _,
    cty::c_void,
    helpers::{bpf_get_netns_cookie, bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_loop},
    programs::SockAddrContext,
};
use skep_abi::{Affinity, AffinityKey, Backend, CONFIG_DEBUG, Config, Ip, MaglevRow, Metric, NODE_OWN, Svc, SvcKey};
use skep_logic::{Drawn, Last, Picked, Tables, draw, is_same, stay};

use crate::DROP;
use crate::checked::arguments;
use crate::maps::{AFFINITY, BACKENDS, CONFIG, MAGLEV, METRICS, NODE_ADDRS, SVC};

/// The node's maps, seen from a socket or from a packet.
pub struct Kernel {
    socket: Option<*mut c_void>,
    inside: bool,
    pub(crate) from_stack: bool,
    pub(crate) hash: Option<u32>,
}

impl Kernel {
    /// As a program at a socket sees them.
    #[inline(always)]
    pub fn at_socket(ctx: &SockAddrContext) -> Self {
        Self { socket: Some(ctx.as_ptr()), inside: true, from_stack: false, hash: None }
    }

    /// As a program on a link sees them: no packet that arrives there has a loopback address.
    #[inline(always)]
    pub const fn at_link() -> Self {
        Self { socket: None, inside: false, from_stack: false, hash: None }
    }

    /// As a program on a pod's link sees them.
    #[inline(always)]
    pub const fn at_pod() -> Self {
        Self { socket: None, inside: true, from_stack: false, hash: None }
    }

    /// Whether loopback is the node's here, and not a pod's.
    #[inline(always)]
    fn in_node_netns(&self) -> bool {
        let (Some(ctx), Some(config)) = (self.socket, config()) else { return false };
        // SAFETY: the pointer is this program's own context.
        unsafe { bpf_get_netns_cookie(ctx) == config.netns_cookie }
    }
}

impl Tables for Kernel {
    #[inline(always)]
    fn service(&self, key: &SvcKey) -> Option<Svc> {
        // SAFETY: the value is copied at once; a concurrent update of the element replaces it and frees the old one after a
        // grace period, which this program holds off.
        unsafe { SVC.get(key) }.copied()
    }

    #[inline(always)]
    fn backend(&self, row: u32) -> Option<Backend> {
        BACKENDS.get(row).copied()
    }

    #[inline(always)]
    fn find(&self, base: u32, count: u32, wanted: &Backend) -> Option<u32> {
        let mut search = Search { wanted: *wanted, base, found: 0 };
        // SAFETY: the callback matches the helper's signature, and the context lives on this stack until the call returns.
        unsafe { bpf_loop(count, visit as *mut c_void, (&raw mut search).cast(), 0) };
        search.found.checked_sub(1)
    }

    #[inline(always)]
    fn is_node_address(&self, addr: &Ip) -> bool {
        if addr.is_loopback() {
            return self.in_node_netns();
        }
        // Not by a copy of the option: the verifier would refuse to read what `None` leaves undefined.
        // SAFETY: the value is read at once.
        match unsafe { NODE_ADDRS.get(addr) } {
            Some(kind) => *kind == NODE_OWN,
            None => false,
        }
    }

    #[inline(always)]
    fn node_ports(&self) -> (u16, u16) {
        config().map_or((u16::MAX, 0), |config| (config.node_port_min, config.node_port_max))
    }

    #[inline(always)]
    fn is_inside(&self) -> bool {
        self.inside
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: the helper takes nothing and touches no memory of ours.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn affinity(&self, key: &AffinityKey) -> Option<Affinity> {
        // SAFETY: the value is copied out at once; one that is replaced meanwhile sends a client to another backend, and no worse.
        unsafe { AFFINITY.get(key) }.copied()
    }

    #[inline(always)]
    fn keep_affinity(&self, key: &AffinityKey, last: &Affinity) {
        let _ = AFFINITY.insert(key, last, 0);
    }

    #[inline(always)]
    fn flow_hash(&self) -> Option<u32> {
        self.hash
    }

    #[inline(always)]
    fn maglev(&self, row: u32) -> Option<MaglevRow> {
        MAGLEV.get(row).copied()
    }

    #[inline(always)]
    fn stay(&self, head: &Svc, last: &Last) -> Option<u32> {
        u32::try_from(row_of(head, last)).ok()
    }

    #[inline(always)]
    fn draw(&self, key: &SvcKey, picked: &mut Picked) -> Drawn {
        match draw_backend(key, picked, self.hash.map_or(ANY_BACKEND, i64::from)) {
            DRAWN => Drawn::Backend,
            NO_BACKEND => Drawn::NoBackend,
            RACED => Drawn::Raced,
            _ => Drawn::NotService,
        }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: the helper takes nothing and touches no memory of ours.
        unsafe { bpf_get_prandom_u32() }
    }
}

/// In the place of a hash: any backend does.
const ANY_BACKEND: i64 = -1;
const DRAWN: i32 = 0;
const NO_BACKEND: i32 = 1;
const RACED: i32 = 2;
const NOT_SERVICE: i32 = 3;

/// The row in which a service lists a backend; negative where it does not.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn row_of(head: *const Svc, last: *const Last) -> i64 {
    arguments!(head, last or -1);
    stay(&Kernel::at_link(), head, last).map_or(-1, i64::from)
}

/// Chooses a backend of the service whose head stands in `picked`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn draw_backend(key: *const SvcKey, picked: *mut Picked, hash: i64) -> i32 {
    arguments!(key or NOT_SERVICE);
    arguments!(mut picked or NOT_SERVICE);
    let mut kernel = Kernel::at_link();
    kernel.hash = u32::try_from(hash).ok();
    match draw(&kernel, key, picked) {
        Drawn::Backend => DRAWN,
        Drawn::NoBackend => NO_BACKEND,
        Drawn::Raced => RACED,
        Drawn::NotService => NOT_SERVICE,
    }
}

/// A search for a backend in a list.
#[repr(C)]
struct Search {
    wanted: Backend,
    base: u32,
    /// The row and one more; 0 while it is not found.
    found: u32,
}

/// Looks at one row; 1 ends the search.
unsafe extern "C" fn visit(offset: u64, search: *mut Search) -> i64 {
    // SAFETY: the helper hands on the context that `find` gave it.
    let search = unsafe { &mut *search };
    let row = search.base.wrapping_add(offset as u32);
    match BACKENDS.get(row) {
        Some(backend) if is_same(backend, &search.wanted) => {
            search.found = row.wrapping_add(1);
            1
        }
        _ => 0,
    }
}

/// Whether this node's stack delivers to an address: one of its own, or that of a pod whose network is somebody else's.
#[inline(always)]
pub fn is_of_stack(addr: &Ip) -> bool {
    // SAFETY: only the element's presence is looked at.
    unsafe { NODE_ADDRS.get(addr) }.is_some()
}

/// The node's settings.
#[inline(always)]
pub fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// Whether debug lines are asked for.
#[inline(always)]
pub fn debugging() -> bool {
    config().is_some_and(|config| config.flags & CONFIG_DEBUG != 0)
}

/// Counts one event, of so many bytes.
#[inline(always)]
pub fn count(metric: Metric, bytes: u32) {
    if let Some(counter) = METRICS.get_ptr_mut(metric as u32) {
        // SAFETY: the pointer is into this CPU's row, and programs of one CPU do not preempt each other in between.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += u64::from(bytes);
        }
    }
}

/// Drops a packet, and counts why.
#[inline(always)]
pub fn refuse(metric: Metric, bytes: u32) -> i32 {
    count(metric, bytes);
    DROP
}
