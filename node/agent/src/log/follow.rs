//! A log as a stream of bytes.

use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;
use skep_cri::v1;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};

use super::record::Record;

const POLL: Duration = Duration::from_millis(100);
/// Bytes sent at once.
const CHUNK: usize = 32 * 1024;
/// A record longer than this is cut: no runtime writes such.
const RECORD_LEN_MAX: u64 = 1 << 20;

/// What of a log is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) follow: bool,
    pub(crate) timestamps: bool,
    pub(crate) tail_lines: Option<usize>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) limit_bytes: Option<usize>,
    /// `stdout` or `stderr` alone, if set.
    pub(crate) stderr: Option<bool>,
}

/// How to tell that a followed container has ended.
pub(crate) struct Follow {
    pub(crate) cri: skep_cri::Client,
    pub(crate) container_id: String,
}

impl Follow {
    async fn ended(&self) -> bool {
        let request = v1::ContainerStatusRequest { container_id: self.container_id.clone(), verbose: false };
        match self.cri.container_status(request).await {
            Ok(answer) => {
                answer.status.is_none_or(|status| status.state != v1::ContainerState::ContainerRunning as i32)
            }
            Err(error) => error.is_not_found(),
        }
    }
}

/// The lines of a log, until its end or, followed, until its container has ended.
pub(crate) async fn stream(
    path: PathBuf,
    request: Request,
    follow: Follow,
) -> std::io::Result<impl Stream<Item = std::io::Result<Bytes>>> {
    let mut reader = Reader::open(path).await?;
    if let Some(lines) = request.tail_lines {
        reader.seek_tail(lines).await?;
    }
    let left = request.limit_bytes.unwrap_or(usize::MAX);
    let state = State { reader, request, follow, left, partial: false, ended: false };
    Ok(futures::stream::try_unfold(
        state,
        |mut state| async move { Ok(state.next().await?.map(|bytes| (bytes, state))) },
    ))
}

struct State {
    reader: Reader,
    request: Request,
    follow: Follow,
    left: usize,
    /// The last record was a part of a line.
    partial: bool,
    ended: bool,
}

impl State {
    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        let mut out = Vec::new();
        while self.left > 0 {
            match self.reader.record().await? {
                Some(line) => {
                    self.take(&line, &mut out);
                    if out.len() >= CHUNK {
                        return Ok(Some(self.cut(out)));
                    }
                }
                None if !out.is_empty() => return Ok(Some(self.cut(out))),
                None if !self.request.follow || self.ended => return Ok(None),
                None if self.reader.switch().await? => {}
                None => {
                    // One more read follows, for what came between the last one and the end.
                    self.ended = self.follow.ended().await;
                    if !self.ended {
                        self.reader.wait().await?;
                    }
                }
            }
        }
        Ok(None)
    }

    fn take(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(record) = Record::parse(line) else { return };
        let wanted = self.request.since.is_none_or(|since| record.time >= since)
            && self.request.stderr.is_none_or(|stderr| record.stderr == stderr);
        if wanted {
            record.append(out, self.request.timestamps && !self.partial);
            self.partial = record.partial;
        }
    }

    fn cut(&mut self, mut out: Vec<u8>) -> Bytes {
        out.truncate(self.left);
        self.left -= out.len();
        out.into()
    }
}

struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    inode: u64,
    /// The beginning of a record whose end is not written yet.
    begun: Vec<u8>,
}

impl Reader {
    async fn open(path: PathBuf) -> std::io::Result<Self> {
        let file = File::open(&path).await?;
        let inode = file.metadata().await?.ino();
        Ok(Self { path, file: BufReader::new(file), inode, begun: Vec::new() })
    }

    async fn seek_tail(&mut self, lines: usize) -> std::io::Result<()> {
        let mut file = std::fs::File::open(&self.path)?;
        let start = tokio::task::spawn_blocking(move || super::tail_offset(&mut file, lines)).await;
        let start = start.map_err(std::io::Error::other)??;
        self.file.seek(SeekFrom::Start(start)).await.map(drop)
    }

    /// The next whole record, or `None` where the file ends for now.
    async fn record(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let room = RECORD_LEN_MAX.saturating_sub(self.begun.len() as u64).max(1);
        (&mut self.file).take(room).read_until(b'\n', &mut self.begun).await?;
        let whole = self.begun.last() == Some(&b'\n') || self.begun.len() as u64 >= RECORD_LEN_MAX;
        Ok(whole.then(|| std::mem::take(&mut self.begun)))
    }

    /// Goes over to the new file if the log has been rotated. True if it did.
    async fn switch(&mut self) -> std::io::Result<bool> {
        match inode_of(&self.path).await {
            Some(inode) if inode != self.inode => {
                *self = Self::open(self.path.clone()).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Waits until there may be more.
    async fn wait(&mut self) -> std::io::Result<()> {
        let position = self.file.stream_position().await?;
        const CHECKS: u32 = 10;
        for _ in 0..CHECKS {
            tokio::time::sleep(POLL).await;
            let grown = self.file.get_ref().metadata().await?.len() > position;
            if grown || inode_of(&self.path).await != Some(self.inode) {
                return Ok(());
            }
        }
        Ok(())
    }
}

async fn inode_of(path: &Path) -> Option<u64> {
    tokio::fs::metadata(path).await.ok().map(|meta| meta.ino())
}
