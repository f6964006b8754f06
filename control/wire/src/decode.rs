//! Messages to JSON objects, driven by the table.

use serde_json::{Map, Value};

use crate::error::{Fault, Located};
use crate::fields::{Fields, Payload};
use crate::scalar;
use crate::table::{Field, Message, Shape, Table, Type};

/// Messages in messages. The deepest built-in kind has about ten.
const DEPTH_MAX: usize = 64;

type Object = Map<String, Value>;

/// Merges a message's fields into an object, as protobuf merges a message that is there twice.
pub(crate) fn merge(
    table: &Table,
    message: Message,
    bytes: &[u8],
    depth: usize,
    into: &mut Object,
) -> Result<(), Located> {
    if depth > DEPTH_MAX {
        return Err(Fault::Depth.into());
    }
    for read in Fields::of(bytes) {
        let (number, payload) = read?;
        let Some(field) = table.field(message, number) else { continue };
        let done = match (field.shape, field.of) {
            (Shape::Inline, Type::Message(inner)) => {
                payload.bytes().map_err(Into::into).and_then(|bytes| merge(table, inner, bytes, depth + 1, into))
            }
            (Shape::One | Shape::Inline, _) => one(table, field, payload, depth, into),
            (Shape::List, _) => list(table, field, payload, depth, into),
            (Shape::Map, _) => entry(table, field, payload, depth, into),
        };
        done.map_err(|error| if field.shape == Shape::Inline { error } else { error.below(&field.name) })?;
    }
    Ok(())
}

fn one(table: &Table, field: &Field, payload: Payload<'_>, depth: usize, into: &mut Object) -> Result<(), Located> {
    if let Type::Message(inner) = field.of {
        let bytes = payload.bytes()?;
        if !into.contains_key(&field.name) {
            into.insert(field.name.clone(), Value::Object(Map::new()));
        }
        return match into.get_mut(&field.name) {
            Some(Value::Object(inside)) => merge(table, inner, bytes, depth + 1, inside),
            _ => Ok(()),
        };
    }
    let value = value(table, field.of, payload, depth)?;
    if value.is_null() || (field.omit_zero && is_zero(&value)) {
        into.shift_remove(&field.name);
    } else {
        into.insert(field.name.clone(), value);
    }
    Ok(())
}

fn list(table: &Table, field: &Field, payload: Payload<'_>, depth: usize, into: &mut Object) -> Result<(), Located> {
    let Value::Array(items) = into.entry(field.name.as_str()).or_insert_with(|| Value::Array(Vec::new())) else {
        return Ok(());
    };
    match (field.of, payload) {
        // Packed: numbers one after the other.
        (Type::Int | Type::Bool, Payload::Bytes(mut packed)) => {
            while !packed.is_empty() {
                let number = prost::encoding::decode_varint(&mut packed).map_err(Fault::from)?;
                items.push(value(table, field.of, Payload::Varint(number), depth)?);
            }
        }
        _ => items.push(value(table, field.of, payload, depth).map_err(|error| error.at(items.len()))?),
    }
    Ok(())
}

/// An entry of a map is a message of a key and a value, each its type's zero where it is not there.
fn entry(table: &Table, field: &Field, payload: Payload<'_>, depth: usize, into: &mut Object) -> Result<(), Located> {
    let zero = if matches!(field.of, Type::Int | Type::Bool) { Payload::Varint(0) } else { Payload::Bytes(&[]) };
    let (mut key, mut content) = ("", zero);
    for read in Fields::of(payload.bytes()?) {
        match read? {
            (1, payload) => key = payload.text()?,
            (2, payload) => content = payload,
            _ => {}
        }
    }
    let value = value(table, field.of, content, depth).map_err(|error| error.below(key))?;
    if let Value::Object(entries) = into.entry(field.name.as_str()).or_insert_with(|| Value::Object(Map::new())) {
        entries.insert(key.to_owned(), value);
    }
    Ok(())
}

