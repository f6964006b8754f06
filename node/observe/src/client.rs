//! The CLI's end.

use std::path::Path;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::v1::inspect_client::InspectClient;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// Why a node could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens there.
    #[error("no node answers on {socket}")]
    Unreachable {
        /// The socket's path.
        socket: String,
        /// What the connection failed with.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Connects to the daemon that listens on `socket`. The tables of a large cluster fit into one answer.
///
/// # Errors
/// Nothing listens there.
pub async fn connect(socket: &Path) -> Result<InspectClient<Channel>, ClientError> {
    let unreachable = |source| ClientError::Unreachable { socket: socket.display().to_string(), source };
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).map_err(unreachable)?;
    let channel = endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await.map_err(unreachable)?;
    Ok(InspectClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
}
