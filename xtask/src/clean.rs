//! Removing what killed runs left.

use std::fs;

use anyhow::Result;
use skep_testkit::cluster::{remove, state_dir};
use skep_testkit::fleet;

use crate::build::{self, Profile};
use crate::cluster;
use crate::shell::say;

/// Removes every cluster that has state on this machine.
pub(crate) fn run() -> Result<()> {
    let mut names = vec![cluster::UP.to_owned()];
    if let Ok(entries) = fs::read_dir("/var/lib/skep") {
        names.extend(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()));
    }
    names.sort();
    names.dedup();
    for name in names {
        if state_dir(&name).exists() {
            say(&format!("removing cluster {name}"));
        }
        fleet::remove(&name, &build::skep(Profile::Dev))?;
        remove(&name, &build::skep(Profile::Dev))?;
    }
    Ok(())
}
