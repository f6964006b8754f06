//! The way to other members. There is none yet: a store has one member.

use std::io;

use openraft::error::{InstallSnapshotError, RPCError, RaftError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};

use crate::NodeId;
use crate::config::Config;

/// Answers that no peer can be reached.
pub(crate) struct NoPeers;

/// A peer that cannot be reached.
pub(crate) struct NoPeer {
    id: NodeId,
}

impl NoPeer {
    fn unreachable<E: std::error::Error>(&self) -> RPCError<NodeId, openraft::BasicNode, E> {
        let reason = io::Error::new(io::ErrorKind::NotFound, format!("no such peer: {}", self.id));
        RPCError::Unreachable(Unreachable::new(&reason))
    }
}

impl RaftNetworkFactory<Config> for NoPeers {
    type Network = NoPeer;

    async fn new_client(&mut self, target: NodeId, _: &openraft::BasicNode) -> NoPeer {
        NoPeer { id: target }
    }
}

type Answer<T, E = openraft::error::Infallible> =
    Result<T, RPCError<NodeId, openraft::BasicNode, RaftError<NodeId, E>>>;

impl RaftNetwork<Config> for NoPeer {
    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<Config>,
        _: RPCOption,
    ) -> Answer<AppendEntriesResponse<NodeId>> {
        Err(self.unreachable())
    }

    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<Config>,
        _: RPCOption,
    ) -> Answer<InstallSnapshotResponse<NodeId>, InstallSnapshotError> {
        Err(self.unreachable())
    }

    async fn vote(&mut self, _: VoteRequest<NodeId>, _: RPCOption) -> Answer<VoteResponse<NodeId>> {
        Err(self.unreachable())
    }
}
