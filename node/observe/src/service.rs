//! The daemon's end.

use std::sync::{Arc, Weak};
use std::time::Instant;

use skep_bpf::{Datapath, DebugLines, Error, Inspector};
use skep_network::Network;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::timing::Timing;
use crate::v1::inspect_server::{Inspect, InspectServer};
use crate::verify::Verify;
use crate::{read, v1};

/// Lines on their way to a slow terminal; then the programs' own buffer fills, and older ones go.
const LINES_QUEUED_MAX: usize = 256;

/// Answers `skep net`; to be added to the server on the node's socket.
#[derive(Clone)]
pub struct InspectService {
    node: String,
    /// Weak, so that a client that stays connected does not keep a node's datapath open.
    datapath: Weak<Datapath>,
    network: Option<Weak<Network>>,
    programming: Arc<Timing>,
    policy: Arc<Timing>,
    verifiers: Vec<Weak<dyn Verify>>,
    started: Instant,
}

impl std::fmt::Debug for InspectService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InspectService").field("node", &self.node).finish_non_exhaustive()
    }
}

impl InspectService {
    /// The service that shows `datapath` and the routes of `network`, where the pods' network is the node's own. The timings are what the node's service and policy loops observe,
    /// the verifiers whoever keeps a table.
    #[must_use]
    pub fn new(
        node: &str,
        datapath: &Arc<Datapath>,
        network: Option<&Arc<Network>>,
        [programming, policy]: [Arc<Timing>; 2],
        verifiers: &[Arc<dyn Verify>],
    ) -> InspectServer<InspectService> {
        let verifiers = verifiers.iter().map(Arc::downgrade).collect();
        let (datapath, network) = (Arc::downgrade(datapath), network.map(Arc::downgrade));
        let (node, started) = (node.to_owned(), Instant::now());
        InspectServer::new(InspectService { node, datapath, network, programming, policy, verifiers, started })
    }

    fn datapath(&self) -> Result<Arc<Datapath>, Status> {
        self.datapath.upgrade().ok_or_else(|| Status::unavailable("the node is stopping"))
    }

    /// Reads the kernel's tables away from the runtime's threads.
    async fn read<T, F>(&self, read: F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: FnOnce(&Inspector) -> Result<T, Error> + Send + 'static,
    {
        let datapath = self.datapath()?;
        let answer = tokio::task::spawn_blocking(move || read(&datapath.inspect())).await;
        answer.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| failed(&error))
    }
}

#[tonic::async_trait]
impl Inspect for InspectService {
    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Result<Response<v1::Status>, Status> {
        let tables = self.read(read::status).await?;
        Ok(Response::new(v1::Status {
            node: self.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            programming: Some(self.programming.summary()),
            policy: Some(self.policy.summary()),
            ..tables
        }))
    }

    async fn list_services(
        &self,
        _: Request<v1::ListServicesRequest>,
    ) -> Result<Response<v1::ListServicesReply>, Status> {
        let services = self.read(read::services).await?;
        Ok(Response::new(v1::ListServicesReply { services }))
    }

    async fn list_endpoints(
        &self,
        _: Request<v1::ListEndpointsRequest>,
    ) -> Result<Response<v1::ListEndpointsReply>, Status> {
        let endpoints = self.read(|kernel| read::endpoints(kernel, true)).await?;
        Ok(Response::new(v1::ListEndpointsReply { endpoints }))
    }

    async fn list_remotes(&self, _: Request<v1::ListRemotesRequest>) -> Result<Response<v1::ListRemotesReply>, Status> {
        let remotes = self.read(read::remotes).await?;
        Ok(Response::new(v1::ListRemotesReply { remotes }))
    }

