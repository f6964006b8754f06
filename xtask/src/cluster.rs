//! The clusters that the verbs start: `skep_testkit`'s, made of what this checkout builds.

use std::net::SocketAddr;

use anyhow::Result;
use skep_testkit::cluster::{Cluster, Parts};

use crate::{build, image, kubectl, paths};

/// The cluster of `./x up`.
pub(crate) const UP: &str = "up";

/// The binaries and images of this checkout.
pub(crate) fn parts() -> Result<Parts> {
    Ok(Parts { skep: build::skep(), kubectl: kubectl::path()?, images: image::archives()? })
}

/// Starts a cluster made of them.
pub(crate) fn start(name: &str, listen: SocketAddr) -> Result<Cluster> {
    Cluster::start(name, &parts()?, listen)
}

/// A manifest that the demo applies.
pub(crate) fn manifest(name: &str) -> String {
    paths::root().join("deploy/demo").join(name).display().to_string()
}
