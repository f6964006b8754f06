//! OpenAPI v2 documents as protobuf: gnostic's `openapi.v2.Document`, which `client-go` asks for.
//!
//! The message's fields are those of gnostic's `OpenAPIv2.proto`; what Kubernetes' documents do not use is left out.

use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::{Map, Value};

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn bytes(&mut self, tag: u32, bytes: &[u8]) {
        encode_key(tag, WireType::LengthDelimited, &mut self.0);
        encode_varint(bytes.len() as u64, &mut self.0);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, tag: u32, message: &Self) {
        self.bytes(tag, &message.0);
    }

    fn text(&mut self, tag: u32, value: Option<&Value>) {
        if let Some(text) = value.and_then(Value::as_str) {
            self.bytes(tag, text.as_bytes());
        }
    }

    fn texts(&mut self, tag: u32, value: Option<&Value>) {
        for text in value.and_then(Value::as_array).into_iter().flatten() {
            self.text(tag, Some(text));
        }
    }

    fn flag(&mut self, tag: u32, value: Option<&Value>) {
        if value.and_then(Value::as_bool) == Some(true) {
            encode_key(tag, WireType::Varint, &mut self.0);
            encode_varint(1, &mut self.0);
        }
    }

    fn integer(&mut self, tag: u32, value: Option<&Value>) {
        if let Some(number) = value.and_then(Value::as_u64) {
            encode_key(tag, WireType::Varint, &mut self.0);
            encode_varint(number, &mut self.0);
        }
    }

    fn double(&mut self, tag: u32, value: Option<&Value>) {
        if let Some(number) = value.and_then(Value::as_f64) {
            encode_key(tag, WireType::SixtyFourBit, &mut self.0);
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// The entries of a map: messages of a name and a value.
    fn named(&mut self, tag: u32, entries: Option<&Value>, value: fn(&Value) -> Self) {
        for (name, entry) in entries.and_then(Value::as_object).into_iter().flatten() {
            self.message(tag, &pair(name, &value(entry)));
        }
    }

    fn extensions(&mut self, tag: u32, fields: &Map<String, Value>) {
        for (name, value) in fields.iter().filter(|(name, _)| name.starts_with("x-")) {
            self.message(tag, &pair(name, &any(value)));
        }
    }
}

fn pair(name: &str, value: &Message) -> Message {
    let mut pair = Message::default();
    pair.bytes(1, name.as_bytes());
    pair.message(2, value);
    pair
}

/// A value of any type, as YAML, which JSON is.
fn any(value: &Value) -> Message {
    let mut any = Message::default();
    any.bytes(2, value.to_string().as_bytes());
    any
}

fn around(tag: u32, inner: &Message) -> Message {
    let mut outer = Message::default();
    outer.message(tag, inner);
    outer
}

/// The document as a message.
#[must_use]
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, document.get("swagger"));
    if let Some(info) = document.get("info") {
        let mut message = Message::default();
        message.text(1, info.get("title"));
        message.text(2, info.get("version"));
        out.message(2, &message);
    }
    let mut paths = Message::default();
    paths.named(2, document.get("paths"), path_item);
    out.message(8, &paths);
    let mut definitions = Message::default();
    definitions.named(1, document.get("definitions"), schema);
    out.message(9, &definitions);
    out.0
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (tag, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(Value::Object(fields)) = item.get(method) {
            out.message(tag, &operation(fields));
        }
    }
    parameters(&mut out, 9, item.get("parameters"));
    out
}

fn operation(fields: &Map<String, Value>) -> Message {
    let mut out = Message::default();
    out.texts(1, fields.get("tags"));
    out.text(3, fields.get("description"));
    out.text(5, fields.get("operationId"));
    out.texts(6, fields.get("produces"));
    out.texts(7, fields.get("consumes"));
    parameters(&mut out, 8, fields.get("parameters"));
    let mut responses = Message::default();
    responses.named(1, fields.get("responses"), |response| {
        let mut message = Message::default();
        message.text(1, response.get("description"));
        if let Some(of) = response.get("schema") {
            message.message(2, &around(1, &schema(of)));
        }
        around(1, &message)
    });
    out.message(9, &responses);
    out.texts(10, fields.get("schemes"));
    out.extensions(13, fields);
    out
}

