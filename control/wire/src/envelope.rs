//! The envelope around every object: magic, type, bytes.

use serde_json::{Map, Value};

use crate::decode::merge;
use crate::error::{DecodeError, Fault};
use crate::fields::Fields;
use crate::table::Table;

/// The media type of such bodies.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";

/// Decodes a body to the JSON form of its object, `apiVersion` and `kind` first.
///
/// # Errors
/// A body without the magic, of a type that the table does not have, or with a malformed field, which is named.
pub fn decode(body: &[u8]) -> Result<Value, DecodeError> {
    if body.is_empty() {
        return Err(DecodeError::Empty);
    }
    let message = body.strip_prefix(MAGIC).ok_or(DecodeError::Magic)?;
    let Unknown { api_version, kind, raw } = Unknown::read(message).map_err(DecodeError::Envelope)?;
    if kind.is_empty() {
        return Err(DecodeError::NoKind);
    }
    if api_version.is_empty() {
        return Err(DecodeError::NoVersion);
    }
    let table = Table::builtin();
    let Some(message) = table.kind(api_version, kind) else {
        return Err(DecodeError::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() });
    };
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    merge(table, message, raw, 0, &mut object).map_err(|error| DecodeError::Field {
        kind: kind.to_owned(),
        path: error.path,
        fault: error.fault,
    })?;
    Ok(Value::Object(object))
}

/// `runtime.Unknown`.
#[derive(Default)]
struct Unknown<'a> {
    api_version: &'a str,
    kind: &'a str,
    raw: &'a [u8],
}

impl<'a> Unknown<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Fault> {
        let mut unknown = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, payload) => {
                    for field in Fields::of(payload.bytes()?) {
                        match field? {
                            (1, payload) => unknown.api_version = payload.text()?,
                            (2, payload) => unknown.kind = payload.text()?,
                            _ => {}
                        }
                    }
                }
                (2, payload) => unknown.raw = payload.bytes()?,
                _ => {}
            }
        }
        Ok(unknown)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use prost::encoding::{bytes, int32, string};
    use serde_json::json;

    use super::*;

    /// A message, built field by field.
    #[derive(Default, Clone)]
    struct Built(Vec<u8>);

    impl Built {
        fn text(mut self, number: u32, value: &str) -> Self {
            string::encode(number, &value.to_owned(), &mut self.0);
            self
        }

        fn int(mut self, number: u32, value: i32) -> Self {
            int32::encode(number, &value, &mut self.0);
            self
        }

        fn with(mut self, number: u32, value: Built) -> Self {
            bytes::encode(number, &value.0, &mut self.0);
            self
        }

        fn body(self, api_version: &str, kind: &str) -> Vec<u8> {
            let name = Self::default().text(1, api_version).text(2, kind);
            [MAGIC, &Self::default().with(1, name).with(2, self).text(3, "").text(4, "").0].concat()
        }
    }

    fn built() -> Built {
        Built::default()
    }

    /// As Go writes it: zeros of what is not a pointer.
    fn meta(name: &str) -> Built {
        let label = built().text(1, "app").text(2, "");
        built().text(1, name).text(2, "").text(3, "").text(5, "").text(6, "").int(7, 0).with(8, built()).with(11, label)
    }

    #[test]
    fn a_namespace_reads_as_its_json_does() {
        let finalizer = built().text(1, "kubernetes");
        let body = built().with(1, meta("a")).with(2, finalizer).with(3, built().text(1, "")).body("v1", "Namespace");
        assert_eq!(
            decode(&body).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": "a", "labels": {"app": ""}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {},
            })
        );
    }

    #[test]
    fn a_pointer_keeps_its_zero() {
        let spec = built().int(1, 0).int(5, 0).int(6, 0);
        let value = decode(&built().with(1, meta("a")).with(2, spec).body("apps/v1", "Deployment")).unwrap();
        assert_eq!(value["spec"], json!({"replicas": 0, "revisionHistoryLimit": 0}));
        let options = decode(&built().int(1, 0).body("apps/v1", "DeleteOptions")).unwrap();
        assert_eq!(options, json!({"apiVersion": "apps/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}));
    }

    #[test]
    fn a_service_has_its_ports_and_no_empty_address() {
        let target = built().int(1, 0).int(2, 8080).text(3, "");
        let port = built().text(1, "").text(2, "TCP").int(3, 80).with(4, target).int(5, 0);
        let spec = built().with(1, port).text(3, "").text(4, "ClusterIP").text(7, "").int(12, 0);
        let value = decode(&built().with(2, spec).body("v1", "Service")).unwrap();
        assert_eq!(
            value["spec"],
            json!({"ports": [{"protocol": "TCP", "port": 80, "targetPort": 8080}], "type": "ClusterIP"})
        );
    }

    #[test]
    fn inlined_messages_stand_in_their_parent() {
        let source = built().with(2, built().text(1, ""));
        let spec = built().with(1, built().text(1, "v").with(2, source));
        let value = decode(&built().with(2, spec).body("v1", "Pod")).unwrap();
        assert_eq!(value["spec"]["volumes"], json!([{"name": "v", "emptyDir": {}}]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let told = |body: &[u8]| decode(body).unwrap_err().to_string();
        assert_eq!(told(b""), "empty data");
        assert!(told(b"{}").contains("expected prefix [107 56 115 0]"));
        assert_eq!(told(MAGIC), "Object 'Kind' is missing");
        assert_eq!(told(&built().body("v2", "Pod")), "no kind \"Pod\" is registered for version \"v2\"");
        assert!(told(b"k8s\0\x0a\x05a").starts_with("the protobuf envelope is malformed: "));
        let port = built().with(1, built().text(3, "80"));
        assert_eq!(
            told(&built().with(2, port).body("v1", "Service")),
            "Service.spec.ports[0].port: the field has the wrong wire type"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(decode(&[MAGIC, &bytes].concat()));
            drop(decode(&Built(bytes).body("v1", "Pod")));
        }

        #[test]
        fn no_part_of_an_object_panics(cut in 0..60_usize, at in 0..60_usize, byte in any::<u8>()) {
            let container = built().text(1, "c").text(2, "i").with(6, built().text(1, "c").int(3, 80));
            let mut body = built().with(1, meta("a")).with(2, built().with(2, container)).body("v1", "Pod");
            let at = at % body.len();
            body[at] = byte;
            body.truncate(body.len() - cut.min(body.len()));
            drop(decode(&body));
        }
    }
}
