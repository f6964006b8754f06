//! What the host must have, looked at before anything is made. Each lack is one line that says what to do.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use skep_cri::Cgroups;

/// tcx and its links are from this version on.
const KERNEL_MIN: (u32, u32) = (6, 6);
const PROGRAMS: [&str; 3] = ["containerd", "containerd-shim-runc-v2", "runc"];
const PROGRAM_DIRS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// # Errors
/// The first thing that is missing.
pub(crate) fn check() -> Result<Cgroups> {
    check_kernel_and_user()?;
    let cgroups = Cgroups::detect()?;
    for program in PROGRAMS {
        ensure!(is_installed(program), "{program} is not installed: apt-get install containerd runc");
    }
    Ok(cgroups)
}

/// What the datapath alone needs.
///
/// # Errors
/// The first thing that is missing.
pub(crate) fn check_kernel_and_user() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "a node needs root: run this with sudo");
    let release = nix::sys::utsname::uname().context("ask for the kernel's version")?;
    check_kernel(&release.release().to_string_lossy())?;
    check_bpffs()
}

fn check_kernel(release: &str) -> Result<()> {
    let mut numbers = release.split(|one: char| !one.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        bail!("kernel {release:?} has no version number that can be read");
    };
    let (want_major, want_minor) = KERNEL_MIN;
    ensure!(
        (major, minor) >= KERNEL_MIN,
        "kernel {release} is too old: {want_major}.{want_minor} or newer is needed (Debian: apt-get install -t bookworm-backports linux-image-amd64)"
    );
    Ok(())
}

/// Only whether the kernel knows it: the datapath mounts it where it is not mounted.
fn check_bpffs() -> Result<()> {
    let known = std::fs::read_to_string("/proc/filesystems").context("read /proc/filesystems")?;
    ensure!(
        known.lines().any(|line| line.split_whitespace().next_back() == Some("bpf")),
        "the kernel has no BPF file system: it needs CONFIG_BPF_SYSCALL=y"
    );
    ensure!(Path::new("/sys/fs/bpf").is_dir(), "/sys/fs/bpf is not there: mount -t sysfs sysfs /sys");
    Ok(())
}

/// Whether a program is on the path, or where programs usually are.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(PROGRAM_DIRS.iter().map(Into::into));
    dirs.into_iter().any(|dir| dir.join(program).is_file())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn kernels() {
        for good in ["6.6.0", "6.12.3-amd64", "7.0-rc1"] {
            check_kernel(good).unwrap();
        }
        for bad in ["6.5.13", "5.15.0-91-generic", "x"] {
            check_kernel(bad).unwrap_err();
        }
    }
}
