//! What the programs share: their maps and the kernel's side of the traits of `skep-logic`.

#![no_std]

mod arrive;
mod bind;
mod checked;
mod endpoint;
mod kernel;
mod maps;
mod nat;
mod packet;
mod policing;
mod reject;
mod reverse;
mod rewrite;
mod route;
mod serve;
mod socket;

pub use arrive::arrive;
pub use bind::guard_node_port;
pub use endpoint::{endpoint, note_translated, remote, sent_by};
pub use kernel::{Kernel, config, count, debugging, is_of_stack, refuse};
pub use maps::{SOCK_ORIGIN, UDP_ORIGIN};
pub use nat::masquerade;
pub use packet::{DROP, NEXT, Skb};
pub use policing::{may_enter, may_pass};
pub use reverse::reverse;
pub use rewrite::Field;
pub use serve::{NOT_SERVICE, TRANSLATED, is_here, serve};
pub use socket::Call;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier would refuse a program that can get here.
    loop {}
}
