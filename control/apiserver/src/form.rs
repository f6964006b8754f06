//! The forms in which objects are sent: as they are, as table rows, or their metadata alone.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::negotiate::{Form, Output};
use crate::object::{self, Cached};
use crate::response::{self, Body};
use crate::served::Served;

mod table;

pub(crate) use table::Include;

/// A list's body is sent in chunks of about this size.
const CHUNK_BYTES: usize = 64 * 1024;

/// From this size on an answer is compressed for clients that take that.
const GZIP_BYTES_MIN: usize = 128 * 1024;

/// How a request wants objects of one resource.
#[derive(Clone)]
pub(crate) struct Shape {
    pub served: Served,
    pub output: Output,
    pub include: Include,
}

/// `metadata` of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListMeta {
    pub revision: u64,
    pub continue_token: Option<String>,
    pub remaining: Option<usize>,
}

impl ListMeta {
    fn value(&self) -> Value {
        let mut value = json!({"resourceVersion": self.revision.to_string()});
        if let Some(token) = &self.continue_token {
            value["continue"] = token.as_str().into();
        }
        if let Some(remaining) = self.remaining {
            value["remainingItemCount"] = remaining.into();
        }
        value
    }
}

impl Shape {
    pub(crate) fn one(&self, code: StatusCode, object: &Cached) -> Response<Body> {
        let plain = self.output.form == Form::Object && !self.output.yaml && !self.output.pretty;
        if plain {
            return chunked(code, std::iter::once(object.bytes.clone()), self.output);
        }
        let value = match self.output.form {
            Form::Table => {
                let meta = ListMeta { revision: object.revision, ..ListMeta::default() };
                let mut table = table::head(&self.served, &meta.value());
                table["rows"] = Value::Array(vec![self.row(object, Timestamp::now())]);
                table
            }
            Form::Metadata => metadata(object),
            Form::Object | Form::Discovery => object.value(),
        };
        render(code, &value, self.output)
    }

    pub(crate) fn list(&self, meta: &ListMeta, items: Vec<Arc<Cached>>) -> Response<Body> {
        let head = match self.output.form {
            Form::Table => table::head(&self.served, &meta.value()),
            Form::Metadata => json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": meta.value(),
                "items": [],
            }),
            Form::Object | Form::Discovery => json!({
                "kind": self.served.list_kind,
                "apiVersion": object::api_version(&self.served),
                "metadata": meta.value(),
                "items": [],
            }),
        };
        if self.output.yaml || self.output.pretty {
            return self.rendered_list(head, &items);
        }
        let mut open = serde_json::to_vec(&head).unwrap_or_default();
        // The head ends with an empty array, which is filled while it is sent.
        open.truncate(open.len().saturating_sub(2));
        chunked(StatusCode::OK, self.clone().chunks(open, items), self.output)
    }

    fn rendered_list(&self, mut head: Value, items: &[Arc<Cached>]) -> Response<Body> {
        let now = Timestamp::now();
        let all = items.iter().map(|item| match self.output.form {
            Form::Table => self.row(item, now),
            Form::Metadata => metadata(item),
            Form::Object | Form::Discovery => item.value(),
        });
        let array = if self.output.form == Form::Table { "rows" } else { "items" };
        head[array] = all.collect();
        render(StatusCode::OK, &head, self.output)
    }

    /// A list as chunks, made one at a time.
    fn chunks(self, open: Vec<u8>, items: Vec<Arc<Cached>>) -> impl Iterator<Item = Bytes> {
        let now = Timestamp::now();
        let mut items = items.into_iter();
        let mut chunk = BytesMut::from(open.as_slice());
        let (mut first, mut done) = (true, false);
        std::iter::from_fn(move || {
            if done {
                return None;
            }
            while chunk.len() < CHUNK_BYTES {
                let Some(item) = items.next() else {
                    chunk.extend_from_slice(b"]}");
                    done = true;
                    break;
                };
                if !first {
                    chunk.extend_from_slice(b",");
                }
                first = false;
                match self.output.form {
                    Form::Object | Form::Discovery => chunk.extend_from_slice(&item.bytes),
                    Form::Table => chunk.extend_from_slice(&encoded(&self.row(&item, now))),
                    Form::Metadata => chunk.extend_from_slice(&encoded_metadata(&item)),
                }
            }
            Some(chunk.split().freeze())
        })
    }

    /// The number of a form in which every watcher gets the same events; tables are each client's own.
    pub(crate) fn shared_form(&self) -> Option<usize> {
        match self.output.form {
            Form::Object | Form::Discovery => Some(0),
            Form::Metadata => Some(1),
            Form::Table => None,
        }
    }

    /// One line of a watch. `first` says whether a table needs its headings.
    pub(crate) fn event(&self, kind: &str, object: &Cached, first: bool) -> Bytes {
        match self.output.form {
            Form::Object | Form::Discovery => line(kind, &object.bytes),
            Form::Metadata => line(kind, &encoded_metadata(object)),
            Form::Table => {
                let meta = ListMeta { revision: object.revision, ..ListMeta::default() };
                let mut table = table::head(&self.served, &meta.value());
                if !first {
                    table["columnDefinitions"] = Value::Null;
                }
                table["rows"] = Value::Array(vec![self.row(object, Timestamp::now())]);
                line(kind, &encoded(&table))
            }
        }
    }

    /// A bookmark: a revision, and whether it ends the initial events.
    pub(crate) fn bookmark(&self, revision: u64, initial_events_end: bool) -> Bytes {
        let (kind, version) = match self.output.form {
            Form::Object | Form::Discovery => (&*self.served.kind, object::api_version(&self.served)),
            Form::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
            Form::Table => ("Table", "meta.k8s.io/v1".to_owned()),
        };
        let mut value = json!({
            "kind": kind,
            "apiVersion": version,
            "metadata": {"resourceVersion": revision.to_string()},
        });
        if initial_events_end {
            value["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        if self.output.form == Form::Table {
            value["rows"] = json!([]);
        }
        line("BOOKMARK", &encoded(&value))
    }

    fn row(&self, object: &Cached, now: Timestamp) -> Value {
        table::row(&self.served, object, self.include, now)
    }
}

