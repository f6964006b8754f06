//! What built-in admission decides, as pure functions over typed objects.
//!
//! The API server's plugins ask these functions and hold no policy; the quota controller measures usage with the same ones.
//! [`podsecurity`] has the Pod Security Standards, [`limits`] what LimitRanges ask, [`quota`] what objects count for.
//!
//! Invariants: nothing here reads a clock or a cache; every function is total.

mod amounts;
pub mod limits;
pub mod podsecurity;
pub mod quota;
mod resources;

pub use amounts::{Amount, Amounts};
