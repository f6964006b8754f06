//! Watches: changes as they happen, one JSON document a line.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cache::{ChangeKind, Event, EventKind, Subscription};
use crate::form::{self, Shape};
use crate::metrics;
use crate::object::Cached;
use crate::query::ListOptions;
use crate::response::{self, Body, BoxError};
use crate::selection::Selection;
use crate::status::ApiError;
use crate::write::Writer;

/// Time between bookmarks.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// Without a time-out asked for, a watch lasts this long and up to as much again, so that clients do not all come back
/// at once.
const LASTS_SECONDS: u64 = 1_800;

/// Where a watch begins.
enum Begin {
    /// With what is there, and a bookmark after it if `true`.
    Snapshot(bool),
    /// After a revision.
    After(u64),
    /// With what happens next.
    Now,
}

pub(crate) async fn watch(
    writer: &Writer,
    shape: Shape,
    selection: Selection,
    options: ListOptions,
    stop: CancellationToken,
) -> Result<Response<Body>, ApiError> {
    let begin = match (options.send_initial_events, options.resource_version) {
        (Some(true), _) => Begin::Snapshot(true),
        (Some(false), None | Some(0)) => Begin::Now,
        (None, None | Some(0)) => Begin::Snapshot(false),
        (_, Some(version)) => Begin::After(version),
    };
    if matches!(begin, Begin::Snapshot(_)) || options.resource_version.is_none() {
        super::ready(writer, options.resource_version).await?;
    }
    let from = match begin {
        Begin::Snapshot(_) => None,
        Begin::After(version) => Some(version),
        Begin::Now => Some(writer.cache.revision()),
    };
    let content_type = shape.output.content_type();
    let subscription = match writer.cache.subscribe(&shape.served, &selection.prefix, from) {
        Ok(subscription) => subscription,
        Err(floor) => {
            let message = format!("too old resource version: {} ({})", from.unwrap_or(0), floor.0);
            let line = error_line(&ApiError::expired(message));
            return Ok(response::with_type(StatusCode::OK, content_type, response::full(line)));
        }
    };
    let watcher = Watcher {
        counted: metrics::Watch::begin(&shape.served),
        revisions: writer.cache.revisions(),
        mark_end: matches!(begin, Begin::Snapshot(true)),
        from: from.unwrap_or(0),
        sent: 0,
        bookmarks: options.bookmarks,
        lasts: lasts(options.timeout_seconds),
        headings: true,
        shape,
        selection,
    };
    let body = response::streamed(watcher.stream(subscription, stop));
    Ok(response::with_type(StatusCode::OK, content_type, body))
}

fn lasts(asked: Option<u64>) -> Duration {
    let seconds = asked.unwrap_or_else(|| LASTS_SECONDS + rand::random::<u64>() % LASTS_SECONDS);
    // Longer than a day is as good as for ever, and does not overflow the clock.
    Duration::from_secs(seconds.min(86_400))
}

fn error_line(error: &ApiError) -> Bytes {
    form::line("ERROR", &serde_json::to_vec(error.status()).unwrap_or_default())
}

struct Watcher {
    counted: metrics::Watch,
    shape: Shape,
    selection: Selection,
    revisions: tokio::sync::watch::Receiver<u64>,
    /// Changes up to here are known to the client.
    from: u64,
    /// The last revision sent.
    sent: u64,
    bookmarks: bool,
    /// Whether the end of the initial events is marked.
    mark_end: bool,
    lasts: Duration,
    /// Whether a table still needs its headings.
    headings: bool,
}

impl Watcher {
    fn stream(
        mut self,
        mut subscription: Subscription,
        stop: CancellationToken,
    ) -> impl futures::Stream<Item = Result<Bytes, BoxError>> + Send {
        async_stream::stream! {
            let end = Instant::now() + self.lasts;
            for item in std::mem::take(&mut subscription.items) {
                if self.selection.matches(&item) {
                    self.counted.sent();
                    yield Ok(self.line(EventKind::Added, &item));
                }
            }
            if self.mark_end {
                yield Ok(self.shape.bookmark(subscription.revision, true));
            }
            for event in std::mem::take(&mut subscription.missed) {
                if let Some(line) = self.tell(&event) {
                    yield Ok(line);
                }
            }
            let mut next_bookmark = Instant::now() + BOOKMARK_EVERY;
            loop {
                let woken = tokio::select! {
                    event = subscription.events.recv() => Some(event),
                    () = tokio::time::sleep_until(end.min(next_bookmark)) => None,
                    () = stop.cancelled() => break,
                };
                match woken {
                    Some(Some(event)) => {
                        if let Some(line) = self.tell(&event) {
                            yield Ok(line);
                        }
                        continue;
                    }
                    // Too slow, or the cache started over: the client resumes from the last revision it has.
                    Some(None) => break,
                    None => {}
                }
                if self.bookmarks {
                    // Changes up to this revision were queued before it was published.
                    let revision = *self.revisions.borrow();
                    while let Ok(event) = subscription.events.try_recv() {
                        if let Some(line) = self.tell(&event) {
                            yield Ok(line);
                        }
                    }
                    yield Ok(self.shape.bookmark(revision.max(self.sent), false));
                }
                if Instant::now() >= end {
                    break;
                }
                next_bookmark = Instant::now() + BOOKMARK_EVERY;
            }
        }
    }

    fn line(&mut self, kind: EventKind, object: &Cached) -> Bytes {
        let headings = std::mem::replace(&mut self.headings, false);
        self.shape.event(kind.name(), object, headings)
    }

    /// A change as this watcher sees it: an object that begins to match is added, one that ceases to is deleted.
    fn tell(&mut self, event: &Event) -> Option<Bytes> {
        let change = &event.change;
        if change.object.revision <= self.from {
            return None;
        }
        self.sent = change.object.revision;
        let was = change.before.as_ref().is_some_and(|before| self.selection.matches(before));
        let is = change.kind != ChangeKind::Deleted && self.selection.matches(&change.object);
        let kind = match (was, is) {
            (false, true) => EventKind::Added,
            (true, true) => EventKind::Modified,
            (true, false) if change.kind == ChangeKind::Deleted => EventKind::Deleted,
            (true, false) => {
                self.counted.sent();
                let gone = change.before.as_ref()?.at(change.object.revision);
                return Some(self.line(EventKind::Deleted, &gone));
            }
            (false, false) => return None,
        };
        self.counted.sent();
        Some(match self.shape.shared_form() {
            Some(form) => event.line(form, kind, || self.line(kind, &change.object)),
            None => self.line(kind, &change.object),
        })
    }
}
