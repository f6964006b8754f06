//! Network namespaces, entered by threads made for it: a thread of the runtime never changes its namespace.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};

/// An open network namespace; it lives at least as long as this handle.
#[derive(Debug, Clone)]
pub(crate) struct Netns {
    file: Arc<File>,
}

impl Netns {
    /// The namespace of the calling thread.
    pub(crate) fn current() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The namespace that `path` stands for.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Netns { file: Arc::new(File::open(path)?) })
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Runs `work` inside, on a thread of its own, with the runtime of the caller entered.
    pub(crate) async fn run<T, F>(&self, work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> io::Result<T> + Send + 'static,
    {
        let file = Arc::clone(&self.file);
        let runtime = tokio::runtime::Handle::current();
        let (answer, answered) = tokio::sync::oneshot::channel();
        let inside = move || {
            setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?;
            let _entered = runtime.enter();
            work()
        };
        std::thread::Builder::new().name("netns".to_owned()).spawn(move || {
            // A caller that went away needs no answer.
            let _ = answer.send(inside());
        })?;
        answered.await.map_err(|_| io::Error::other("the thread inside of the network namespace ended early"))?
    }
}
