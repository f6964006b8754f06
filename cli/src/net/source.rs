//! Where the rows come from: the node's daemon, or the tables that a dead one left pinned.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use skep_observe::v1::inspect_client::InspectClient;
use skep_observe::{Inspector, connect, pin_dir, read, v1};
use tonic::transport::Channel;

use super::output::Out;

const STATE_ROOT: &str = "/var/lib/skep";
const SOCKET: &str = "run/skep.sock";

pub(super) enum Source {
    Daemon(InspectClient<Channel>),
    /// Names of interfaces are unknown: they belong to the node's network namespace.
    Pins(Box<Inspector>),
}

impl Source {
    /// # Errors
    /// No node is found, or several are, or the one that is meant neither answers nor left pins.
    pub(super) async fn open(socket: Option<&Path>, name: Option<&str>) -> Result<Self> {
        let socket = match (socket, name) {
            (Some(socket), _) => socket.to_owned(),
            (None, Some(name)) => Path::new(STATE_ROOT).join(name).join(SOCKET),
            (None, None) => only_socket()?,
        };
        if let Ok(client) = connect(&socket).await {
            return Ok(Source::Daemon(client));
        }
        let name = name.map(str::to_owned).or_else(|| node_of(&socket));
        if let Some(kernel) = name.and_then(|name| Inspector::open(&pin_dir(&name)).ok()) {
            eprintln!("skep: no daemon answers on {}; this is what the kernel still holds", socket.display());
            return Ok(Source::Pins(Box::new(kernel)));
        }
        bail!(
            "no node answers on {}: start it with `skep up`, or name its socket with --socket; reading it needs root",
            socket.display()
        )
    }

    pub(super) async fn status(&mut self) -> Result<v1::Status> {
        match self {
            Source::Daemon(client) => Ok(client.get_status(v1::GetStatusRequest {}).await.map_err(told)?.into_inner()),
            Source::Pins(kernel) => Ok(read::status(kernel)?),
        }
    }

    pub(super) async fn services(&mut self) -> Result<Vec<v1::Service>> {
        match self {
            Source::Daemon(client) => {
                Ok(client.list_services(v1::ListServicesRequest {}).await.map_err(told)?.into_inner().services)
            }
            Source::Pins(kernel) => Ok(read::services(kernel)?),
        }
    }

    pub(super) async fn endpoints(&mut self) -> Result<Vec<v1::Endpoint>> {
        match self {
            Source::Daemon(client) => {
                Ok(client.list_endpoints(v1::ListEndpointsRequest {}).await.map_err(told)?.into_inner().endpoints)
            }
            Source::Pins(kernel) => Ok(read::endpoints(kernel, false)?),
        }
    }

    pub(super) async fn remotes(&mut self) -> Result<Vec<v1::Remote>> {
        match self {
            Source::Daemon(client) => {
                Ok(client.list_remotes(v1::ListRemotesRequest {}).await.map_err(told)?.into_inner().remotes)
            }
            Source::Pins(kernel) => Ok(read::remotes(kernel)?),
        }
    }

    pub(super) async fn routes(&mut self) -> Result<Vec<v1::Route>> {
        let Source::Daemon(client) = self else {
            bail!(
                "routes are in the node's network namespace, and no daemon answers there: use `ip route list proto 213`"
            );
        };
        Ok(client.list_routes(v1::ListRoutesRequest {}).await.map_err(told)?.into_inner().routes)
    }

    pub(super) async fn maps(&mut self) -> Result<Vec<v1::Map>> {
        match self {
            Source::Daemon(client) => {
                Ok(client.list_maps(v1::ListMapsRequest {}).await.map_err(told)?.into_inner().maps)
            }
            Source::Pins(kernel) => Ok(read::maps(kernel)?),
        }
    }

    pub(super) async fn programs(&mut self) -> Result<Vec<v1::Program>> {
        match self {
            Source::Daemon(client) => {
                Ok(client.list_programs(v1::ListProgramsRequest {}).await.map_err(told)?.into_inner().programs)
            }
            Source::Pins(kernel) => Ok(read::programs(kernel, false)?),
        }
    }

    pub(super) async fn policy(&mut self) -> Result<Vec<v1::PolicyRow>> {
        match self {
            Source::Daemon(client) => {
                Ok(client.list_policy(v1::ListPolicyRequest {}).await.map_err(told)?.into_inner().rows)
            }
            Source::Pins(kernel) => Ok(read::policy(kernel)?),
        }
    }

    pub(super) async fn identities(&mut self) -> Result<Vec<v1::Identity>> {
        match self {
            Source::Daemon(client) => {
                Ok(client.list_identities(v1::ListIdentitiesRequest {}).await.map_err(told)?.into_inner().identities)
            }
            Source::Pins(kernel) => Ok(read::identities(kernel)?),
        }
    }

    pub(super) async fn flows(&mut self) -> Result<Vec<v1::Flow>> {
        match self {
            Source::Daemon(client) => {
                Ok(client.list_flows(v1::ListFlowsRequest {}).await.map_err(told)?.into_inner().flows)
            }
            Source::Pins(kernel) => Ok(read::flows(kernel)?),
        }
    }

    /// # Errors
    /// No daemon answers: nobody else knows what the tables should hold.
    pub(super) async fn verify(&mut self) -> Result<Vec<v1::Difference>> {
        let Source::Daemon(client) = self else {
            bail!("only the daemon knows what the tables should hold, and none answers: start the node with `skep up`");
        };
        Ok(client.verify(v1::VerifyRequest {}).await.map_err(told)?.into_inner().differences)
    }

    /// Prints lines until the node, the reader or an interrupt ends it.
    pub(super) async fn debug(&mut self, out: &Out) -> Result<ExitCode> {
        let Source::Daemon(client) = self else {
            bail!("debug lines come through the daemon, and none answers: start the node with `skep up`");
        };
        let mut lines = client.debug(v1::DebugRequest {}).await.map_err(told)?.into_inner();
        loop {
            let line = tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
                line = lines.message() => line.map_err(told)?,
            };
            let Some(line) = line else { bail!("the node ended") };
            if !out.line(&line, || line.text.clone())? {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

/// The node's own words.
fn told(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("the node answers: {}", status.message())
}

/// The socket of the one node that this machine has.
fn only_socket() -> Result<PathBuf> {
    let entries = std::fs::read_dir(STATE_ROOT).into_iter().flatten().flatten();
    let mut sockets: Vec<PathBuf> =
        entries.map(|entry| entry.path().join(SOCKET)).filter(|socket| socket.exists()).collect();
    sockets.sort();
    match sockets.as_slice() {
        [] => {
            bail!("no node has its state in {STATE_ROOT}: start one with `skep up`, or name its socket with --socket")
        }
        [socket] => Ok(socket.clone()),
        several => {
            let names: Vec<String> = several.iter().filter_map(|socket| node_of(socket)).collect();
            bail!("several nodes have their state in {STATE_ROOT}: choose with --name {}", names.join(" or --name "));
        }
    }
}

/// STATE_ROOT/NAME/run/skep.sock, turned around.
fn node_of(socket: &Path) -> Option<String> {
    let name = socket.ancestors().nth(2)?.file_name()?;
    Some(name.to_string_lossy().into_owned())
}
