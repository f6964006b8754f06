//! Stored objects: their bytes, and the revision spliced into them.

mod pairs;

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use skep_registry::{Object, Resource};
use skep_store::Revision;

use self::pairs::Pairs;

/// What stands right before the revision in every encoded object.
const BEFORE_VERSION: &[u8] = br#""metadata":{"resourceVersion":""#;

/// What selectors ask of an object.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub labels: Pairs,
    /// Those that are not empty.
    pub fields: Pairs,
}

impl Facts {
    pub(crate) fn of(resource: &Resource, object: &dyn Object) -> Self {
        let fields = resource.strategy.fields(object);
        let fields = fields.iter().filter(|(_, value)| !value.is_empty());
        Self {
            labels: object.meta().labels.iter().flatten().map(|(key, value)| (&**key, &**value)).collect(),
            fields: fields.map(|(name, value)| (&**name, &**value)).collect(),
        }
    }
}

/// One version of an object, as gets, lists and watches send it.
#[derive(Debug)]
pub(crate) struct Cached {
    /// `namespace/name`, or `name` where cluster-scoped.
    pub key: Box<str>,
    pub revision: Revision,
    /// JSON with the revision in place.
    pub bytes: Bytes,
    pub facts: Facts,
    /// Whether it is stored in another form than it would be stored in now.
    pub stale: bool,
}

impl Cached {
    pub(crate) fn new(resource: &Resource, key: String, revision: Revision, bytes: Bytes, object: &dyn Object) -> Self {
        Self { key: key.into(), revision, bytes, facts: Facts::of(resource, object), stale: false }
    }

    /// From bytes in the store of which it is known what they say.
    pub(crate) fn from_known(key: &str, revision: Revision, stored: &[u8], facts: Facts) -> Option<Self> {
        Some(Self { key: key.into(), revision, bytes: splice(stored, revision)?, facts, stale: false })
    }

    /// From the bytes in the store; `None` if they are not an object of this resource.
    pub(crate) fn from_stored(resource: &Resource, key: String, revision: Revision, stored: &[u8]) -> Option<Self> {
        let bytes = splice(stored, revision)?;
        let mut object = resource.strategy.decode_stored(serde_json::from_slice(&bytes).ok()?).ok()?;
        if resource.strategy.stored_api_version().is_none() {
            return Some(Self::new(resource, key, revision, bytes, &*object));
        }
        // It may have been stored in another version, or before the schema got its defaults.
        resource.strategy.default(&mut *object);
        let encoded = encode(&*object);
        let served = splice(&encoded, revision)?;
        let stale = to_stored(resource, encoded) != stored;
        Some(Self { stale, ..Self::new(resource, key, revision, served, &*object) })
    }

    /// The same object as of another revision, for the event that takes it out of a watcher's sight.
    pub(crate) fn at(&self, revision: Revision) -> Self {
        Self {
            key: self.key.clone(),
            revision,
            bytes: splice(&self.bytes, revision).unwrap_or_else(|| self.bytes.clone()),
            facts: self.facts.clone(),
            stale: self.stale,
        }
    }

    /// Whether an encoded object, but for its revision, is this one.
    pub(crate) fn is_same(&self, stored: &[u8]) -> bool {
        splice(stored, self.revision).is_some_and(|bytes| bytes == self.bytes)
    }

    /// `None` only if the bytes are not what [`encode`] makes.
    pub(crate) fn decode(&self, resource: &Resource) -> Option<Box<dyn Object>> {
        decode(resource, &self.bytes)
    }

    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }
}

pub(crate) fn decode(resource: &Resource, bytes: &[u8]) -> Option<Box<dyn Object>> {
    let value = serde_json::from_slice(bytes).ok()?;
    Some(resource.strategy.decode(value).ok()?.object)
}

/// The stored form: JSON whose metadata begins with an empty resource version.
pub(crate) fn encode(object: &dyn Object) -> Bytes {
    let mut value = object.to_value();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("resourceVersion");
        metadata.shift_insert(0, "resourceVersion".to_owned(), Value::String(String::new()));
    }
    serde_json::to_vec(&value).unwrap_or_default().into()
}

/// The form in which an encoded object is stored: as it is, or as another version of its kind.
pub(crate) fn to_stored(resource: &Resource, encoded: Bytes) -> Bytes {
    let Some(version) = resource.strategy.stored_api_version().filter(|stored| *stored != api_version(resource)) else {
        return encoded;
    };
    if let Some(stored) = decode(resource, &encoded).and_then(|object| resource.strategy.encode_stored(&*object)) {
        return encode(&*stored);
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(&encoded) else { return encoded };
    value["apiVersion"] = Value::from(version);
    serde_json::to_vec(&value).map_or(encoded, Bytes::from)
}

/// Puts the revision where the stored form leaves room for it, in place of what is there.
pub(crate) fn splice(bytes: &[u8], revision: Revision) -> Option<Bytes> {
    let start = find(bytes, BEFORE_VERSION)? + BEFORE_VERSION.len();
    let rest = start + bytes[start..].iter().position(|b| *b == b'"')?;
    let digits = revision.to_string();
    let mut out = BytesMut::with_capacity(start + digits.len() + bytes.len() - rest);
    out.extend_from_slice(&bytes[..start]);
    out.extend_from_slice(digits.as_bytes());
    out.extend_from_slice(&bytes[rest..]);
    Some(out.freeze())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// `/registry/{group}/{plural}/`, `core` standing for the group without a name.
pub(crate) fn prefix(resource: &Resource) -> String {
    let group = match resource.stored_group() {
        "" => "core",
        group => group,
    };
    format!("/registry/{group}/{}/", resource.plural)
}

/// An object's key below its resource's prefix.
pub(crate) fn relative_key<'a>(namespace: Option<&str>, name: &'a str) -> Cow<'a, str> {
    match namespace {
        Some(namespace) => Cow::Owned(format!("{namespace}/{name}")),
        None => Cow::Borrowed(name),
    }
}

/// `apps/v1`, or `v1` for the core group.
pub(crate) fn api_version(resource: &Resource) -> String {
    if resource.group.is_empty() {
        resource.version.to_string()
    } else {
        format!("{}/{}", resource.group, resource.version)
    }
}
