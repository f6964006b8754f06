//! Events: what happened to a pod or to the node, for people. Repeats count up on one object.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const QUEUE_LEN_MAX: usize = 1024;
/// How many kinds of events are remembered for counting repeats. Past it, all are forgotten.
const KNOWN_LEN_MAX: usize = 4096;

/// Sends events. Never blocks: what does not fit the queue is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<Note>,
}

#[derive(Debug, Clone, Hash)]
struct Note {
    object: Object,
    type_: &'static str,
    reason: String,
    message: String,
}

#[derive(Debug, Clone, Hash)]
struct Object {
    kind: &'static str,
    namespace: String,
    name: String,
    uid: String,
    field_path: Option<String>,
}

impl Recorder {
    /// A recorder, and the loop that writes its events until `stop`.
    pub(crate) fn new(
        client: kube::Client,
        node_name: String,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, notes) = mpsc::channel(QUEUE_LEN_MAX);
        let writer = Writer { client, node_name, known: HashMap::new() };
        (Self { queue }, writer.run(notes, stop))
    }

    /// An ordinary event of a pod, or of one container in it.
    pub(crate) fn normal(&self, pod: &Pod, container: Option<&str>, reason: &str, message: impl Into<String>) {
        self.send(pod_object(pod, container), "Normal", reason, message.into());
    }

    /// A troubling event of a pod, or of one container in it.
    pub(crate) fn warning(&self, pod: &Pod, container: Option<&str>, reason: &str, message: impl Into<String>) {
        self.send(pod_object(pod, container), "Warning", reason, message.into());
    }

    /// An ordinary event of the node.
    pub(crate) fn node(&self, name: &str, reason: &str, message: impl Into<String>) {
        let object = Object {
            kind: "Node",
            namespace: "default".to_owned(),
            name: name.to_owned(),
            uid: name.to_owned(),
            field_path: None,
        };
        self.send(object, "Normal", reason, message.into());
    }

    fn send(&self, object: Object, type_: &'static str, reason: &str, message: String) {
        let note = Note { object, type_, reason: reason.to_owned(), message };
        if let Err(error) = self.queue.try_send(note) {
            tracing::debug!(%error, "event dropped");
        }
    }
}

fn pod_object(pod: &Pod, container: Option<&str>) -> Object {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let is_init = |name: &str| {
        pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten()).any(|init| init.name == name)
    };
    let field_path = container.map(|name| {
        let list = if is_init(name) { "initContainers" } else { "containers" };
        format!("spec.{list}{{{name}}}")
    });
    Object {
        kind: "Pod",
        namespace: text(&pod.metadata.namespace),
        name: text(&pod.metadata.name),
        uid: text(&pod.metadata.uid),
        field_path,
    }
}

struct Writer {
    client: kube::Client,
    node_name: String,
    /// The Event that stands for a note, and how often it happened.
    known: HashMap<u64, (String, i32)>,
}

impl Writer {
    async fn run(mut self, mut notes: mpsc::Receiver<Note>, stop: CancellationToken) {
        loop {
            let note = tokio::select! {
                () = stop.cancelled() => return,
                note = notes.recv() => note,
            };
            let Some(note) = note else { return };
            if let Err(error) = self.write(&note).await {
                tracing::debug!(%error, reason = note.reason, pod = note.object.name, "event not written");
            }
        }
    }

    async fn write(&mut self, note: &Note) -> Result<(), kube::Error> {
        let api = Api::<Event>::namespaced(self.client.clone(), &note.object.namespace);
        let mut hasher = DefaultHasher::new();
        note.hash(&mut hasher);
        let hash = hasher.finish();
        let now = Timestamp::now();
        if let Some((name, count)) = self.known.get_mut(&hash) {
            *count += 1;
            let patch = serde_json::json!({"count": *count, "lastTimestamp": Time(now)});
            match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => return Ok(()),
                // It has expired: a new one takes its place.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        if self.known.len() >= KNOWN_LEN_MAX {
            self.known.clear();
        }
        let name = format!("{}.{:x}", note.object.name, now.as_nanosecond());
        api.create(&PostParams::default(), &self.event(note, &name, now)).await?;
        self.known.insert(hash, (name, 1));
        Ok(())
    }

    fn event(&self, note: &Note, name: &str, now: Timestamp) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(note.object.namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some(note.object.kind.to_owned()),
                namespace: Some(note.object.namespace.clone()).filter(|_| note.object.kind != "Node"),
                name: Some(note.object.name.clone()),
                uid: Some(note.object.uid.clone()),
                field_path: note.object.field_path.clone(),
                ..ObjectReference::default()
            },
            type_: Some(note.type_.to_owned()),
            reason: Some(note.reason.clone()),
            message: Some(note.message.clone()),
            source: Some(EventSource { component: Some("kubelet".to_owned()), host: Some(self.node_name.clone()) }),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(self.node_name.clone()),
            ..Event::default()
        }
    }
}
