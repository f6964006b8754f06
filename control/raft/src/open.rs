//! Opening: the database, what a crash left unfinished, Raft, and the wait until it leads.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rocksdb::WriteBatch;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::config::{Raft, raft_config};
use crate::db::{self, Db, blocking};
use crate::log::Log;
use crate::machine::Machine;
use crate::network::NoPeers;
use crate::propose;
use crate::snapshot::Snapshots;
use crate::space::Space;
use crate::state::State;
use crate::store::{Closing, Running};
use crate::{NodeId, OpenError, Options};

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const FORMAT: u32 = 1;

/// Whose database it is, and in which format.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    format: u32,
    node_id: NodeId,
}

struct Opened {
    state: Arc<State>,
    machine: Machine,
    closed: oneshot::Receiver<()>,
}

pub(crate) async fn open(options: &Options) -> Result<(Running, Closing), OpenError> {
    let for_database = options.clone();
    let Opened { state, machine, closed } =
        blocking(move || open_database(&for_database)).await.map_err(|source| disk_error(&options.dir, &source))??;
    let dir = &options.dir;
    let raft = start(options.node_id, state.db().clone(), machine).await;
    let raft = match raft {
        Ok(raft) => raft,
        Err(reason) => return Err(OpenError::NotReady { dir: dir.clone(), reason }),
    };
    let space = Arc::new(Space::new(dir.clone(), options.reserve_bytes));
    let (proposals, queue) = mpsc::channel(propose::QUEUE_LEN_MAX);
    let task = tokio::spawn(run(raft.clone(), state.clone(), space.clone(), queue));
    let running = Running { node_id: options.node_id, raft, state, space, proposals };
    Ok((running, Closing { task, closed }))
}

fn open_database(options: &Options) -> Result<Opened, OpenError> {
    let dir = &options.dir;
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| match source.kind() {
        io::ErrorKind::StorageFull => OpenError::DiskFull { dir: dir.clone() },
        _ => OpenError::Directory { dir: dir.clone(), source },
    })?;
    let failed = |source: io::Error| disk_error(dir, &source);
    let (db, closed) = Db::open(dir, &dir.join("db"))?;
    check_identity(&db, dir, options.node_id)?;
    let snapshots = Arc::new(Snapshots::open(dir.join("snapshots")).map_err(failed)?);
    snapshots.resume(&db).map_err(failed)?;
    let state = Arc::new(State::restore(Arc::new(db), options.watch_log).map_err(failed)?);
    let machine = Machine::new(state.clone(), snapshots, options.watch_log).map_err(failed)?;
    Ok(Opened { state, machine, closed })
}

fn check_identity(db: &Db, dir: &Path, node_id: NodeId) -> Result<(), OpenError> {
    let wanted = Identity { format: FORMAT, node_id };
    let found = db.meta::<Identity>(db::IDENTITY).map_err(|source| disk_error(dir, &source))?;
    let mismatch = |reason| Err(OpenError::Mismatch { dir: dir.to_owned(), reason });
    match found {
        None => {
            let mut batch = WriteBatch::default();
            db.put_meta(&mut batch, db::IDENTITY, &wanted);
            db.write(batch, true).map_err(|source| disk_error(dir, &source))
        }
        Some(found) if found.format != FORMAT => {
            mismatch(format!("its format is {}, and this version knows {FORMAT}", found.format))
        }
        Some(found) if found.node_id != node_id => {
            mismatch(format!("it belongs to member {}, and this is member {node_id}", found.node_id))
        }
        Some(_) => Ok(()),
    }
}

fn disk_error(dir: &Path, source: &io::Error) -> OpenError {
    let dir = dir.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull => OpenError::DiskFull { dir },
        io::ErrorKind::InvalidData => OpenError::Corrupt { dir, reason: source.to_string() },
        _ => OpenError::Io { dir, reason: source.to_string() },
    }
}

/// Starts Raft, and waits until all that the log holds is applied. The reason is why it did not come to that.
async fn start(node_id: NodeId, db: Arc<Db>, machine: Machine) -> Result<Raft, String> {
    let config = raft_config().validate().map_err(|error| error.to_string())?;
    let raft = Raft::new(node_id, Arc::new(config), NoPeers, Log::new(db), machine)
        .await
        .map_err(|error| error.to_string())?;
    match lead(node_id, &raft).await {
        Ok(()) => Ok(raft),
        Err(reason) => {
            if let Err(error) = raft.shutdown().await {
                tracing::warn!(%error, "raft did not stop");
            }
            Err(reason)
        }
    }
}

async fn lead(node_id: NodeId, raft: &Raft) -> Result<(), String> {
    if !raft.is_initialized().await.map_err(|error| error.to_string())? {
        let members = BTreeMap::from([(node_id, openraft::BasicNode::default())]);
        raft.initialize(members).await.map_err(|error| error.to_string())?;
    }
    let wait = raft.wait(Some(READY_TIMEOUT));
    wait.current_leader(node_id, "lead").await.map_err(|error| error.to_string())?;
    raft.ensure_linearizable().await.map(|_| ()).map_err(|error| error.to_string())
}

/// Serves proposals until the handle is closed, then stops Raft and leaves the database as durable as it can be.
async fn run(raft: Raft, state: Arc<State>, space: Arc<Space>, queue: mpsc::Receiver<propose::Proposal>) {
    propose::run(raft.clone(), state.clone(), space, queue).await;
    if let Err(error) = raft.shutdown().await {
        tracing::warn!(%error, "raft did not stop");
    }
    let flushed = blocking(move || state.db().flush()).await.flatten();
    if let Err(error) = flushed {
        tracing::warn!(%error, "the store's last writes are not flushed; the log has them");
    }
}
