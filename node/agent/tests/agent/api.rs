//! As much of an API server as the agent needs: objects in memory, merge patches, lists and watches.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Plural, namespace, name.
type Key = (String, String, String);

#[derive(Clone)]
pub(crate) struct Api {
    state: Arc<Mutex<State>>,
    revision: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Value>,
    /// Plural and watch event, by revision minus one.
    log: Vec<(String, Value)>,
}

impl Api {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), revision: watch::channel(0).0 }
    }

    pub(crate) fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    /// Creates or replaces an object.
    pub(crate) fn put(&self, plural: &str, mut object: Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = (plural.to_owned(), text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
        let mut state = self.state.lock().unwrap();
        let kind = if state.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}-{}", key.2, state.log.len()));
        }
        object["metadata"]["resourceVersion"] = json!((state.log.len() + 1).to_string());
        state.log.push((key.0.clone(), json!({"type": kind, "object": object})));
        state.objects.insert(key, object);
        self.revision.send_replace(state.log.len() as u64);
    }

    fn remove(&self, key: &Key) -> Option<Value> {
        let mut state = self.state.lock().unwrap();
        let mut object = state.objects.remove(key)?;
        object["metadata"]["resourceVersion"] = json!((state.log.len() + 1).to_string());
        state.log.push((key.0.clone(), json!({"type": "DELETED", "object": object.clone()})));
        self.revision.send_replace(state.log.len() as u64);
        Some(object)
    }

    pub(crate) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.state.lock().unwrap().objects.get(&key).cloned()
    }

    /// Every version that an object has had.
    pub(crate) fn history(&self, plural: &str, name: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let events =
            state.log.iter().filter(|(held, event)| held == plural && event["object"]["metadata"]["name"] == name);
        events.map(|(_, event)| event["object"].clone()).collect()
    }

    /// Waits until `done` gives something, which it is asked after each change.
    pub(crate) async fn wait<T>(&self, what: &str, mut done: impl FnMut(&Self) -> Option<T>) -> T {
        let mut changes = self.revision.subscribe();
        let found = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = done(self) {
                    return found;
                }
                changes.changed().await.unwrap();
            }
        });
        found.await.unwrap_or_else(|_| panic!("timed out: {what}"))
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = parts.uri.path().trim_start_matches('/').to_owned();
        let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        segments.drain(..if segments[0] == "api" { 2 } else { 3 });
        let namespace = if segments[0] == "namespaces" && segments.len() > 2 {
            segments.drain(..2).nth(1).unwrap()
        } else {
            String::new()
        };
        let plural = segments[0].clone();
        let query = parts.uri.query().unwrap_or_default();
        let Some(name) = segments.get(1).cloned() else {
            return match parts.method {
                Method::POST => {
                    let object: Value = serde_json::from_slice(&body).unwrap();
                    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                    self.put(&plural, object);
                    reply(StatusCode::CREATED, &self.get(&plural, &namespace, &name).unwrap())
                }
                _ if query.contains("watch=true") => self.watch(plural, query),
                _ => self.list(&plural),
            };
        };
        let key = (plural, namespace, name);
        let Some(held) = self.get(&key.0, &key.1, &key.2) else { return not_found(&key) };
        match parts.method {
            Method::PATCH => {
                let mut object = held;
                merge(&mut object, serde_json::from_slice(&body).unwrap());
                self.put(&key.0, object);
            }
            Method::PUT => self.put(&key.0, serde_json::from_slice(&body).unwrap()),
            Method::DELETE => {
                let removed = self.remove(&key).unwrap();
                return reply(StatusCode::OK, &removed);
            }
            _ => {}
        }
        reply(StatusCode::OK, &self.get(&key.0, &key.1, &key.2).unwrap())
    }

    fn list(&self, plural: &str) -> Response<Body> {
        let state = self.state.lock().unwrap();
        let items: Vec<&Value> =
            state.objects.iter().filter(|((held, ..), _)| held == plural).map(|(_, object)| object).collect();
        let revision = state.log.len().to_string();
        reply(
            StatusCode::OK,
            &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": revision}, "items": items}),
        )
    }

    fn watch(&self, plural: String, query: &str) -> Response<Body> {
        let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let next: usize = from.and_then(|from| from.parse().ok()).unwrap_or(0);
        let stream = futures::stream::unfold((self.clone(), next), move |(api, next)| {
            let plural = plural.clone();
            async move {
                let mut changes = api.revision.subscribe();
                loop {
                    changes.borrow_and_update();
                    let found = {
                        let state = api.state.lock().unwrap();
                        let mut rest = state.log.iter().enumerate().skip(next);
                        rest.find(|(_, (held, _))| *held == plural).map(|(at, (_, event))| (at, format!("{event}\n")))
                    };
                    if let Some((at, line)) = found {
                        return Some((Ok::<_, Infallible>(Bytes::from(line)), (api, at + 1)));
                    }
                    changes.changed().await.ok()?;
                }
            }
        });
        Response::new(Body::from_stream(stream))
    }
}

fn reply(code: StatusCode, value: &Value) -> Response<Body> {
    Response::builder().status(code).body(Body::from(value.to_string())).unwrap()
}

fn not_found(key: &Key) -> Response<Body> {
    let message = format!("{} {} not found", key.0, key.2);
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": "NotFound", "code": 404, "message": message});
    reply(StatusCode::NOT_FOUND, &status)
}

/// A merge patch in which conditions merge by type, and deletions of list elements are dropped.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (field, value) in patch {
        match value {
            Value::Null => {
                target.as_object_mut().unwrap().remove(&field);
            }
            Value::Array(new) if field == "conditions" => {
                let mut held = target[&field].as_array().cloned().unwrap_or_default();
                held.retain(|old| new.iter().all(|condition| condition["type"] != old["type"]));
                held.extend(new);
                target[&field] = Value::Array(held);
            }
            Value::Array(mut new) => {
                new.retain(|element| element["$patch"].is_null());
                target[&field] = Value::Array(new);
            }
            value => merge(target.as_object_mut().unwrap().entry(field).or_insert(Value::Null), value),
        }
    }
}
