//! Why the datapath cannot be had.

use std::io;
use std::path::PathBuf;

/// An error of the datapath.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller may not load programs.
    #[error("the datapath needs root: CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN")]
    NotRoot,
    /// The kernel lacks what the programs need.
    #[error("kernel {found} is too old: tcx needs 6.6 or later")]
    KernelTooOld {
        /// Release of the running kernel.
        found: String,
    },
    /// The cgroup directory is not in a cgroup2 hierarchy.
    #[error("{} is not in a cgroup2 hierarchy: mount cgroup2 and give the node a directory there", path.display())]
    NoCgroup2 {
        /// What was given.
        path: PathBuf,
    },
    /// The pin directory is not in a bpffs.
    #[error("{} is not in a bpf file system: mount one at /sys/fs/bpf", path.display())]
    NoBpffs {
        /// What was given.
        path: PathBuf,
    },
    /// Another daemon holds the pin directory.
    #[error("another daemon serves the datapath in {}", path.display())]
    Busy {
        /// The pin directory.
        path: PathBuf,
    },
    /// The node's link does not exist.
    #[error("no link {name} in this network namespace")]
    NoLink {
        /// Its name.
        name: String,
    },
    /// A pinned map is not what this version expects.
    #[error("pinned map {} has {what} {found}, this version needs {expected}; detach the old datapath first", path.display())]
    Incompatible {
        /// Path of the pin.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What the pinned map has.
        found: u32,
        /// What is needed.
        expected: u32,
    },
    /// An embedded object does not load.
    #[error("eBPF object {object} does not load")]
    Object {
        /// Name of the object.
        object: &'static str,
        /// Why.
        #[source]
        source: Box<aya::EbpfError>,
    },
    /// The kernel refuses a program.
    #[error("the kernel refuses eBPF program {program}")]
    Program {
        /// Name of the program.
        program: &'static str,
        /// Why, with the verifier's log.
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    /// The cluster does not fit, and the table cannot grow.
    #[error("a table is too small")]
    Full(#[from] skep_datapath::Full),
    /// The debug lines are followed by someone else.
    #[error("the debug lines are followed already")]
    DebugBusy,
    /// The log of the programs cannot be read.
    #[error("cannot read the programs' debug lines")]
    DebugLog(#[source] Box<aya_log::Error>),
    /// A system call failed.
    #[error("cannot {what}")]
    Sys {
        /// What was tried.
        what: String,
        /// The errno.
        #[source]
        source: io::Error,
    },
}

/// Names what was tried when a system call fails.
pub(crate) trait Context<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Sys { what: what(), source: source.into() })
    }
}
