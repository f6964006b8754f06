//! The task that brings writes to Raft. Raft has one append under way at a time, each with its fsync: what arrives meanwhile goes
//! into the next entry together.

use std::sync::Arc;

use openraft::error::{ClientWriteError, RaftError};
use skep_store::{Txn, TxnResult};
use tokio::sync::{mpsc, oneshot, watch};

use crate::StoreError;
use crate::config::{Command, Metrics, Raft, Response};
use crate::space::{Space, Use};
use crate::state::State;

/// Most proposals that wait.
pub(crate) const QUEUE_LEN_MAX: usize = 1024;
const BATCH_LEN_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 4 << 20;

/// A transaction, and who waits for its result.
pub(crate) struct Proposal {
    pub(crate) txn: Txn,
    pub(crate) reply: oneshot::Sender<Result<TxnResult, StoreError>>,
}

/// Brings proposals to Raft until the queue is closed or Raft ends, and asks for snapshots when they are due.
pub(crate) async fn run(raft: Raft, state: Arc<State>, space: Arc<Space>, mut queue: mpsc::Receiver<Proposal>) {
    let mut waiting = Vec::with_capacity(BATCH_LEN_MAX);
    let mut metrics = raft.metrics();
    loop {
        tokio::select! {
            received = queue.recv_many(&mut waiting, BATCH_LEN_MAX) => {
                if received == 0 {
                    return;
                }
                propose(&raft, &space, &mut waiting).await;
            }
            () = state.snapshot_due.notified() => {
                if let Err(error) = raft.trigger().snapshot().await {
                    tracing::warn!(%error, "no snapshot is made");
                }
            }
            reason = ended(&mut metrics) => {
                tracing::error!(%reason, "the store has failed");
                state.fail(&reason);
                return;
            }
        }
    }
}

/// Waits until Raft has ended of itself, and says why.
async fn ended(metrics: &mut watch::Receiver<Metrics>) -> String {
    let ended = metrics.wait_for(|metrics| metrics.running_state.is_err()).await;
    let reason = ended.ok().and_then(|metrics| metrics.running_state.as_ref().err().map(ToString::to_string));
    reason.unwrap_or_else(|| "raft has stopped".to_owned())
}

/// Makes entries of what waits, in order.
async fn propose(raft: &Raft, space: &Space, waiting: &mut Vec<Proposal>) {
    let mut batch = Vec::new();
    let mut bytes = 0;
    for proposal in waiting.drain(..) {
        let size = proposal.txn.bytes();
        let wanted = if proposal.txn.puts() { Use::Grow((bytes + size) as u64) } else { Use::Free };
        if let Err(error) = space.check(wanted) {
            // Whoever asked may be gone.
            let _ = proposal.reply.send(Err(error));
            continue;
        }
        if bytes + size > BATCH_BYTES_MAX && !batch.is_empty() {
            write(raft, std::mem::take(&mut batch)).await;
            bytes = 0;
        }
        bytes += size;
        batch.push(proposal);
    }
    if !batch.is_empty() {
        write(raft, batch).await;
    }
}

async fn write(raft: &Raft, batch: Vec<Proposal>) {
    let (txns, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|proposal| (proposal.txn, proposal.reply)).unzip();
    let results = match client_write(raft, Command::Txns(txns)).await {
        Ok(Response::Txns(results)) if results.len() == replies.len() => results,
        outcome => {
            let error = outcome.err().unwrap_or_else(|| unexpected("transactions"));
            for reply in replies {
                let _ = reply.send(Err(error.clone()));
            }
            return;
        }
    };
    for (reply, result) in replies.into_iter().zip(results) {
        let _ = reply.send(result.map_err(StoreError::from));
    }
}

/// Appends one entry, and waits until it is applied.
pub(crate) async fn client_write(raft: &Raft, command: Command) -> Result<Response, StoreError> {
    match raft.client_write(command).await {
        Ok(response) => Ok(response.data),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
            Err(StoreError::NotLeader { leader: to.leader_id })
        }
        Err(error) => Err(StoreError::Failed { reason: error.to_string() }),
    }
}

pub(crate) fn unexpected(what: &str) -> StoreError {
    StoreError::Failed { reason: format!("the log's answer is not one to {what}") }
}
