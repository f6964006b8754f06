//! Objects that go by themselves some time after their last write, such as events.
//!
//! One task for each resource that has a time to live. It keeps a due time for each write, in their order, and touches no
//! object before that. When an object was written is not stored: what was there when the server started lives a whole
//! time more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Preconditions;
use skep_store::Revision;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cache::{ChangeKind, Subscription};
use crate::object::Cached;
use crate::served::Served;
use crate::write::{self, Asked, DeleteOptions, Target, Writer};

/// Wait before a watch that broke begins anew.
const AGAIN: Duration = Duration::from_secs(1);

/// A write and when it is due to be forgotten.
struct Due {
    at: Instant,
    key: String,
    revision: Revision,
}

/// Starts a task for each resource that has a time to live.
pub(crate) fn start(writer: &Arc<Writer>, resources: impl Iterator<Item = Served>, stop: &CancellationToken) {
    for served in resources {
        let Some(ttl) = served.strategy.time_to_live() else { continue };
        let (writer, stop) = (Arc::clone(writer), stop.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                match writer.cache.subscribe(&served, "", None) {
                    Ok(subscription) => expire(&writer, &served, ttl, subscription).await,
                    Err(floor) => tracing::debug!(floor = floor.0, "watch is too old"),
                }
                tokio::time::sleep(AGAIN).await;
            }
        }));
    }
}

/// Removes objects as they become due, until the subscription ends.
async fn expire(writer: &Writer, served: &Served, ttl: Duration, mut subscription: Subscription) {
    let due =
        |object: &Cached| Due { at: Instant::now() + ttl, key: object.key.to_string(), revision: object.revision };
    let mut queue: VecDeque<Due> = std::mem::take(&mut subscription.items).iter().map(|object| due(object)).collect();
    loop {
        let first = queue.front().map(|due| due.at);
        let event = tokio::select! {
            event = subscription.events.recv() => event,
            () = tokio::time::sleep_until(first.unwrap_or_else(Instant::now)), if first.is_some() => {
                if let Some(due) = queue.pop_front() {
                    remove(writer, served, &due).await;
                }
                continue;
            }
        };
        match event {
            Some(event) if event.change.kind == ChangeKind::Deleted => {}
            Some(event) => queue.push_back(due(&event.change.object)),
            None => return,
        }
    }
}

/// Deletes the object, unless it was written again since.
async fn remove(writer: &Writer, served: &Served, due: &Due) {
    if writer.cache.get(served, &due.key).is_none_or(|object| object.revision != due.revision) {
        return;
    }
    let target = Target::of(served, &due.key);
    let version = Some(due.revision.to_string());
    let options = DeleteOptions {
        preconditions: Preconditions { resource_version: version, ..Preconditions::default() },
        ..DeleteOptions::default()
    };
    if let Err(error) = write::delete(writer, &Asked::by_server(), &target, &options).await {
        tracing::debug!(key = due.key, %error, "object that is due was not deleted");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::admission::Admission;
    use crate::cache::{Cache, follow};
    use crate::object::decode;
    use crate::pools::Ranges;
    use skep_registry::Registry;

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_is_not_written_again_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = skep_raft::Store::open(skep_raft::Options::new(dir.path(), 1)).await.unwrap();
        let registry = Arc::new(Registry::builtin());
        let cache = Arc::new(Cache::new(Arc::clone(&registry), Vec::new()));
        let stop = CancellationToken::new();
        follow::start(Arc::clone(&cache), store.clone(), stop.clone()).await.unwrap();
        let ranges = Ranges { service_cidrs: vec!["10.96.0.0/16".parse().unwrap()], node_ports: 30000..=32767 };
        let writer = Arc::new(Writer {
            store: store.clone(),
            cache,
            ranges,
            admission: Admission::new(&registry, &[]),
            authorizers: Arc::default(),
        });
        let events = Served::find(&registry, "", "v1", "events").unwrap();
        let event = serde_json::json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": {"namespace": "n"},
        });
        let event = decode(&events, event.to_string().as_bytes()).unwrap();
        let namespaces = Served::find(&registry, "", "v1", "namespaces").unwrap();
        let namespace = decode(&namespaces, br#"{"metadata": {"name": "n"}}"#).unwrap();
        let asked = Asked::by_server();
        write::create(&writer, &asked, &namespaces, None, namespace).await.unwrap();
        write::create(&writer, &asked, &events, Some("n"), event).await.unwrap();
        let subscription = writer.cache.subscribe(&events, "", None).unwrap();
        let expiring = expire(&writer, &events, Duration::from_millis(1), subscription);
        let gone = async {
            while writer.cache.get(&events, "n/e").is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = expiring => panic!("the subscription ended"),
            gone = tokio::time::timeout(SOON, gone) => gone.unwrap(),
        }
        stop.cancel();
        store.shutdown().await.unwrap();
    }
}
