//! The programs' own debug lines.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::Error;
use crate::error::Context as _;

/// Lines kept for a slow reader; older ones go first.
const LINES_MAX: usize = 4096;

/// A stream of debug lines. Programs write them while [`crate::Datapath::debug`] is on; one reader at a time.
pub struct DebugLines {
    logger: AsyncFd<EbpfLogger<Sink>>,
    sink: Sink,
    _exclusive: Exclusive,
}

impl std::fmt::Debug for DebugLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DebugLines").finish_non_exhaustive()
    }
}

impl DebugLines {
    /// Follows the log of a program, and of all that share its log.
    pub(crate) fn follow(program_id: u32, busy: &Arc<AtomicBool>) -> Result<Self, Error> {
        if busy.swap(true, Ordering::AcqRel) {
            return Err(Error::DebugBusy);
        }
        let exclusive = Exclusive(Arc::clone(busy));
        let sink = Sink::default();
        let logger = EbpfLogger::init_from_id_with_logger(program_id, sink.clone())
            .map_err(|source| Error::DebugLog(Box::new(source)))?;
        // SAFETY: the logger owns its descriptor, and keeps it until the registration is dropped with it.
        let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }
            .map_err(|error| error.into_parts().1)
            .context(|| "watch the programs' debug lines".to_owned())?;
        Ok(Self { logger, sink, _exclusive: exclusive })
    }

    /// The next line.
    ///
    /// # Errors
    /// The log cannot be waited for.
    pub async fn next(&mut self) -> Result<String, Error> {
        loop {
            if let Some(line) = self.sink.pop() {
                return Ok(line);
            }
            let mut ready =
                self.logger.readable_mut().await.context(|| "wait for the programs' debug lines".to_owned())?;
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }
}

struct Exclusive(Arc<AtomicBool>);

impl Drop for Exclusive {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<VecDeque<String>>>);

impl Sink {
    fn pop(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl log::Log for Sink {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(format!("{}: {}", record.target(), record.args()));
    }

    fn flush(&self) {}
}
