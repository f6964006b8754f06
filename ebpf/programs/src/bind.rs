//! The guard of node ports.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_netns_cookie, bpf_set_retval},
    programs::SockContext,
};
use skep_abi::{Be16, Ip4, Metric, SCOPE_EXTERNAL, SvcKeyV4};
use skep_logic::Tables as _;

use crate::{Kernel, config, count};

const PASS: i32 = 1;
const REFUSE: i32 = 0;
const EADDRINUSE: i32 = 98;

/// Refuses a port of the node that a Service has: whoever bound it would never hear from a client. Pods have ports of their own.
#[inline(always)]
pub fn guard_node_port(ctx: &SockContext) -> i32 {
    let Some(config) = config() else { return PASS };
    // SAFETY: the context is valid for the whole program.
    let (port, proto) = unsafe { ((*ctx.sock).src_port as u16, (*ctx.sock).protocol as u8) };
    if port < config.node_port_min || port > config.node_port_max {
        return PASS;
    }
    // SAFETY: the helper reads the context that it is given.
    if unsafe { bpf_get_netns_cookie(ctx.as_ptr()) } != config.netns_cookie {
        return PASS;
    }
    let key = SvcKeyV4 { addr: Ip4::ANY, port: Be16::new(port), proto, scope: SCOPE_EXTERNAL };
    if Kernel::at_link().service(&key).is_none() {
        return PASS;
    }
    count(Metric::BindRefused, 0);
    // SAFETY: the helper takes no pointer.
    unsafe { bpf_set_retval(-EADDRINUSE) };
    REFUSE
}