fn value(table: &Table, of: Type, payload: Payload<'_>, depth: usize) -> Result<Value, Located> {
    let value = match of {
        Type::String => scalar::string(payload),
        Type::Int => scalar::int(payload),
        Type::Bool => scalar::bool(payload),
        Type::Bytes => scalar::bytes(payload),
        Type::Time => scalar::time(payload, false),
        Type::MicroTime => scalar::time(payload, true),
        Type::Quantity => scalar::quantity(payload),
        Type::IntOrString => scalar::int_or_string(payload),
        Type::Json => scalar::json(payload),
        Type::Message(message) => {
            let mut object = Map::new();
            merge(table, message, payload.bytes()?, depth + 1, &mut object)?;
            Ok(Value::Object(object))
        }
    };
    Ok(value?)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    const TABLE: &str = "v1.A\tkind\n\tname\t1\tone\tstring\tomitzero\n\tready\t2\tone\tbool\n\tcount\t3\tlist\tint\n\
                         \tlimits\t4\tmap\tquantity\n\tinner\t5\tone\tv1.A\n\t-\t6\tinline\tv1.B\n\titems\t7\tlist\tv1.A\n\
                         v1.B\n\tdata\t1\tmap\tbytes\n\tat\t2\tone\ttime\n";

    fn decode(bytes: &[u8]) -> Result<Value, Located> {
        let table = Table::parse(TABLE).unwrap();
        let mut object = Map::new();
        merge(&table, table.kind("v1", "A").unwrap(), bytes, 0, &mut object)?;
        Ok(object.into())
    }

    #[test]
    fn zeros_are_left_out_only_where_go_leaves_them_out() {
        assert_eq!(decode(b"\x0a\0\x10\0").unwrap(), json!({"ready": false}));
        assert_eq!(decode(b"\x0a\x01x\x0a\0").unwrap(), json!({}), "the last one counts");
    }

    #[test]
    fn lists_come_packed_or_not() {
        assert_eq!(decode(b"\x18\x01\x1a\x02\x02\x03\x18\x04").unwrap(), json!({"count": [1, 2, 3, 4]}));
    }

    #[test]
    fn maps_keep_zeros_and_know_what_is_not_there() {
        let value = decode(b"\x22\x08\x0a\x01a\x12\x03\x0a\x011\x22\x03\x0a\x01b\x22\0").unwrap();
        assert_eq!(value, json!({"limits": {"a": "1", "b": "0", "": "0"}}));
        assert_eq!(decode(b"\x32\x0a\x0a\x08\x0a\x01a\x12\x03\0\x01\xff").unwrap(), json!({"data": {"a": "AAH/"}}));
    }

    #[test]
    fn a_message_that_is_there_twice_is_merged() {
        let value = decode(b"\x2a\x03\x0a\x01a\x2a\x02\x10\x01\x2a\0").unwrap();
        assert_eq!(value, json!({"inner": {"name": "a", "ready": true}}));
        assert_eq!(decode(b"\x32\x02\x12\0").unwrap(), json!({}), "no time");
    }

    #[test]
    fn faults_are_named_by_their_place() {
        let error = decode(b"\x2a\x07\x3a\0\x3a\x03\x0a\x01\xff").unwrap_err();
        assert_eq!(error.path, ".inner.items[1].name");
        assert!(matches!(error.fault, Fault::Utf8));
        assert!(matches!(decode(b"\x08\x01").unwrap_err().fault, Fault::WireType));
    }

    #[test]
    fn nesting_has_a_bound() {
        let nest = |times: usize| {
            (0..times).fold(Vec::new(), |inside, _| {
                let mut outer = vec![0x2a];
                prost::encoding::encode_varint(inside.len() as u64, &mut outer);
                outer.extend(inside);
                outer
            })
        };
        decode(&nest(DEPTH_MAX)).unwrap();
        assert!(matches!(decode(&nest(10_000)).unwrap_err().fault, Fault::Depth));
    }
}
