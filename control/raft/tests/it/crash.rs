//! A child process writes and says what was acknowledged; it is killed at some moment, and the store is looked at.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use skep_raft::{Options, Store};
use skep_store::{Event, KeyValue, Revision};
use tempfile::TempDir;

use crate::support::{all, next, put};

const CHILD_DIR: &str = "SKEP_TEST_CRASH_DIR";
const ROUNDS: u32 = 12;
const WRITERS: u32 = 4;
/// Large enough that the rounds together make snapshots and purge the log.
const VALUE_BYTES: usize = 8 << 10;

/// The child's part. Nothing where this is not the child.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let store = Store::open(Options::new(dir, 1)).await.unwrap();
    say(&format!("open {}", store.read_index().await.unwrap()));
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0u64.. {
                let mut value = n.to_be_bytes().to_vec();
                value.resize(VALUE_BYTES, b'v');
                let result = store.txn(put(format!("{writer}/{}", n % 20), value)).await.unwrap();
                say(&format!("ack {} {writer}/{} {n}", result.revision, n % 20));
            }
        })
    });
    futures::future::join_all(writers).await;
}

/// A line of its own, whatever the test runner has begun, at once. Without a reader there is nothing left to do.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(format!("\n{line}\n").as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Debug)]
struct Ack {
    revision: Revision,
    key: String,
    n: u64,
}

/// Runs a child, kills it after so many acknowledgements, and returns all it made.
fn run(dir: &Path, kill_after: usize) -> Vec<Ack> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::child", "--nocapture", "--test-threads=1"]).env(CHILD_DIR, dir);
    let mut child = Killed(command.stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap()).split(b'\n');
    let mut acks = Vec::new();
    let mut opened = false;
    for line in lines {
        let line = String::from_utf8(line.unwrap()).unwrap();
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["ack", revision, key, n] => {
                acks.push(Ack { revision: revision.parse().unwrap(), key: key.to_owned(), n: n.parse().unwrap() });
            }
            ["open", _] => opened = true,
            _ => {}
        }
        // What is in the pipe after the signal was acknowledged as well.
        if opened && acks.len() >= kill_after {
            child.0.kill().unwrap();
        }
    }
    assert!(opened, "the child has to open the store");
    acks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_store_loses_nothing_that_was_acknowledged() {
    let dir = TempDir::new().unwrap();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut last = 0;
    for round in 0..ROUNDS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let kill_after = usize::try_from(random % 600).unwrap();
        let path = dir.path().to_owned();
        let acks = tokio::task::spawn_blocking(move || run(&path, kill_after)).await.unwrap();
        let revision = check(dir.path(), &acks, last).await;
        eprintln!("round {round}: {} acknowledged, revision {revision}", acks.len());
        last = revision;
    }
}

/// Opens the store and compares it with what was acknowledged and with its own history.
async fn check(dir: &Path, acks: &[Ack], last: Revision) -> Revision {
    let store = Store::open(Options::new(dir, 1)).await.unwrap();
    let state = store.range(all(0)).await.unwrap();
    assert!(state.revision >= last, "revision went back from {last} to {}", state.revision);
    let mut watch = store.watch(Bytes::new(), Some(Bytes::from("\0")), 1);
    let mut replay: BTreeMap<Bytes, KeyValue> = BTreeMap::new();
    let mut history = BTreeMap::new();
    while history.len() as u64 != state.revision {
        let batch = next(&mut watch).await.unwrap();
        assert_eq!(batch.revision, history.len() as u64 + 1, "revisions have no gap");
        let [Event::Put { kv, prev }] = &batch.events[..] else { panic!("{batch:?}") };
        assert_eq!(replay.insert(kv.key.clone(), kv.clone()), *prev);
        let n = u64::from_be_bytes(kv.value[..8].try_into().unwrap());
        history.insert(batch.revision, (kv.key.clone(), n));
    }
    assert_eq!(state.kvs, replay.into_values().collect::<Vec<_>>());
    for ack in acks {
        assert!(ack.revision > last, "{ack:?} repeats a revision of the run before");
        let found = history.get(&ack.revision).unwrap_or_else(|| panic!("{ack:?} is lost"));
        assert_eq!((&found.0[..], found.1), (ack.key.as_bytes(), ack.n));
    }
    store.shutdown().await.unwrap();
    state.revision
}
