//! Desired state against the kernel's.

use skep_bpf::{Error, Inspector};
use skep_datapath::Difference;

/// Whoever keeps a table as it should be, and so can tell where it is not.
pub trait Verify: Send + Sync {
    /// What differs now.
    ///
    /// # Errors
    /// A map cannot be read.
    fn verify(&self, kernel: &Inspector) -> Result<Vec<Difference>, Error>;
}
