//! SPDY/3.1 (draft-mbelshe-httpbis-spdy-00 with the changes of 3.1), as far as container runtimes speak it: streams with headers,
//! data, half-close, reset and ping. There is no flow control: runtimes neither send nor heed window updates.
//!
//! [`Encoder`] and [`Decoder`] are the entry types. Both are state machines over bytes in memory, since the compression of headers
//! goes on from frame to frame: one of each belongs to one connection, and each sees all of its frames in order.
//!
//! Invariants: no input panics; what an [`Encoder`] wrote, a [`Decoder`] reads back as it was; a decoder holds no more than one
//! frame, and refuses headers that unpack to more than 64 KiB.

mod dictionary;
mod frame;
mod header;

pub use frame::{Decoder, Encoder, Frame, STREAM_ID_MAX};

/// Names and values, in order. Names are lower case on the wire.
pub type Headers = Vec<(String, String)>;

/// Bytes that are no SPDY.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A control frame of another version.
    #[error("frame of SPDY version {0}, not 3")]
    Version(u16),
    /// A control frame that is too short, or longer than any may be.
    #[error("frame of type {kind} with {len} bytes")]
    Length {
        /// Its type.
        kind: u16,
        /// What its head says.
        len: usize,
    },
    /// A header block that does not unpack, or whose content is not as it says.
    #[error("header block: {0}")]
    Headers(&'static str),
}
