//! The guard of node ports.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_netns_cookie, bpf_set_retval},
    programs::SockContext,
};
use skep_abi::{Be16, Ip, Metric, SCOPE_EXTERNAL, SvcKey};
use skep_logic::Tables as _;

use crate::{Kernel, config, count};

const PASS: i32 = 1;
const REFUSE: i32 = 0;
const EADDRINUSE: i32 = 98;
const AF_INET6: u32 = 10;

/// Refuses a port of the node that a Service has: whoever bound it would never hear from a client. Pods have ports of their own.
#[inline(always)]
pub fn guard_node_port(ctx: &SockContext) -> i32 {
    let Some(config) = config() else { return PASS };
    // SAFETY: the context is valid for the whole program.
    let (port, proto, family) =
        unsafe { ((*ctx.sock).src_port as u16, (*ctx.sock).protocol as u8, (*ctx.sock).family) };
    if port < config.node_port_min || port > config.node_port_max {
        return PASS;
    }
    // SAFETY: the helper reads the context that it is given.
    if unsafe { bpf_get_netns_cookie(ctx.as_ptr()) } != config.netns_cookie {
        return PASS;
    }
    let kernel = Kernel::at_link();
    let is_taken = |addr| {
        let key = SvcKey { addr, port: Be16::new(port), proto, scope: SCOPE_EXTERNAL };
        kernel.service(&key).is_some()
    };
    // An IPv6 socket takes its port of IPv4 too, unless told otherwise.
    if !is_taken(Ip::ANY_V4) && (family != AF_INET6 || !is_taken(Ip::NONE)) {
        return PASS;
    }
    count(Metric::BindRefused, 0);
    // SAFETY: the helper takes no pointer.
    unsafe { bpf_set_retval(-EADDRINUSE) };
    REFUSE
}
