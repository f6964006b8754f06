//! Frames: eight bytes of head, and what it says follows.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::header::{Packer, Unpacker};
use crate::{Error, Headers};

const VERSION: u16 = 3;
const HEAD_LEN: usize = 8;
const CONTROL: u8 = 0x80;
const FIN: u8 = 0x01;
/// The highest bit of a stream's id is reserved.
pub const STREAM_ID_MAX: u32 = 0x7fff_ffff;
const LEN_MAX: usize = 0x00ff_ffff;
/// No control frame of a runtime comes near it.
const CONTROL_LEN_MAX: usize = 64 * 1024;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// One frame. `fin` says that its sender sends no more on the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Opens a stream. The client's ids are odd.
    SynStream {
        /// The stream's id.
        stream: u32,
        /// What it is for.
        headers: Headers,
        /// The sender sends nothing on it.
        fin: bool,
    },
    /// Accepts a stream.
    SynReply {
        /// The stream's id.
        stream: u32,
        /// Mostly empty.
        headers: Headers,
        /// The sender sends nothing on it.
        fin: bool,
    },
    /// More headers of a stream.
    Headers {
        /// The stream's id.
        stream: u32,
        /// The headers.
        headers: Headers,
        /// The last of the sender.
        fin: bool,
    },
    /// Ends a stream, both ways and at once.
    Reset {
        /// The stream's id.
        stream: u32,
        /// Why: 5 is "cancelled".
        status: u32,
    },
    /// To be sent back as it is, if the id is of the other's parity.
    Ping {
        /// Any number.
        id: u32,
    },
    /// No more streams will be accepted.
    GoAway {
        /// The last stream that was.
        last: u32,
        /// Why: 0 is "ok".
        status: u32,
    },
    /// Bytes of a stream.
    Data {
        /// The stream's id.
        stream: u32,
        /// At most 16 MiB less one.
        bytes: Bytes,
        /// The last of the sender.
        fin: bool,
    },
    /// Settings, window updates and what else need not be known.
    Other {
        /// The frame's type.
        kind: u16,
    },
}

/// Writes the frames of one direction of a connection.
pub struct Encoder {
    packer: Packer,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { packer: Packer::new() }
    }
}

impl Encoder {
    /// Appends a frame. Data longer than a frame can carry is cut into several; [`Frame::Other`] is nothing.
    pub fn encode(&mut self, frame: &Frame, out: &mut BytesMut) {
        match frame {
            Frame::SynStream { stream, headers, fin } => {
                let mut body = Vec::new();
                body.put_u32(stream & STREAM_ID_MAX);
                // Belongs to no other stream; the highest priority; no credentials.
                body.put_u32(0);
                body.put_u16(0);
                self.packer.pack(headers, &mut body);
                control(out, SYN_STREAM, *fin, &body);
            }
            Frame::SynReply { stream, headers, fin } => self.headers(out, SYN_REPLY, *stream, headers, *fin),
            Frame::Headers { stream, headers, fin } => self.headers(out, HEADERS, *stream, headers, *fin),
            Frame::Reset { stream, status } => numbers(out, RST_STREAM, &[stream & STREAM_ID_MAX, *status]),
            Frame::Ping { id } => numbers(out, PING, &[*id]),
            Frame::GoAway { last, status } => numbers(out, GOAWAY, &[last & STREAM_ID_MAX, *status]),
            Frame::Data { stream, bytes, fin } => data(out, *stream, bytes, *fin),
            Frame::Other { .. } => {}
        }
    }

    fn headers(&mut self, out: &mut BytesMut, kind: u16, stream: u32, headers: &Headers, fin: bool) {
        let mut body = Vec::new();
        body.put_u32(stream & STREAM_ID_MAX);
        self.packer.pack(headers, &mut body);
        control(out, kind, fin, &body);
    }
}

fn control(out: &mut BytesMut, kind: u16, fin: bool, body: &[u8]) {
    out.put_u16(u16::from(CONTROL) << 8 | VERSION);
    out.put_u16(kind);
    flags_and_len(out, fin, body.len());
    out.put_slice(body);
}

