//! One record of a CRI log: `TIME STREAM TAGS TEXT`.

use jiff::Timestamp;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) time: Timestamp,
    pub(super) time_text: &'a str,
    pub(super) stderr: bool,
    /// More of the same line follows.
    pub(super) partial: bool,
    pub(super) text: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads a record with its newline; `None` where it is not one.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let time_text = std::str::from_utf8(parts.next()?).ok()?;
        let stderr = match parts.next()? {
            b"stdout" => false,
            b"stderr" => true,
            _ => return None,
        };
        let tags = parts.next()?;
        let text = parts.next().unwrap_or_default();
        let partial = tags.split(|byte| *byte == b':').next() == Some(b"P");
        Some(Self { time: time_text.parse().ok()?, time_text, stderr, partial, text })
    }

    /// Adds the record's text as users see it.
    pub(super) fn append(&self, out: &mut Vec<u8>, timestamp: bool) {
        if timestamp {
            out.extend_from_slice(self.time_text.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(self.text);
        if !self.partial {
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_whole_and_partial_lines() {
        let mut out = Vec::new();
        for line in [
            &b"2026-01-02T03:04:05.678901234Z stdout P one \n"[..],
            b"2026-01-02T03:04:05.678901234Z stdout F two\n",
            b"2026-01-02T03:04:06+02:00 stderr F \n",
        ] {
            Record::parse(line).unwrap().append(&mut out, false);
        }
        assert_eq!(out, b"one two\n\n");
        for line in [&b""[..], b"x stdout F a\n", b"2026-01-02T03:04:05Z nope F a\n", b"2026-01-02T03:04:05Z stdout\n"]
        {
            assert_eq!(Record::parse(line), None);
        }
    }

    proptest! {
        #[test]
        fn never_panics(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Record::parse(&line);
        }
    }
}
