//! Children that do not outlive their test, and waiting with a bound.

use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A child process. On drop it gets SIGTERM, and SIGKILL if it does not end within its grace.
pub struct Process {
    child: Child,
    grace: Duration,
}

impl Process {
    /// Starts `command`.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(command: &mut Command, grace: Duration) -> Result<Process> {
        let child = command.spawn().with_context(|| format!("start {}", command.get_program().display()))?;
        Ok(Process { child, grace })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid()?, signal).with_context(|| format!("signal process {}", self.child.id()))
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system's own.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("wait for child")
    }

    /// SIGTERM, and SIGKILL after the grace.
    ///
    /// # Errors
    /// The system's own.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.try_wait()? {
            return Ok(status);
        }
        self.signal(Signal::SIGTERM)?;
        if wait_until("the child's end", self.grace, || Ok(self.child.try_wait()?.is_some())).is_err() {
            self.child.kill().context("kill child")?;
        }
        self.child.wait().context("wait for child")
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id()).context("process id")?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(pid = self.child.id(), %error, "process left behind");
        }
    }
}

/// Asks `condition` every 20 ms until it holds.
///
/// # Errors
/// The condition's own, or that `what` did not come within `bound`.
pub fn wait_until(what: &str, bound: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + bound;
    while !condition()? {
        if Instant::now() > deadline {
            bail!("waited {} s in vain for {what}", bound.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