fn numbers(out: &mut BytesMut, kind: u16, numbers: &[u32]) {
    let body: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    control(out, kind, false, &body);
}

fn data(out: &mut BytesMut, stream: u32, bytes: &Bytes, fin: bool) {
    let mut rest = bytes.as_ref();
    loop {
        let (now, later) = rest.split_at(rest.len().min(LEN_MAX));
        out.put_u32(stream & STREAM_ID_MAX);
        flags_and_len(out, fin && later.is_empty(), now.len());
        out.put_slice(now);
        rest = later;
        if rest.is_empty() {
            return;
        }
    }
}

fn flags_and_len(out: &mut BytesMut, fin: bool, len: usize) {
    let flags = if fin { FIN } else { 0 };
    out.put_u32(u32::from(flags) << 24 | u32::try_from(len.min(LEN_MAX)).unwrap_or_default());
}

/// Reads the frames of one direction of a connection.
pub struct Decoder {
    unpacker: Unpacker,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { unpacker: Unpacker::new() }
    }
}

impl Decoder {
    /// Takes the next frame from what has come so far; `None` if it is not whole yet.
    ///
    /// # Errors
    /// The bytes are no SPDY/3.1. The connection is of no use any more.
    pub fn decode(&mut self, from: &mut BytesMut) -> Result<Option<Frame>, Error> {
        let Some(head) = from.first_chunk::<HEAD_LEN>().copied() else { return Ok(None) };
        let is_control = head[0] & CONTROL != 0;
        let len = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        let kind = u16::from_be_bytes([head[2], head[3]]);
        if is_control {
            let version = u16::from_be_bytes([head[0] & !CONTROL, head[1]]);
            if version != VERSION {
                return Err(Error::Version(version));
            }
            if len > CONTROL_LEN_MAX {
                return Err(Error::Length { kind, len });
            }
        }
        if from.len() < HEAD_LEN + len {
            from.reserve(HEAD_LEN + len - from.len());
            return Ok(None);
        }
        from.advance(HEAD_LEN);
        let body = from.split_to(len).freeze();
        let fin = head[4] & FIN != 0;
        if is_control {
            return self.control(kind, fin, body).map(Some);
        }
        let stream = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        Ok(Some(Frame::Data { stream, bytes: body, fin }))
    }

