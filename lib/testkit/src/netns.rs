//! Network namespaces and the cables between them, by iproute2.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

/// A named network namespace with its loopback up. Removed on drop by whoever created it.
pub struct Netns {
    name: String,
    /// Whether it stays when this value goes.
    kept: bool,
}

impl Netns {
    /// Makes the namespace `name`, under `/run/netns`.
    ///
    /// # Errors
    /// It exists already, or the caller is not root.
    pub fn create(name: &str) -> Result<Netns> {
        ip(&["netns", "add", name])?;
        let netns = Netns { name: name.to_owned(), kept: false };
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// Makes a namespace that stays until [`Netns::remove_stale`].
    ///
    /// # Errors
    /// As for [`Netns::create`].
    pub fn make(name: &str) -> Result<()> {
        let mut netns = Netns::create(name)?;
        netns.kept = true;
        Ok(())
    }

    /// The namespace of that name, which somebody else made and removes.
    #[must_use]
    pub fn existing(name: &str) -> Netns {
        Netns { name: name.to_owned(), kept: true }
    }

    /// Removes the namespace `name` if there is one that an earlier run left.
    ///
    /// # Errors
    /// iproute2's own.
    pub fn remove_stale(name: &str) -> Result<()> {
        if !PathBuf::from("/run/netns").join(name).exists() {
            return Ok(());
        }
        ip(&["netns", "del", name])
    }

    /// Its name, as iproute2 knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// A command that will run in the namespace. Mounts are left as they are, unlike `ip netns exec`.
    ///
    /// # Errors
    /// The namespace is gone.
    pub fn command(&self, program: &str) -> Result<Command> {
        let file = self.open()?;
        let mut command = Command::new(program);
        let enter = move || setns(file.as_fd(), CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from);
        // SAFETY: between fork and exec the closure makes one system call, on a descriptor that it owns.
        unsafe { command.pre_exec(enter) };
        Ok(command)
    }

    /// Runs `f` on a thread of its own inside the namespace: sockets made there stay there.
    ///
    /// # Errors
    /// The namespace is gone or cannot be entered.
    ///
    /// # Panics
    /// If `f` does.
    pub fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T> {
        let file = self.open()?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || -> Result<T> {
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET).context("enter network namespace")?;
                Ok(f())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// `ip -n NAME …`.
    ///
    /// # Errors
    /// iproute2's own.
    pub fn ip(&self, args: &[&str]) -> Result<()> {
        ip(&[&["-n", self.name.as_str()], args].concat())
    }

    fn open(&self) -> Result<File> {
        File::open(self.path()).with_context(|| format!("open network namespace {}", self.name))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = ip(&["netns", "del", &self.name]) {
            tracing::warn!(netns = self.name, %error, "namespace left behind");
        }
    }
}

/// One end of a cable.
pub struct Side<'a> {
    /// Where the end is.
    pub netns: &'a Netns,
    /// Its interface's name there.
    pub device: &'a str,
    /// Its address and prefix length.
    pub address: (Ipv4Addr, u8),
}

/// Lays a veth pair between two namespaces and gives both ends their addresses. It goes with either namespace.
///
/// # Errors
/// iproute2's own.
pub fn connect(a: &Side<'_>, b: &Side<'_>) -> Result<()> {
    ip(&[
        "link",
        "add",
        a.device,
        "netns",
        &a.netns.name,
        "type",
        "veth",
        "peer",
        "name",
        b.device,
        "netns",
        &b.netns.name,
    ])?;
    for side in [a, b] {
        let address = format!("{}/{}", side.address.0, side.address.1);
        side.netns.ip(&["addr", "add", &address, "dev", side.device])?;
        side.netns.ip(&["link", "set", side.device, "up"])?;
    }
    Ok(())
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output().context("run ip (install iproute2)")?;
    if !output.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
