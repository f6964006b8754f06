//! The clusters that the verbs start: `skep_testkit`'s, made of what this checkout builds.

use std::net::SocketAddr;

use anyhow::Result;
use skep_testkit::cluster::{Cluster, Parts};

use crate::build::{self, Profile};
use crate::{image, kubectl, paths};

/// The cluster of `./x up`.
pub(crate) const UP: &str = "up";

/// The binaries and images of this checkout.
pub(crate) fn parts(profile: Profile) -> Result<Parts> {
    Ok(Parts { skep: build::skep(profile), kubectl: kubectl::path()?, images: image::archives()? })
}

/// Starts a cluster made of them.
pub(crate) fn start(name: &str, listen: SocketAddr, profile: Profile) -> Result<Cluster> {
    Cluster::start(name, &parts(profile)?, listen)
}

/// A manifest that the demo applies.
pub(crate) fn manifest(name: &str) -> String {
    paths::root().join("deploy/demo").join(name).display().to_string()
}
