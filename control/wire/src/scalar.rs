//! Values that are not plain messages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use crate::error::Fault;
use crate::fields::{Fields, Payload};

/// Of any width: negative numbers are on the wire as 64 bits.
pub(crate) fn int(payload: Payload<'_>) -> Result<Value, Fault> {
    Ok(payload.varint()?.cast_signed().into())
}

pub(crate) fn bool(payload: Payload<'_>) -> Result<Value, Fault> {
    Ok((payload.varint()? != 0).into())
}

pub(crate) fn string(payload: Payload<'_>) -> Result<Value, Fault> {
    Ok(payload.text()?.into())
}

pub(crate) fn bytes(payload: Payload<'_>) -> Result<Value, Fault> {
    Ok(STANDARD.encode(payload.bytes()?).into())
}

/// RFC 3339 in UTC, to the second or the microsecond. The zero time is an empty message, and null.
pub(crate) fn time(payload: Payload<'_>, micros: bool) -> Result<Value, Fault> {
    let message = payload.bytes()?;
    if message.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    for field in Fields::of(message) {
        match field? {
            (1, payload) => seconds = payload.varint()?.cast_signed(),
            (2, payload) if micros => nanos = payload.varint()?.cast_signed(),
            _ => {}
        }
    }
    let nanos = i32::try_from(nanos).ok().filter(|nanos| (0..1_000_000_000).contains(nanos)).ok_or(Fault::Time)?;
    let time = Timestamp::new(seconds, nanos).map_err(|_| Fault::Time)?;
    let format = if micros { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    // RFC 3339 has no years before 0.
    let text = time.strftime(format).to_string();
    if text.starts_with('-') { Err(Fault::Time) } else { Ok(text.into()) }
}

pub(crate) fn quantity(payload: Payload<'_>) -> Result<Value, Fault> {
    let mut text = "";
    for field in Fields::of(payload.bytes()?) {
        if let (1, payload) = field? {
            text = payload.text()?;
        }
    }
    Ok(if text.is_empty() { "0" } else { text }.into())
}

pub(crate) fn int_or_string(payload: Payload<'_>) -> Result<Value, Fault> {
    let (mut kind, mut int, mut text) = (0, 0, "");
    for field in Fields::of(payload.bytes()?) {
        match field? {
            (1, payload) => kind = payload.varint()?,
            (2, payload) => int = payload.varint()?.cast_signed(),
            (3, payload) => text = payload.text()?,
            _ => {}
        }
    }
    match kind {
        0 => Ok(int.into()),
        1 => Ok(text.into()),
        _ => Err(Fault::IntOrString),
    }
}

/// The JSON in a message's first field; null where there is none.
pub(crate) fn json(payload: Payload<'_>) -> Result<Value, Fault> {
    let mut raw: &[u8] = &[];
    for field in Fields::of(payload.bytes()?) {
        if let (1, payload) = field? {
            raw = payload.bytes()?;
        }
    }
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(raw).map_err(Fault::Json)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        // 2020-09-13T12:26:40Z and 5 µs.
        let message = Payload::Bytes(b"\x08\x80\xa0\xf8\xfa\x05\x10\x88\x27\x18\x01");
        assert_eq!(time(message, false).unwrap(), "2020-09-13T12:26:40Z");
        assert_eq!(time(message, true).unwrap(), "2020-09-13T12:26:40.000005Z");
        assert_eq!(time(Payload::Bytes(b""), true).unwrap(), Value::Null);
        let huge = Payload::Bytes(b"\x08\xff\xff\xff\xff\xff\xff\xff\x7f");
        assert!(matches!(time(huge, false), Err(Fault::Time)));
    }

    #[test]
    fn quantities_and_ports_are_what_they_hold() {
        assert_eq!(quantity(Payload::Bytes(b"\x0a\x04100m")).unwrap(), "100m");
        assert_eq!(quantity(Payload::Bytes(b"")).unwrap(), "0");
        assert_eq!(int_or_string(Payload::Bytes(b"\x08\0\x10\x50\x1a\0")).unwrap(), 80);
        assert_eq!(int_or_string(Payload::Bytes(b"\x08\x01\x10\0\x1a\x04http")).unwrap(), "http");
        assert!(matches!(int_or_string(Payload::Bytes(b"\x08\x02")), Err(Fault::IntOrString)));
    }

    #[test]
    fn numbers_keep_their_sign() {
        assert_eq!(int(Payload::Varint(u64::MAX)).unwrap(), -1);
    }

    #[test]
    fn embedded_json_is_parsed() {
        assert_eq!(json(Payload::Bytes(b"\x0a\x07{\"a\":1}")).unwrap(), json!({"a": 1}));
        assert!(matches!(json(Payload::Bytes(b"\x0a\x01{")), Err(Fault::Json(_))));
        let mut deep = vec![0x0a, 0xe8, 0x07];
        deep.extend(b"[".repeat(1000));
        assert!(matches!(json(Payload::Bytes(&deep)), Err(Fault::Json(_))));
    }
}
