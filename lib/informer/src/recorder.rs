//! Events for people. What repeats within a while is counted on one Event instead of written anew.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Events that may wait to be written.
const QUEUE_LEN_MAX: usize = 1000;
/// Events of which it is known that they were written.
const KNOWN_LEN_MAX: usize = 4096;
/// A repeat after this is a new Event.
const FOLD_WITHIN: Duration = Duration::from_secs(600);

/// `type` of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Nothing is wrong.
    Normal,
    /// Something is.
    Warning,
}

/// Writes Events in the name of one component. Clones share its queue.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Emitted>,
}

struct Emitted {
    kind: EventType,
    regarding: ObjectReference,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

type FoldKey = (Option<String>, EventType, &'static str, String);

struct Folded {
    namespace: String,
    name: String,
    count: i32,
    last: Instant,
}

impl Recorder {
    /// Starts the task that writes. `component` is e.g. `replicaset-controller`.
    pub fn spawn(client: Client, component: &'static str, stop: CancellationToken) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE_LEN_MAX);
        tokio::spawn(write_all(client, component, receiver, stop));
        Self { queue }
    }

    /// Records that something happened to an object. Never waits; an event too many is dropped.
    pub fn event(&self, kind: EventType, regarding: ObjectReference, reason: &'static str, message: impl Into<String>) {
        let emitted = Emitted { kind, regarding, reason, message: message.into(), at: Timestamp::now() };
        if self.queue.try_send(emitted).is_err() {
            debug!(reason, "event dropped");
        }
    }
}

/// The reference to an object that an Event regards.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..ObjectReference::default()
    }
}

async fn write_all(
    client: Client,
    component: &'static str,
    mut queue: mpsc::Receiver<Emitted>,
    stop: CancellationToken,
) {
    let mut known: HashMap<FoldKey, Folded> = HashMap::new();
    loop {
        let emitted = tokio::select! {
            () = stop.cancelled() => return,
            emitted = queue.recv() => emitted,
        };
        let Some(emitted) = emitted else { return };
        if let Err(error) = write(&client, component, &mut known, &emitted).await {
            debug!(reason = emitted.reason, error = %error, "event not written");
        }
    }
}

async fn write(
    client: &Client,
    component: &'static str,
    known: &mut HashMap<FoldKey, Folded>,
    emitted: &Emitted,
) -> kube::Result<()> {
    let key = (emitted.regarding.uid.clone(), emitted.kind, emitted.reason, emitted.message.clone());
    if let Some(folded) = known.get_mut(&key)
        && folded.last.elapsed() < FOLD_WITHIN
    {
        let api: Api<Event> = Api::namespaced(client.clone(), &folded.namespace);
        let count = folded.count.saturating_add(1);
        let patch = json!({"count": count, "lastTimestamp": Time(emitted.at)});
        match api.patch(&folded.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {
                folded.count = count;
                folded.last = Instant::now();
                return Ok(());
            }
            // Expired or deleted: written anew.
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    let event = build(component, emitted);
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let name = event.metadata.name.clone().unwrap_or_default();
    Api::<Event>::namespaced(client.clone(), &namespace).create(&PostParams::default(), &event).await?;
    if known.len() >= KNOWN_LEN_MAX {
        known.clear();
    }
    known.insert(key, Folded { namespace, name, count: 1, last: Instant::now() });
    Ok(())
}

fn build(component: &'static str, emitted: &Emitted) -> Event {
    let object = emitted.regarding.name.as_deref().unwrap_or_default();
    // Events of cluster-scoped objects live in `default`.
    let namespace = emitted.regarding.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let kind = match emitted.kind {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    };
    Event {
        metadata: ObjectMeta {
            namespace: Some(namespace),
            name: Some(format!("{object}.{:x}", emitted.at.as_nanosecond())),
            ..ObjectMeta::default()
        },
        involved_object: emitted.regarding.clone(),
        type_: Some(kind.to_owned()),
        reason: Some(emitted.reason.to_owned()),
        message: Some(emitted.message.clone()),
        first_timestamp: Some(Time(emitted.at)),
        last_timestamp: Some(Time(emitted.at)),
        count: Some(1),
        source: Some(EventSource { component: Some(component.to_owned()), host: None }),
        reporting_component: Some(component.to_owned()),
        // The API wants the field; upstream's recorder leaves it empty too.
        reporting_instance: Some(String::new()),
        ..Event::default()
    }
}
