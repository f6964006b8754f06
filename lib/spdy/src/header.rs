//! Header blocks: names and values, compressed as one zlib stream over all frames of a connection.
//!
//! The stream begins with zlib's head, which names the dictionary. What follows is plain deflate; the dictionary is brought into its
//! window by packing, or unpacking, the dictionary itself first and dropping what comes out.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::{Error, Headers, dictionary};

/// What a block may unpack to.
const BLOCK_LEN_MAX: usize = 64 * 1024;

/// Deflate with a window of 32 KiB, the default level, and a dictionary.
const ZLIB_HEAD: [u8; 2] = [0x78, 0xbb];
const HEAD_LEN: usize = 6;
/// Method of compression and the flag for a dictionary, in the two bytes of zlib's head.
const METHOD_MASK: u8 = 0x0f;
const METHOD_DEFLATE: u8 = 8;
const DICTIONARY_FLAG: u8 = 0x20;

pub(crate) struct Packer {
    deflate: Compress,
    begun: bool,
}

impl Packer {
    pub(crate) fn new() -> Self {
        let mut packer = Self { deflate: Compress::new(Compression::default(), false), begun: false };
        packer.deflate(&dictionary::bytes(), &mut Vec::new());
        packer
    }

    pub(crate) fn pack(&mut self, headers: &Headers, out: &mut Vec<u8>) {
        let mut block = Vec::new();
        put_len(&mut block, headers.len());
        for (name, value) in headers {
            put_len(&mut block, name.len());
            block.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
            put_len(&mut block, value.len());
            block.extend_from_slice(value.as_bytes());
        }
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(&ZLIB_HEAD);
            out.extend_from_slice(&dictionary::ADLER32.to_be_bytes());
        }
        self.deflate(&block, out);
    }

    /// All of `input`, ended so that the other side can unpack all of it.
    fn deflate(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let before = self.deflate.total_in();
        loop {
            let taken = usize::try_from(self.deflate.total_in() - before).unwrap_or(usize::MAX).min(input.len());
            out.reserve(input.len() + 64);
            let room = out.capacity();
            // In memory there is nothing that could fail; an error would leave the block unfinished.
            let _ = self.deflate.compress_vec(&input[taken..], out, FlushCompress::Sync);
            if out.len() < room {
                return;
            }
        }
    }
}

fn put_len(block: &mut Vec<u8>, len: usize) {
    block.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
}

pub(crate) struct Unpacker {
    inflate: Decompress,
    /// zlib's head, until it is whole. `None` once it was read.
    head: Option<Vec<u8>>,
}

impl Unpacker {
    pub(crate) fn new() -> Self {
        let mut unpacker = Self { inflate: Decompress::new(false), head: Some(Vec::new()) };
        let dictionary = dictionary::bytes();
        // A stored block, which is not the last one: its length, the length's complement, and the bytes.
        let len = u16::try_from(dictionary.len()).unwrap_or(u16::MAX);
        let stored = [&[0], &len.to_le_bytes()[..], &(!len).to_le_bytes(), &dictionary].concat();
        // It is well formed, and unpacks to itself.
        let _ = unpacker.inflate(&stored);
        unpacker
    }

    pub(crate) fn unpack(&mut self, mut block: &[u8]) -> Result<Headers, Error> {
        if let Some(mut head) = self.head.take() {
            let missing = HEAD_LEN.saturating_sub(head.len()).min(block.len());
            head.extend_from_slice(&block[..missing]);
            block = &block[missing..];
            if head.len() < HEAD_LEN {
                self.head = Some(head);
                return Err(Error::Headers("it ends within its head"));
            }
            check(&head)?;
        }
        let block = self.inflate(block)?;
        let mut rest = block.as_slice();
        let count = take_len(&mut rest)?;
        let mut headers = Headers::new();
        for _ in 0..count {
            let name = take_text(&mut rest)?;
            let value = take_text(&mut rest)?;
            headers.push((name, value));
        }
        Ok(headers)
    }