fn parameters(out: &mut Message, tag: u32, list: Option<&Value>) {
    for parameter in list.and_then(Value::as_array).into_iter().flatten() {
        let place = parameter.get("in").and_then(Value::as_str).unwrap_or_default();
        let mut message = Message::default();
        let wrapped = if place == "body" {
            message.text(2, parameter.get("name"));
            message.text(3, parameter.get("in"));
            message.flag(4, parameter.get("required"));
            if let Some(of) = parameter.get("schema") {
                message.message(5, &schema(of));
            }
            around(1, &message)
        } else {
            // In a query, a parameter may be empty: one field more.
            let (kind, shift) = if place == "query" { (3, 1) } else { (4, 0) };
            message.flag(1, parameter.get("required"));
            message.text(2, parameter.get("in"));
            message.text(3, parameter.get("description"));
            message.text(4, parameter.get("name"));
            message.text(5 + shift, parameter.get("type"));
            message.flag(19 + shift, parameter.get("uniqueItems"));
            around(2, &around(kind, &message))
        };
        out.message(tag, &around(1, &wrapped));
    }
}

fn schema(schema_value: &Value) -> Message {
    let mut out = Message::default();
    let Value::Object(fields) = schema_value else { return out };
    let of = |name: &str| fields.get(name);
    for (tag, name) in [(1, "$ref"), (2, "format"), (3, "title"), (4, "description"), (13, "pattern")] {
        out.text(tag, of(name));
    }
    for (tag, name) in [(6, "multipleOf"), (7, "maximum"), (9, "minimum")] {
        out.double(tag, of(name));
    }
    for (tag, name) in [(8, "exclusiveMaximum"), (10, "exclusiveMinimum"), (16, "uniqueItems")] {
        out.flag(tag, of(name));
    }
    let lengths = ["maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties"];
    for (tag, name) in [11, 12, 14, 15, 17, 18].into_iter().zip(lengths) {
        out.integer(tag, of(name));
    }
    out.texts(19, of("required"));
    for value in of("enum").and_then(Value::as_array).into_iter().flatten() {
        out.message(20, &any(value));
    }
    match of("additionalProperties") {
        Some(rest @ Value::Object(_)) => out.message(21, &around(1, &schema(rest))),
        Some(rest @ Value::Bool(_)) => {
            let mut message = Message::default();
            message.flag(2, Some(rest));
            out.message(21, &message);
        }
        _ => {}
    }
    if of("type").is_some() {
        let mut message = Message::default();
        message.text(1, of("type"));
        out.message(22, &message);
    }
    if let Some(items) = of("items") {
        out.message(23, &around(1, &schema(items)));
    }
    for part in of("allOf").and_then(Value::as_array).into_iter().flatten() {
        out.message(24, &schema(part));
    }
    if of("properties").is_some() {
        let mut message = Message::default();
        message.named(1, of("properties"), schema);
        out.message(25, &message);
    }
    out.extensions(31, fields);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_is_its_fields_in_order() {
        let document = json!({
            "swagger": "2.0",
            "info": {"title": "K", "version": "1"},
            "paths": {"/a": {"get": {"x-b": 1}}},
            "definitions": {"T": {"type": "object", "properties": {"f": {"$ref": "#/T"}}}},
        });
        let expected: Vec<u8> = [
            &b"\x0a\x032.0\x12\x06\x0a\x01K\x12\x011"[..],
            // The path's name, its item, GET, no responses, the extension.
            b"\x42\x18\x12\x16\x0a\x02/a\x12\x10\x12\x0e\x4a\x00\x6a\x0a\x0a\x03x-b\x12\x03\x12\x011",
            // The definition's name, its type, its property.
            b"\x4a\x21\x0a\x1f\x0a\x01T\x12\x1a\xb2\x01\x08\x0a\x06object\xca\x01\x0c\x0a\x0a\x0a\x01f\x12\x05\x0a\x03#/T",
        ]
        .concat();
        assert_eq!(encode(&document), expected);
    }
}
