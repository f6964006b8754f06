//! The fields of one encoded message.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::error::Fault;

/// A field's bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Payload<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of a wire type that no field of ours has.
    Other,
}

impl<'a> Payload<'a> {
    pub(crate) fn varint(self) -> Result<u64, Fault> {
        match self {
            Self::Varint(value) => Ok(value),
            Self::Bytes(_) | Self::Other => Err(Fault::WireType),
        }
    }

    pub(crate) fn bytes(self) -> Result<&'a [u8], Fault> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Other => Err(Fault::WireType),
        }
    }

    pub(crate) fn text(self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Fault::Utf8)
    }
}

/// Iterates over field numbers and payloads, in the order of the wire. Ends after the first fault.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn read(&mut self) -> Result<(u32, Payload<'a>), Fault> {
        let (number, wire_type) = decode_key(&mut self.rest)?;
        let payload = match wire_type {
            WireType::Varint => Payload::Varint(decode_varint(&mut self.rest)?),
            WireType::LengthDelimited => {
                let len = usize::try_from(decode_varint(&mut self.rest)?).map_err(|_| Fault::Truncated)?;
                let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Fault::Truncated)?;
                self.rest = rest;
                Payload::Bytes(bytes)
            }
            WireType::SixtyFourBit | WireType::ThirtyTwoBit | WireType::StartGroup | WireType::EndGroup => {
                skip_field(wire_type, number, &mut self.rest, DecodeContext::default())?;
                Payload::Other
            }
        };
        Ok((number, payload))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Payload<'a>), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(message: &[u8]) -> Result<Vec<(u32, Payload<'_>)>, Fault> {
        Fields::of(message).collect()
    }

    #[test]
    fn every_wire_type_is_read_or_skipped() {
        // 1: varint 150; 2: "hi"; 3: 64 bit; 4: 32 bit; 5: a group with a varint in it; 1: varint 1.
        let message = b"\x08\x96\x01\x12\x02hi\x19\0\0\0\0\0\0\0\0\x25\0\0\0\0\x2b\x08\x01\x2c\x08\x01";
        let fields = read(message).unwrap();
        let hi = Payload::Bytes(b"hi");
        let other = |number| (number, Payload::Other);
        assert_eq!(fields, [(1, Payload::Varint(150)), (2, hi), other(3), other(4), other(5), (1, Payload::Varint(1))]);
    }

    #[test]
    fn what_ends_early_is_a_fault() {
        for message in
            [&b"\x08"[..], b"\x12\x05hi", b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x19\0", b"\x2b", b"\x07"]
        {
            assert!(read(message).is_err(), "{message:?}");
        }
        assert!(read(&b"\x2b".repeat(100_000)).is_err(), "groups nest to a bound");
    }
}
