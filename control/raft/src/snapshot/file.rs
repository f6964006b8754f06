//! The file of a snapshot: a magic number, frames (length as 4 bytes little-endian, then so many bytes), and the SHA-256 of all
//! before it. The first frame is how far the log is applied, the others are a position and its record; an empty one ends them.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"skepsnp1";
const FRAME_BYTES_MAX: usize = 64 << 20;

pub(super) struct Writer {
    file: BufWriter<File>,
    hash: Sha256,
}

impl Writer {
    pub(super) fn create(path: &Path) -> io::Result<Writer> {
        let mut writer = Writer { file: BufWriter::new(File::create(path)?), hash: Sha256::new() };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    /// Writes one frame, made of parts.
    pub(super) fn frame(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len > FRAME_BYTES_MAX {
            return Err(invalid("a record is too large for a snapshot"));
        }
        let len = u32::try_from(len).expect("the largest frame's length fits");
        self.write(&len.to_le_bytes())?;
        parts.iter().try_for_each(|part| self.write(part))
    }

    /// Ends the file and waits until it is on the disk.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.frame(&[])?;
        self.file.write_all(&self.hash.finalize())?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.file.write_all(bytes)
    }
}

/// Reads frames, and whether the file is whole at their end.
pub(super) struct Reader<R: Read> {
    file: BufReader<R>,
    hash: Sha256,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(file: R) -> io::Result<Reader<R>> {
        let mut reader = Reader { file: BufReader::new(file), hash: Sha256::new() };
        if reader.read(MAGIC.len())? != MAGIC {
            return Err(invalid("not a snapshot of this version"));
        }
        Ok(reader)
    }

    /// The next frame; `None` at the end of a whole file.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let len = self.read(size_of::<u32>())?.try_into().expect("as many bytes as were asked for");
        let len = u32::from_le_bytes(len) as usize;
        if len > FRAME_BYTES_MAX {
            return Err(invalid("a frame of the snapshot is too large"));
        }
        if len > 0 {
            return self.read(len).map(Some);
        }
        let mut given = [0; 32];
        self.file.read_exact(&mut given)?;
        if self.hash.finalize_reset().as_slice() != given {
            return Err(invalid("the snapshot's checksum does not match"));
        }
        Ok(None)
    }

    fn read(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.file.read_exact(&mut bytes)?;
        self.hash.update(&bytes);
        Ok(bytes)
    }
}

/// Reads a file to its end.
pub(super) fn verify(path: &Path) -> io::Result<()> {
    let mut frames = Reader::new(File::open(path)?)?;
    while frames.next()?.is_some() {}
    Ok(())
}

pub(super) fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