/// `{"type":…,"object":…}` and a line feed.
pub(crate) fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(object.len() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.freeze()
}

/// Writes a document as the client likes it.
pub(crate) fn render(code: StatusCode, value: &Value, output: Output) -> Response<Body> {
    let bytes = if output.yaml {
        serde_saphyr::to_string(value).map(String::into_bytes).unwrap_or_default()
    } else if output.pretty {
        serde_json::to_vec_pretty(value).unwrap_or_default()
    } else {
        encoded(value)
    };
    chunked(code, std::iter::once(bytes.into()), output)
}

/// Sends chunks as they are made; compressed where that is worth it.
fn chunked(
    code: StatusCode,
    mut chunks: impl Iterator<Item = Bytes> + Send + 'static,
    output: Output,
) -> Response<Body> {
    let (mut first, mut len) = (Vec::new(), 0);
    while len < GZIP_BYTES_MIN
        && let Some(chunk) = chunks.next()
    {
        len += chunk.len();
        first.push(chunk);
    }
    if len < GZIP_BYTES_MIN {
        // All of it is here.
        let body = match first.len() {
            1 => first.pop().unwrap_or_default(),
            _ => first.concat().into(),
        };
        return response::with_type(code, output.content_type(), response::full(body));
    }
    let all = first.into_iter().chain(chunks);
    if output.gzip {
        let body = response::streamed(futures::stream::iter(response::compressed(all).map(Ok)));
        return response::gzip(response::with_type(code, output.content_type(), body));
    }
    let body = response::streamed(futures::stream::iter(all.map(Ok)));
    response::with_type(code, output.content_type(), body)
}

fn encoded(value: &Value) -> Vec<u8> {
    // A tree of JSON values has string keys and finite numbers: it always encodes.
    serde_json::to_vec(value).unwrap_or_default()
}

pub(crate) fn metadata(object: &Cached) -> Value {
    let mut value = object.value();
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": value.get_mut("metadata").map(Value::take).unwrap_or_default(),
    })
}

/// [`metadata`], encoded: the object's own bytes, of which the rest is passed over.
fn encoded_metadata(object: &Cached) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    let whole = serde_json::from_slice::<Whole<'_>>(&object.bytes);
    let metadata = whole.as_ref().map_or("{}", |whole| whole.metadata.get());
    format!("{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{metadata}}}")
        .into_bytes()
}
