//! Where things are.

use std::path::{Path, PathBuf};

/// The checkout: asked of cargo when it starts us, since a target folder that checkouts share may hold a binary that
/// another one built.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    manifest.as_deref().and_then(Path::parent).map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// What is built or fetched and kept between checkouts.
pub(crate) fn cache() -> PathBuf {
    std::env::var_os("SKEP_CACHE_DIR").map_or_else(|| root().join("target/cache"), PathBuf::from)
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The eBPF objects, where `skep-bpf` looks for them.
pub(crate) fn bpf_objects() -> PathBuf {
    root().join("target/bpf")
}

/// The container images, as OCI archives.
pub(crate) fn images() -> PathBuf {
    cache().join("images")
}