    fn inflate(&mut self, mut input: &[u8]) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let (in_before, out_before) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(input, &mut chunk, FlushDecompress::Sync);
            let taken = usize::try_from(self.inflate.total_in() - in_before).unwrap_or(0);
            let made = usize::try_from(self.inflate.total_out() - out_before).unwrap_or(0);
            input = input.get(taken..).unwrap_or_default();
            all.extend_from_slice(&chunk[..made.min(chunk.len())]);
            match status {
                Err(_) => return Err(Error::Headers("it does not unpack")),
                Ok(Status::StreamEnd) => return Err(Error::Headers("it ends the stream")),
                Ok(_) if all.len() > BLOCK_LEN_MAX => return Err(Error::Headers("it unpacks to more than 64 KiB")),
                // What was taken in may come out over several calls.
                Ok(_) if made == 0 && taken == 0 => return Ok(all),
                Ok(_) => {}
            }
        }
    }
}

fn check(head: &[u8]) -> Result<(), Error> {
    let whole = u16::from_be_bytes([head[0], head[1]]);
    if head[0] & METHOD_MASK != METHOD_DEFLATE || !whole.is_multiple_of(31) {
        return Err(Error::Headers("it is not zlib's"));
    }
    if head[1] & DICTIONARY_FLAG == 0 || head[2..] != dictionary::ADLER32.to_be_bytes() {
        return Err(Error::Headers("it is packed without SPDY's dictionary"));
    }
    Ok(())
}

fn take_len(rest: &mut &[u8]) -> Result<usize, Error> {
    let (len, after) = rest.split_first_chunk::<4>().ok_or(Error::Headers("a length is cut off"))?;
    *rest = after;
    Ok(u32::from_be_bytes(*len) as usize)
}

fn take_text(rest: &mut &[u8]) -> Result<String, Error> {
    let len = take_len(rest)?;
    let (text, after) = rest.split_at_checked(len).ok_or(Error::Headers("a text is cut off"))?;
    *rest = after;
    String::from_utf8(text.to_vec()).map_err(|_| Error::Headers("a text is not UTF-8"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn reads_what_zlib_itself_packed() {
        // Made by zlib 1.2.13: the block of `streamtype: error`, with the dictionary, up to a sync flush; then that of
        // `streamtype: stdin`.
        let first = b"\x78\xf9\xe3\xc6\xa7\xc2\x02\xa6\x23\x46\x70\x3a\x2b\x29\x4a\x4d\xcc\x85\x16\x25\xac\xa9\xa0\x80\x06\x00\x00\x00\xff\xff";
        let second = b"\xc2\x2e\x55\x5c\x02\xcc\x2e\x00\x00\x00\x00\xff\xff";
        let mut unpacker = Unpacker::new();
        assert_eq!(unpacker.unpack(first).unwrap(), headers(&[("streamtype", "error")]));
        assert_eq!(unpacker.unpack(second).unwrap(), headers(&[("streamtype", "stdin")]));
    }

    #[test]
    fn other_compression_is_refused() {
        let plain = [0x78, 0x9c, 0, 0, 0, 0, 0];
        let refused = Unpacker::new().unpack(&plain);
        assert_eq!(refused, Err(Error::Headers("it is packed without SPDY's dictionary")));
    }

    #[test]
    fn a_block_that_unpacks_to_too_much_is_refused() {
        let mut block = Vec::new();
        Packer::new().pack(&headers(&[("a", &"x".repeat(BLOCK_LEN_MAX))]), &mut block);
        assert!(block.len() < 1_000);
        assert_eq!(Unpacker::new().unpack(&block), Err(Error::Headers("it unpacks to more than 64 KiB")));
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(blocks in proptest::collection::vec(
            proptest::collection::vec(("[a-z0-9:-]{0,20}", ".{0,300}"), 0..5), 0..20)
        ) {
            let (mut packer, mut unpacker) = (Packer::new(), Unpacker::new());
            for block in blocks {
                let mut bytes = Vec::new();
                packer.pack(&block, &mut bytes);
                prop_assert_eq!(unpacker.unpack(&bytes).unwrap(), block);
            }
        }

        #[test]
        fn nothing_panics(blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..5)) {
            let mut unpacker = Unpacker::new();
            for block in blocks {
                let _ = unpacker.unpack(&block);
            }
        }
    }
}
