//! What a command that does not end by itself prints.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use skep_testkit::Process;

const GRACE: Duration = Duration::from_secs(5);

/// A running command and its lines so far. It ends with this.
pub struct Lines {
    lines: Receiver<String>,
    _process: Process,
}

impl Lines {
    /// Starts `command`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn of(command: &mut Command) -> Result<Lines> {
        let mut process = Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()), GRACE)?;
        let stdout = process.child().stdout.take().context("the command has no output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Lines { lines, _process: process })
    }

    /// Whether one of the lines that came since the last call is as wanted.
    pub fn any(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.lines.try_iter().any(|line| wanted(&line))
    }
}
