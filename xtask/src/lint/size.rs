//! Files that have grown past what a reader holds in mind.

use std::fs;

use anyhow::{Result, bail};

use super::relative;
use crate::paths;
use crate::shell::read;

const LINES_MAX: usize = 800;
const PROGRAM_LINES_MAX: usize = 150;

/// Fails on Rust files over 800 lines, and on eBPF programs over 150.
pub(crate) fn check() -> Result<()> {
    let root = paths::root();
    let listed = read(std::process::Command::new("git").arg("-C").arg(&root).args([
        "ls-files",
        "-co",
        "--exclude-standard",
        "*.rs",
    ]))?;
    let mut faults = Vec::new();
    for name in listed.lines() {
        let path = root.join(name);
        let lines = fs::read_to_string(&path).map_or(0, |text| text.lines().count());
        let most = if name.starts_with("ebpf/programs/src/bin/") { PROGRAM_LINES_MAX } else { LINES_MAX };
        if lines > most {
            faults.push(format!("{}: {lines} lines, at most {most}", relative(&path)));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    bail!("too long, split by subject:\n  {}", faults.join("\n  "))
}
