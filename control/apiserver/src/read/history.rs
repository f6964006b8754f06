//! Lists as of a revision that has passed, read from the store.

use std::sync::Arc;

use skep_raft::StoreError;
use skep_store::{Range, Revision};

use super::{Page, after};
use crate::object::{self, Cached};
use crate::selection::Selection;
use crate::served::Served;
use crate::write::Writer;

/// Pairs read at once where selectors leave out some.
const READ_LEN: usize = 500;

/// Reads up to `limit` objects (0 is all) from `start` on, which is below the resource's prefix.
pub(super) async fn page(
    writer: &Writer,
    served: &Served,
    selection: &Selection,
    start: &str,
    revision: Revision,
    limit: usize,
) -> Result<Page, StoreError> {
    let prefix = object::prefix(served);
    let end = Some(upper_bound(&format!("{prefix}{}", selection.prefix)).into());
    let mut next = format!("{prefix}{}", start.max(selection.prefix.as_str()));
    let mut page = Page { revision, items: Vec::new(), next: None, remaining: None };
    let mut seen = 0;
    loop {
        let limit_read = if limit > 0 && selection.is_everything() { limit } else { READ_LEN };
        let range = Range { start: next.into(), end: end.clone(), revision, limit: limit_read, ..Range::default() };
        let found = writer.store.range(range).await?;
        let mut last = String::new();
        for kv in &found.kvs {
            seen += 1;
            let Some(key) = std::str::from_utf8(&kv.key).ok().and_then(|k| k.strip_prefix(&prefix)) else { continue };
            last = key.to_owned();
            let Some(item) = Cached::from_stored(served, last.clone(), kv.mod_revision, &kv.value) else { continue };
            if !selection.matches(&item) {
                continue;
            }
            page.items.push(Arc::new(item));
            if page.items.len() == limit {
                break;
            }
        }
        let cut = limit > 0 && page.items.len() == limit;
        if cut && (found.more || last.as_str() < below(&found.kvs, &prefix)) {
            page.next = Some(after(&last));
            page.remaining = selection.is_everything().then(|| found.count.saturating_sub(seen)).filter(|n| *n > 0);
            return Ok(page);
        }
        if cut || !found.more || last.is_empty() {
            return Ok(page);
        }
        next = format!("{prefix}{}", after(&last));
    }
}

/// The last key of what was read, below the prefix.
fn below<'a>(kvs: &'a [skep_store::KeyValue], prefix: &str) -> &'a str {
    let key = kvs.last().and_then(|kv| std::str::from_utf8(&kv.key).ok());
    key.and_then(|k| k.strip_prefix(prefix)).unwrap_or_default()
}

/// The first key after all that begin with a prefix; prefixes are ASCII up to the names, and those are UTF-8.
fn upper_bound(prefix: &str) -> Vec<u8> {
    let mut bytes = prefix.as_bytes().to_vec();
    while let Some(last) = bytes.last_mut() {
        if *last < 0xff {
            *last += 1;
            break;
        }
        bytes.pop();
    }
    bytes
}
