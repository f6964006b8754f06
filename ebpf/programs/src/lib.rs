//! What the programs share: their maps and the kernel's side of the traits of `skep-logic`.

#![no_std]

mod bind;
mod kernel;
mod maps;
mod packet;
mod policing;
mod reverse;
mod socket;

pub use bind::guard_node_port;
pub use kernel::{Kernel, config, count, debugging};
pub use maps::{CT_V4, ENDPOINTS, SOCK_ORIGIN, UDP_ORIGIN};
pub use packet::{DROP, Field, NEXT, Skb, parse};
pub use policing::{may_enter, may_pass};
pub use reverse::reverse;
pub use socket::Call;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier would refuse a program that can get here.
    loop {}
}
