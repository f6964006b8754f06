//! OpenAPI documents, made from the registry when they are asked for.
//!
//! What is kept of a document is its compressed bytes and the hash of its content, until what it was made from is
//! served no more: v3 has one for each group version, v2 one for all. Clients that know the hash never ask again.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, json};
use sha2::{Digest, Sha512};
use skep_registry::{Registry, Resource};

use crate::discovery;
use crate::negotiate;
use crate::query::Query;
use crate::response::{self, Body};
use crate::status::ApiError;

mod operation;
mod v2;
mod v3;

const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// As `client-go` asks for it.
const V2_PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// How long a document may be kept by those who asked for it by its hash.
const KEPT: SignedDuration = SignedDuration::from_hours(365 * 24);

/// What is said of a status code.
fn meaning(code: u16) -> &'static str {
    match code {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        _ => "Unauthorized",
    }
}

/// A document as it is sent.
struct Document {
    /// What it was made from.
    sources: Vec<usize>,
    /// Of its JSON.
    hash: String,
    gzip: Bytes,
}

impl Document {
    fn new(sources: Vec<usize>, hash: String, content: &[u8]) -> std::io::Result<Self> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content)?;
        Ok(Self { sources, hash, gzip: encoder.finish()?.into() })
    }

    fn plain(&self) -> std::io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        GzDecoder::new(&*self.gzip).read_to_end(&mut plain)?;
        Ok(plain)
    }
}

/// Which document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    /// A group version's, e.g. `apps`, `v1`.
    V3(String, String),
    V2,
    V2Protobuf,
}

/// The documents that were asked for.
#[derive(Default)]
pub(crate) struct Documents {
    held: Mutex<HashMap<Name, Arc<Document>>>,
}

impl Documents {
    /// Answers for a path below `/openapi`. It may take as long as making all documents does: not for a thread that
    /// others wait for.
    pub(crate) fn answer(
        &self,
        registry: &Registry,
        segments: &[String],
        headers: &HeaderMap,
        query: &Query,
    ) -> Result<Response<Body>, ApiError> {
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (name, content_type) = match segments.as_slice() {
            ["openapi", "v3"] => return self.index(registry, headers),
            ["openapi", "v3", "api", version] => (Name::V3(String::new(), (*version).to_owned()), v3_type(headers)?),
            ["openapi", "v3", "apis", group, version] => {
                (Name::V3((*group).to_owned(), (*version).to_owned()), v3_type(headers)?)
            }
            ["openapi", "v2"] => match accepted(headers, &[response::JSON, V2_PROTOBUF_OLD, V2_PROTOBUF])? {
                response::JSON => (Name::V2, response::JSON),
                _ => (Name::V2Protobuf, V2_PROTOBUF),
            },
            _ => return Err(ApiError::no_such_path()),
        };
        let document = self.get(registry, &name)?.ok_or_else(ApiError::no_such_path)?;
        let asked = query.get("hash").filter(|hash| !hash.is_empty());
        if let (Name::V3(group, version), Some(asked)) = (&name, asked)
            && asked != document.hash
        {
            let path = format!("{}?hash={}", v3_path(group, version), document.hash);
            let mut answer = response::text(StatusCode::MOVED_PERMANENTLY, "");
            answer.headers_mut().extend(value(&path).map(|path| (header::LOCATION, path)));
            return Ok(answer);
        }
        let mut answer = send(&document, content_type, headers)?;
        if asked.is_some() && matches!(name, Name::V3(..)) {
            let until = (Timestamp::now() + KEPT).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
            answer.headers_mut().extend(value(&until).map(|until| (header::EXPIRES, until)));
        }
        Ok(answer)
    }

    /// `/openapi/v3`: where the documents are, and their hashes.
    fn index(&self, registry: &Registry, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
        let mut paths = Map::new();
        for (group, versions) in discovery::groups(registry) {
            for version in versions {
                let name = Name::V3(group.to_owned(), version.to_owned());
                let Some(document) = self.get(registry, &name)? else { continue };
                let url = format!("{}?hash={}", v3_path(group, version), document.hash);
                paths.insert(operation::root(group, version), json!({"serverRelativeURL": url}));
            }
        }
        paths.sort_keys();
        let content = json!({"paths": paths}).to_string();
        let hash = hash(content.as_bytes());
        let document = Document::new(Vec::new(), hash, content.as_bytes()).map_err(internal)?;
        send(&document, response::JSON, headers)
    }

