//! The node's socket: the plugin's and the engineer's way to the daemon.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use skep_network::{CniService, Network};
use skep_observe::InspectService;
use skep_observe::v1::inspect_server::InspectServer;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

/// For those that follow a stream.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The server of both services.
pub(crate) struct Socket {
    path: PathBuf,
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Socket {
    /// Listens on `path`, for the plugin of `network` as well, in place of a socket that a dead daemon left there. Only root may connect.
    ///
    /// # Errors
    /// The directory is not writable, or the path too long for a socket.
    pub(crate) fn serve(
        path: &Path,
        network: Option<Arc<Network>>,
        inspect: InspectServer<InspectService>,
    ) -> Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        remove(path).with_context(|| format!("remove old socket {}", path.display()))?;
        let listener = UnixListener::bind(path)
            .with_context(|| format!("listen on {} (a socket's path has 107 bytes at most)", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
            .with_context(|| format!("restrict {}", path.display()))?;
        let shutdown = CancellationToken::new();
        let server = Server::builder()
            .add_optional_service(network.map(CniService::new))
            .add_service(inspect)
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), shutdown.clone().cancelled_owned());
        Ok(Socket { path: path.to_owned(), shutdown, server: tokio::spawn(server) })
    }

    /// Lets calls finish for a moment, and removes the socket.
    pub(crate) async fn close(mut self) {
        self.shutdown.cancel();
        if tokio::time::timeout(CLOSE_TIMEOUT, &mut self.server).await.is_err() {
            self.server.abort();
        }
        if let Err(error) = remove(&self.path) {
            tracing::warn!(%error, socket = ?self.path, "socket left behind");
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
