//! What the host must offer, looked at before anything is made.

use std::path::Path;

use nix::sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, statfs};

use crate::Error;
use crate::error::Context as _;

/// Checks user, kernel and cgroup hierarchy.
pub(crate) fn probe_host(cgroup: &Path) -> Result<(), Error> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let uname = nix::sys::utsname::uname().context(|| "read the kernel's release".to_owned())?;
    let release = uname.release().to_string_lossy();
    if !is_at_least(&release, (6, 6)) {
        return Err(Error::KernelTooOld { found: release.into_owned() });
    }
    match statfs(cgroup) {
        Ok(stat) if stat.filesystem_type() == CGROUP2_SUPER_MAGIC => Ok(()),
        _ => Err(Error::NoCgroup2 { path: cgroup.to_owned() }),
    }
}

/// Whether a directory is in a bpf file system.
pub(crate) fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}

fn is_at_least(release: &str, floor: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= floor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_number() {
        for (release, enough) in
            [("6.6.0", true), ("6.18.44-x", true), ("7.0", true), ("6.1.0-13-amd64", false), ("", false)]
        {
            assert_eq!(is_at_least(release, (6, 6)), enough, "{release}");
        }
    }
}
