//! What a client is told besides the answer, in `Warning` headers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderValue, Response, header};

use crate::response::Body;

/// Bytes of all warnings of one answer; upstream cuts off what is beyond.
const BYTES_MAX: usize = 4 * 1024;

/// The warnings of one request. Clones share them, and each text is told once, however often a write is tried again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    pub(crate) fn add(&self, text: impl Into<String>) {
        let (text, mut texts) = (text.into(), self.texts());
        if !text.is_empty() && !texts.contains(&text) {
            texts.push(text);
        }
    }

    pub(crate) fn extend(&self, texts: impl IntoIterator<Item = String>) {
        texts.into_iter().for_each(|text| self.add(text));
    }

    /// Adds one header for each text; texts that no header can carry are left out.
    pub(crate) fn write(&self, response: &mut Response<Body>) {
        let mut room = BYTES_MAX;
        for text in self.texts().iter() {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            let Some(rest) = room.checked_sub(quoted.len()) else { return };
            room = rest;
            if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
                response.headers_mut().append(header::WARNING, value);
            }
        }
    }

    fn texts(&self) -> MutexGuard<'_, Vec<String>> {
        // A list of texts is whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::response::full;

    #[test]
    fn each_text_is_told_once_and_quoted() {
        let warnings = Warnings::default();
        warnings.extend(["unknown field \"a\"".to_owned(), "unknown field \"a\"".to_owned(), String::new()]);
        warnings.add("two\nlines");
        warnings.add("x".repeat(BYTES_MAX));
        let mut response = Response::new(full(""));
        warnings.write(&mut response);
        let told: Vec<_> = response.headers().get_all(header::WARNING).iter().collect();
        assert_eq!(told, ["299 - \"unknown field \\\"a\\\"\""]);
    }
}