    /// The document as it is now. One is made at a time.
    fn get(&self, registry: &Registry, name: &Name) -> Result<Option<Arc<Document>>, ApiError> {
        let sources = sources(registry, name);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = held.get(name).filter(|document| document.sources == sources) {
            return Ok(Some(Arc::clone(document)));
        }
        let content = match name {
            Name::V3(group, version) => v3::document(registry, group, version),
            Name::V2 | Name::V2Protobuf => Some(v2::document(registry)),
        };
        let Some(content) = content else {
            held.remove(name);
            return Ok(None);
        };
        let json = content.to_string();
        let hash = hash(json.as_bytes());
        let bytes = if *name == Name::V2Protobuf { skep_schema::encode_v2(&content) } else { json.into_bytes() };
        let document = Arc::new(Document::new(sources, hash, &bytes).map_err(internal)?);
        held.insert(name.clone(), Arc::clone(&document));
        drop((content, bytes));
        give_back();
        Ok(Some(document))
    }
}

/// What a document is made from takes many times its size, and the allocator would keep that.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, from any thread, and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// What tells whether a document is still what it was made from: the resources in it.
fn sources(registry: &Registry, name: &Name) -> Vec<usize> {
    let within = |resource: &Resource| match name {
        Name::V3(group, version) => resource.group == *group && resource.version == *version,
        Name::V2 | Name::V2Protobuf => true,
    };
    registry.resources().iter().filter(|resource| within(resource)).map(|resource| resource.slot).collect()
}

fn v3_path(group: &str, version: &str) -> String {
    format!("/openapi/v3/{}", operation::root(group, version))
}

/// JSON; clients that would rather have protobuf say that they take JSON too.
fn v3_type(headers: &HeaderMap) -> Result<&'static str, ApiError> {
    accepted(headers, &[response::JSON])
}

/// The first type that the client accepts and the server has.
fn accepted(headers: &HeaderMap, offered: &[&'static str]) -> Result<&'static str, ApiError> {
    let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    let accept = accept.join(",");
    let clauses = accept.split(',').filter_map(|clause| clause.split(';').next()).map(str::trim);
    let mut asked = clauses.filter(|clause| !clause.is_empty()).peekable();
    if asked.peek().is_none() {
        return Ok(response::JSON);
    }
    asked
        .find_map(|clause| match clause {
            "*/*" | "application/*" => Some(response::JSON),
            clause => offered.iter().copied().find(|offer| *offer == clause),
        })
        .ok_or_else(|| ApiError::not_acceptable(&offered.join(", ")))
}

fn hash(content: &[u8]) -> String {
    Sha512::digest(content).iter().map(|byte| format!("{byte:02X}")).collect()
}

fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

fn internal(error: std::io::Error) -> ApiError {
    ApiError::internal(&format!("the OpenAPI document cannot be compressed: {error}"))
}

/// The answer with the hash of its content, or nothing for a client that has that content already.
pub(crate) fn tagged(content: &serde_json::Value, mut answer: Response<Body>, headers: &HeaderMap) -> Response<Body> {
    let tag = format!("\"{}\"", hash(content.to_string().as_bytes()));
    if is_known(&tag, headers) {
        answer = not_modified();
    }
    answer.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
    answer.headers_mut().extend(value(&tag).map(|tag| (header::ETAG, tag)));
    answer
}

fn is_known(tag: &str, headers: &HeaderMap) -> bool {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or_default();
    known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag)
}

fn not_modified() -> Response<Body> {
    let mut answer = Response::new(response::full(Bytes::new()));
    *answer.status_mut() = StatusCode::NOT_MODIFIED;
    answer
}

fn send(document: &Document, content_type: &'static str, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let tag = format!("\"{}\"", document.hash);
    let mut answer = if is_known(&tag, headers) {
        not_modified()
    } else if negotiate::takes_gzip(headers) {
        let mut answer = response::with_type(StatusCode::OK, content_type, response::full(document.gzip.clone()));
        answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        answer
    } else {
        let plain = document.plain().map_err(internal)?;
        response::with_type(StatusCode::OK, content_type, response::full(plain))
    };
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    answer.headers_mut().extend(value(&tag).map(|tag| (header::ETAG, tag)));
    Ok(answer)
}
