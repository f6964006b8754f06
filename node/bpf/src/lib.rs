//! Load, check, pin, attach and replace the eBPF programs; typed map handles.
//!
//! [`Datapath::open`] brings a node's datapath up, or takes over the one that a former daemon left behind: maps are adopted after a
//! check of their layout, ids and ranges are restored from them, and programs are replaced in place, so that no packet and no
//! connection meets a gap. Dropping it leaves all of that running; [`detach_all`] takes it down. [`Inspector`] reads a node's
//! maps from their pins alone, with or without a daemon.
//!
//! Under the pin directory, in bpffs: `maps/NAME` and `links/NAME`. A pinned link keeps its program, and the program its maps.
//!
//! Invariants: a map whose layout differs from `skep-abi` is never used; nothing stale is removed before the first full view
//! ([`Datapath::sync_services`]); a failed write makes the tables be read from the kernel again, never be guessed.
//!
//! The crate owns no task. Calls block for as long as a few system calls take; [`Datapath`] may be shared between threads.

mod attach;
mod datapath;
mod debug;
mod endpoint;
mod error;
mod flows;
mod grow;
mod inspect;
mod load;
mod mapped;
mod options;
mod pin;
mod policy;
mod probe;
mod remote;
mod sockets;
mod sys;
mod table;

pub use datapath::{Applied, Datapath};
pub use debug::DebugLines;
pub use endpoint::EndpointSpec;
pub use error::Error;
pub use flows::{Sweep, Swept};
pub use inspect::{CounterRow, EndpointRow, Inspector, MapRow, ProgramRow};
pub use options::{Masquerade, Options, Sizes};
pub use pin::{detach_all, pin_dir};
pub use remote::RemoteRow;
pub use skep_abi::{OVERLAY_VNI, TUNNEL_PORT};
pub use sockets::GoneBackend;
