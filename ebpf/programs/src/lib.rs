//! What the programs share: their maps and the kernel's side of the traits of `skep-logic`.

#![no_std]

mod bind;
mod endpoint;
mod kernel;
mod maps;
mod nat;
mod packet;
mod policing;
mod reverse;
mod rewrite;
mod route;
mod socket;

pub use bind::guard_node_port;
pub use endpoint::{endpoint, remote, sent_by};
pub use kernel::{Kernel, config, count, debugging, refuse};
pub use maps::{CT_V4, SOCK_ORIGIN, UDP_ORIGIN};
pub use nat::{masquerade, unmasquerade};
pub use packet::{DROP, NEXT, Skb};
pub use policing::{may_enter, may_pass};
pub use reverse::reverse;
pub use rewrite::Field;
pub use socket::Call;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier would refuse a program that can get here.
    loop {}
}