    async fn list_routes(&self, _: Request<v1::ListRoutesRequest>) -> Result<Response<v1::ListRoutesReply>, Status> {
        let Some(network) = &self.network else {
            return Err(Status::unimplemented("pods' network is not this daemon's: see `ip route list`"));
        };
        let network = network.upgrade().ok_or_else(|| Status::unavailable("the node is stopping"))?;
        let held = network.routes().await.map_err(|error| Status::internal(format!("list routes: {error}")))?;
        let routes = self.read(|kernel| read::routes(kernel, held)).await?;
        Ok(Response::new(v1::ListRoutesReply { routes }))
    }

    async fn list_maps(&self, _: Request<v1::ListMapsRequest>) -> Result<Response<v1::ListMapsReply>, Status> {
        let maps = self.read(read::maps).await?;
        Ok(Response::new(v1::ListMapsReply { maps }))
    }

    async fn list_programs(
        &self,
        _: Request<v1::ListProgramsRequest>,
    ) -> Result<Response<v1::ListProgramsReply>, Status> {
        let programs = self.read(|kernel| read::programs(kernel, true)).await?;
        Ok(Response::new(v1::ListProgramsReply { programs }))
    }

    async fn list_policy(&self, _: Request<v1::ListPolicyRequest>) -> Result<Response<v1::ListPolicyReply>, Status> {
        let rows = self.read(read::policy).await?;
        Ok(Response::new(v1::ListPolicyReply { rows }))
    }

    async fn list_identities(
        &self,
        _: Request<v1::ListIdentitiesRequest>,
    ) -> Result<Response<v1::ListIdentitiesReply>, Status> {
        let identities = self.read(read::identities).await?;
        Ok(Response::new(v1::ListIdentitiesReply { identities }))
    }

    async fn list_flows(&self, _: Request<v1::ListFlowsRequest>) -> Result<Response<v1::ListFlowsReply>, Status> {
        let flows = self.read(read::flows).await?;
        Ok(Response::new(v1::ListFlowsReply { flows }))
    }

    async fn verify(&self, _: Request<v1::VerifyRequest>) -> Result<Response<v1::VerifyReply>, Status> {
        let verifiers = self.verifiers.clone();
        let differences = self.read(move |kernel| {
            let mut differences = Vec::new();
            for verifier in verifiers.iter().filter_map(Weak::upgrade) {
                differences.extend(verifier.verify(kernel)?);
            }
            Ok(differences)
        });
        let differences = differences.await?.into_iter().map(|one| v1::Difference {
            table: one.table.to_owned(),
            key: one.key,
            desired: one.desired,
            held: one.held,
        });
        Ok(Response::new(v1::VerifyReply { differences: differences.collect() }))
    }

    type DebugStream = ReceiverStream<Result<v1::DebugLine, Status>>;

    async fn debug(&self, _: Request<v1::DebugRequest>) -> Result<Response<Self::DebugStream>, Status> {
        let datapath = self.datapath()?;
        let lines = datapath.debug_lines().map_err(|error| failed(&error))?;
        datapath.debug(true).map_err(|error| failed(&error))?;
        let (sender, receiver) = mpsc::channel(LINES_QUEUED_MAX);
        tokio::spawn(follow(Weak::clone(&self.datapath), lines, sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Ends with its reader, and the programs' lines with it.
async fn follow(datapath: Weak<Datapath>, mut lines: DebugLines, sender: mpsc::Sender<Result<v1::DebugLine, Status>>) {
    loop {
        let line = tokio::select! {
            () = sender.closed() => break,
            line = lines.next() => line,
        };
        let ended = line.is_err();
        let line = line.map(|text| v1::DebugLine { text }).map_err(|error| failed(&error));
        if sender.send(line).await.is_err() || ended {
            break;
        }
    }
    if let Some(datapath) = datapath.upgrade()
        && let Err(error) = datapath.debug(false)
    {
        tracing::warn!(error = &error as &dyn std::error::Error, "debug lines stay on");
    }
}

fn failed(error: &Error) -> Status {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    match error {
        Error::DebugBusy => Status::resource_exhausted(text),
        _ => Status::internal(text),
    }
}
