//! The daemon's end of the plugin.

use std::path::PathBuf;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::cni;
use crate::network::Network;
use crate::v1::cni_server::{Cni, CniServer};
use crate::v1::{CallReply, CallRequest};

/// Answers the plugin's calls; to be added to the server on the node's socket.
#[derive(Clone)]
pub struct CniService {
    network: Arc<Network>,
}

impl CniService {
    /// The service that acts on `network`.
    #[must_use]
    pub fn new(network: Arc<Network>) -> CniServer<CniService> {
        CniServer::new(CniService { network })
    }
}

#[tonic::async_trait]
impl Cni for CniService {
    async fn call(&self, request: Request<CallRequest>) -> Result<Response<CallReply>, Status> {
        let call = request.into_inner();
        let request = cni::Request {
            command: call.command,
            container_id: call.container_id,
            netns: PathBuf::from(call.netns),
            ifname: call.ifname,
            args: call.args,
            config: call.config,
        };
        let network = Arc::clone(&self.network);
        // On a task of its own: a plugin that is killed while it waits must not leave a pod half attached.
        let answer = tokio::spawn(async move {
            let answer = cni::handle(&network, &request).await;
            if let Err(error) = &answer {
                tracing::warn!(command = request.command, container_id = request.container_id, %error, "CNI call failed");
            }
            answer
        });
        let answer = answer.await.map_err(|error| Status::internal(error.to_string()))?;
        let reply = match answer {
            Ok(output) => CallReply { ok: true, output },
            Err(error) => CallReply { ok: false, output: error.to_json() },
        };
        Ok(Response::new(reply))
    }
}
