//! Processes that cannot be mistaken for later ones with the same number.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What tells one process from every other since the machine was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    start_ticks: u64,
    boot_id: String,
}

impl Identity {
    /// The living process with this number. `None` where there is none, or only its remains.
    pub(crate) fn of(pid: i32) -> io::Result<Option<Self>> {
        let stat = match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat,
            Err(error) if gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some((state, start_ticks)) = decode_stat(&stat) else {
            return Err(io::Error::other(format!("/proc/{pid}/stat has an unknown form")));
        };
        if matches!(state, "Z" | "X") {
            return Ok(None);
        }
        Ok(Some(Identity { pid, start_ticks, boot_id: boot_id()? }))
    }
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// The state and the start time in `/proc/PID/stat`, see proc(5). The command's name may hold anything, so that fields are
/// counted from its closing parenthesis.
fn decode_stat(stat: &str) -> Option<(&str, u64)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    let start_ticks = fields.nth(18)?.parse().ok()?;
    Some((state, start_ticks))
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// A handle on one process, living or dead.
#[derive(Debug)]
pub(crate) struct Process {
    identity: Identity,
    fd: OwnedFd,
}

impl Process {
    /// A handle on the process with exactly this identity, `None` if it is no more.
    pub(crate) fn open(identity: &Identity) -> io::Result<Option<Self>> {
        // SAFETY: pidfd_open takes two integers and touches no memory.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, identity.pid, 0) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            return if gone(&error) { Ok(None) } else { Err(error) };
        }
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Compared after the handle is held: from here on the number cannot pass to another process unseen.
        if Identity::of(identity.pid)?.as_ref() != Some(identity) {
            return Ok(None);
        }
        Ok(Some(Process { identity: identity.clone(), fd }))
    }

    pub(crate) fn pid(&self) -> i32 {
        self.identity.pid
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Sends `signal`; a process that is gone already is no error.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        // SAFETY: the descriptor is a pidfd held by self; a null siginfo is allowed and means kill(2)'s.
        let result = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.fd.as_raw_fd(), signal as i32, std::ptr::null::<u8>(), 0)
        };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if gone(&error) { Ok(()) } else { Err(error) }
    }

    /// Returns when the process has ended, and collects it where it is a child of ours.
    pub(crate) async fn exited(&self) -> io::Result<()> {
        // SAFETY: the borrowed descriptor is open and the same for as long as self, which outlives the registration.
        let fd = unsafe { AsyncFd::register_with_interest(self.fd.as_fd(), Interest::READABLE)? };
        let _ready = fd.readable().await?;
        self.collect();
        Ok(())
    }

    /// Waits for the end of the process on this thread; whether it came in time.
    pub(crate) fn wait_exit(&self, timeout: Duration) -> io::Result<bool> {
        let ended = poll_readable(self.fd.as_fd(), timeout)?;
        if ended {
            self.collect();
        }
        Ok(ended)
    }

    /// SIGTERM, and SIGKILL where that does not help within `grace`.
    pub(crate) fn terminate(&self, grace: Duration) -> io::Result<()> {
        self.signal(Signal::SIGTERM)?;
        if self.wait_exit(grace)? {
            return Ok(());
        }
        self.signal(Signal::SIGKILL)?;
        if self.wait_exit(grace)? {
            return Ok(());
        }
        Err(io::Error::other(format!("process {} did not end on SIGKILL", self.pid())))
    }

    fn collect(&self) {
        // Not a child of ours where it was adopted: its own parent collects it.
        let _ = waitpid(Pid::from_raw(self.identity.pid), Some(WaitPidFlag::WNOHANG));
    }
}

fn poll_readable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    loop {
        let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which lives on this frame for the length of the call.
        let ready = unsafe { libc::poll(&raw mut entry, 1, timeout_ms) };
        if ready >= 0 {
            return Ok(ready > 0);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(decode_stat(stat), Some(("S", 4242)));
        assert_eq!(decode_stat("7 (a"), None);
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "what is tested reaps it")]
    fn a_process_ends_and_its_identity_with_it() {
        let child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let identity = Identity::of(pid).unwrap().unwrap();
        let process = Process::open(&identity).unwrap().unwrap();
        let stranger = Identity { start_ticks: identity.start_ticks + 1, ..identity.clone() };
        assert!(Process::open(&stranger).unwrap().is_none());
        process.terminate(Duration::from_secs(10)).unwrap();
        assert!(Process::open(&identity).unwrap().is_none());
    }
}