    fn control(&mut self, kind: u16, fin: bool, mut body: Bytes) -> Result<Frame, Error> {
        let len = body.len();
        let short = |_| Error::Length { kind, len };
        Ok(match kind {
            SYN_STREAM => {
                let stream = body.try_get_u32().map_err(short)? & STREAM_ID_MAX;
                body.try_get_u32().map_err(short)?;
                body.try_get_u16().map_err(short)?;
                Frame::SynStream { stream, headers: self.unpacker.unpack(&body)?, fin }
            }
            SYN_REPLY => {
                let stream = body.try_get_u32().map_err(short)? & STREAM_ID_MAX;
                Frame::SynReply { stream, headers: self.unpacker.unpack(&body)?, fin }
            }
            HEADERS => {
                let stream = body.try_get_u32().map_err(short)? & STREAM_ID_MAX;
                Frame::Headers { stream, headers: self.unpacker.unpack(&body)?, fin }
            }
            RST_STREAM => {
                let stream = body.try_get_u32().map_err(short)? & STREAM_ID_MAX;
                Frame::Reset { stream, status: body.try_get_u32().map_err(short)? }
            }
            PING => Frame::Ping { id: body.try_get_u32().map_err(short)? },
            GOAWAY => {
                let last = body.try_get_u32().map_err(short)? & STREAM_ID_MAX;
                Frame::GoAway { last, status: body.try_get_u32().map_err(short)? }
            }
            kind => Frame::Other { kind },
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers() -> impl Strategy<Value = Headers> {
        proptest::collection::vec(("[a-z-]{1,12}", "[ -~]{0,40}"), 0..4)
    }

    fn frame() -> impl Strategy<Value = Frame> {
        let stream = 0..=STREAM_ID_MAX;
        prop_oneof![
            (stream.clone(), headers(), any::<bool>()).prop_map(|(stream, headers, fin)| Frame::SynStream {
                stream,
                headers,
                fin
            }),
            (stream.clone(), headers(), any::<bool>()).prop_map(|(stream, headers, fin)| Frame::SynReply {
                stream,
                headers,
                fin
            }),
            (stream.clone(), headers(), any::<bool>()).prop_map(|(stream, headers, fin)| Frame::Headers {
                stream,
                headers,
                fin
            }),
            (stream.clone(), any::<u32>()).prop_map(|(stream, status)| Frame::Reset { stream, status }),
            any::<u32>().prop_map(|id| Frame::Ping { id }),
            (stream.clone(), any::<u32>()).prop_map(|(last, status)| Frame::GoAway { last, status }),
            (stream, proptest::collection::vec(any::<u8>(), 0..100), any::<bool>())
                .prop_map(|(stream, bytes, fin)| Frame::Data { stream, bytes: bytes.into(), fin }),
        ]
    }

    #[test]
    fn a_frame_stands_as_the_draft_draws_it() {
        let mut out = BytesMut::new();
        let mut encoder = Encoder::default();
        encoder.encode(&Frame::Ping { id: 1 }, &mut out);
        assert_eq!(out[..], [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]);
        out.clear();
        encoder.encode(&Frame::Data { stream: 3, bytes: Bytes::from_static(b"ab"), fin: true }, &mut out);
        assert_eq!(out[..], [0, 0, 0, 3, 1, 0, 0, 2, b'a', b'b']);
    }

    #[test]
    fn data_too_long_for_a_frame_goes_in_several() {
        let mut out = BytesMut::new();
        let bytes = Bytes::from(vec![1; LEN_MAX + 1]);
        Encoder::default().encode(&Frame::Data { stream: 1, bytes, fin: true }, &mut out);
        let mut decoder = Decoder::default();
        let mut lens = Vec::new();
        while let Some(Frame::Data { bytes, fin, .. }) = decoder.decode(&mut out).unwrap() {
            lens.push((bytes.len(), fin));
        }
        assert_eq!(lens, [(LEN_MAX, false), (1, true)]);
    }

    #[test]
    fn other_versions_and_short_frames_are_refused() {
        let decode = |bytes: &[u8]| Decoder::default().decode(&mut BytesMut::from(bytes));
        assert_eq!(decode(&[0x80, 2, 0, 6, 0, 0, 0, 0]), Err(Error::Version(2)));
        assert_eq!(decode(&[0x80, 3, 0, 6, 0, 0, 0, 1, 0]), Err(Error::Length { kind: 6, len: 1 }));
        assert_eq!(decode(&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff]), Err(Error::Length { kind: 1, len: 0xff_ffff }));
        assert_eq!(decode(&[0x80, 3, 0, 9, 0, 0, 0, 0]), Ok(Some(Frame::Other { kind: 9 })));
        assert_eq!(decode(&[0x80, 3, 0, 6, 0, 0, 0, 4, 0]), Ok(None));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_however_it_arrives(frames in proptest::collection::vec(frame(), 0..20), step in 1..50_usize) {
            let mut out = BytesMut::new();
            let mut encoder = Encoder::default();
            for frame in &frames {
                encoder.encode(frame, &mut out);
            }
            let (mut decoder, mut came, mut read) = (Decoder::default(), BytesMut::new(), Vec::new());
            for chunk in out.chunks(step) {
                came.extend_from_slice(chunk);
                while let Some(frame) = decoder.decode(&mut came).unwrap() {
                    read.push(frame);
                }
            }
            prop_assert!(came.is_empty());
            prop_assert_eq!(read, frames);
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (mut decoder, mut came) = (Decoder::default(), BytesMut::from(&bytes[..]));
            while let Ok(Some(_)) = decoder.decode(&mut came) {}
        }
    }
}
