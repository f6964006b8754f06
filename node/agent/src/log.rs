//! Container logs in the CRI format: reading, following, rotating.

mod follow;
mod record;
mod rotate;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

pub(crate) use follow::{Follow, Request, stream};
pub(crate) use rotate::run as rotate;

use record::Record;

/// The text of a log's last lines, for termination messages. Empty if there is none.
pub(crate) async fn last_lines(path: PathBuf, lines: usize, bytes_max: usize) -> String {
    let read = move || -> io::Result<String> {
        let mut file = File::open(path)?;
        let start = tail_offset(&mut file, lines)?;
        file.seek(SeekFrom::Start(start))?;
        let mut raw = Vec::new();
        file.read_to_end(&mut raw)?;
        let mut text: Vec<u8> = Vec::new();
        for line in raw.split_inclusive(|byte| *byte == b'\n') {
            if let Some(record) = Record::parse(line) {
                record.append(&mut text, false);
            }
        }
        let text = &text[text.len().saturating_sub(bytes_max)..];
        Ok(String::from_utf8_lossy(text).into_owned())
    };
    tokio::task::spawn_blocking(read).await.ok().and_then(Result::ok).unwrap_or_default()
}

/// Where the last `lines` records of a log begin.
fn tail_offset(file: &mut File, lines: usize) -> io::Result<u64> {
    const BLOCK: u64 = 16 * 1024;
    let len = file.metadata()?.len();
    if lines == 0 {
        return Ok(len);
    }
    let (mut end, mut seen) = (len, 0);
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(end - start).unwrap_or(0)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        for (index, byte) in block.iter().enumerate().rev() {
            let at = start + index as u64;
            // The newline that ends the file begins no record.
            if *byte == b'\n' && at + 1 != len {
                seen += 1;
                if seen == lines {
                    return Ok(at + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

/// Removes the log of one instance of a container, with its rotated parts.
pub(crate) async fn remove(dir: PathBuf, attempt: u32) {
    let removed = tokio::task::spawn_blocking(move || {
        let prefix = format!("{attempt}.log");
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(&prefix));
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    });
    let _ = removed.await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn finds_the_tail_over_blocks() {
        let mut file = tempfile::tempfile().unwrap();
        let line = format!("{}\n", "x".repeat(999));
        for _ in 0..100 {
            file.write_all(line.as_bytes()).unwrap();
        }
        for (lines, expected) in [(0, 100_000), (1, 99_000), (50, 50_000), (100, 0), (1000, 0)] {
            assert_eq!(tail_offset(&mut file, lines).unwrap(), expected, "{lines}");
        }
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(b"unfinished").unwrap();
        assert_eq!(tail_offset(&mut file, 1).unwrap(), 100_000);
    }
}
