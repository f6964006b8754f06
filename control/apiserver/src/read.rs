//! Reads: gets, lists, watches.

use std::sync::Arc;

use http::{Response, StatusCode};
use skep_raft::StoreError;

use crate::form::{ListMeta, Shape};
use crate::object::Cached;
use crate::query::{ListOptions, VersionMatch};
use crate::response::Body;
use crate::selection::Selection;
use crate::status::ApiError;
use crate::write::{Target, Writer, changed, store_error};

mod history;
mod token;
mod watch;

use token::Token;
pub(crate) use watch::watch;

/// One object; `version` is the oldest that will do.
pub(crate) async fn get(
    writer: &Writer,
    shape: &Shape,
    target: &Target,
    version: Option<u64>,
) -> Result<Response<Body>, ApiError> {
    ready(writer, version).await?;
    let object = writer.cache.get(&target.served, &target.key()).ok_or_else(|| writer.missing(target))?;
    Ok(shape.one(StatusCode::OK, &object))
}

/// Waits until the cache is as new as asked for: as the store without a version, as it is for 0.
async fn ready(writer: &Writer, version: Option<u64>) -> Result<(), ApiError> {
    match version {
        None => writer.catch_up().await,
        Some(version) => {
            writer.cache.wait_for(version).await.map_err(|behind| ApiError::version_too_large(version, behind.0))
        }
    }
}

/// A page of a collection.
struct Page {
    revision: u64,
    items: Vec<Arc<Cached>>,
    /// Where the next page begins.
    next: Option<String>,
    remaining: Option<usize>,
}

pub(crate) async fn list(
    writer: &Writer,
    shape: &Shape,
    selection: &Selection,
    options: &ListOptions,
) -> Result<Response<Body>, ApiError> {
    let page = if !options.continue_token.is_empty() {
        next_page(writer, shape, selection, options).await?
    } else if let Some(revision) = exact(options) {
        let page = history::page(writer, &shape.served, selection, "", revision, options.limit).await;
        page.map_err(|error| match error {
            StoreError::Compacted { .. } => ApiError::expired("The resourceVersion for the provided list is too old."),
            StoreError::FutureRevision { current, .. } => ApiError::version_too_large(revision, current),
            other => store_error(&other),
        })?
    } else {
        ready(writer, options.resource_version).await?;
        cached(writer, shape, selection, options.limit)?
    };
    let continue_token = page.next.map(|start| Token { revision: page.revision, start }.encode());
    let meta = ListMeta { revision: page.revision, continue_token, remaining: page.remaining };
    Ok(shape.list(&meta, page.items))
}

/// The objects of a selection as they are now.
pub(crate) async fn all(writer: &Writer, shape: &Shape, selection: &Selection) -> Result<Vec<Arc<Cached>>, ApiError> {
    writer.catch_up().await?;
    Ok(cached(writer, shape, selection, 0)?.items)
}

/// The revision that must be read and no other.
fn exact(options: &ListOptions) -> Option<u64> {
    let version = options.resource_version.filter(|v| *v > 0)?;
    match options.version_match {
        Some(VersionMatch::Exact) => Some(version),
        // A page by page read has always been exact.
        None if options.limit > 0 => Some(version),
        _ => None,
    }
}

fn cached(writer: &Writer, shape: &Shape, selection: &Selection, limit: usize) -> Result<Page, ApiError> {
    let snapshot = writer.cache.list(&shape.served, &selection.prefix);
    if !snapshot.served {
        return Err(changed(&shape.served));
    }
    let mut items = snapshot.items;
    if !selection.is_everything() {
        items.retain(|item| selection.matches(item));
    }
    let (mut next, mut remaining) = (None, None);
    if limit > 0 && items.len() > limit {
        remaining = selection.is_everything().then_some(items.len() - limit);
        items.truncate(limit);
        next = items.last().map(|last| after(&last.key));
    }
    Ok(Page { revision: snapshot.revision, items, next, remaining })
}

async fn next_page(
    writer: &Writer,
    shape: &Shape,
    selection: &Selection,
    options: &ListOptions,
) -> Result<Page, ApiError> {
    if options.resource_version.is_some_and(|v| v > 0) {
        return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
    }
    let token = Token::decode(&options.continue_token)?;
    let revision = match token.revision {
        // Given out with a 410: go on with what is there now.
        0 => writer.store.read_index().await.map_err(|e| store_error(&e))?,
        revision => revision,
    };
    let page = history::page(writer, &shape.served, selection, &token.start, revision, options.limit).await;
    page.map_err(|error| match error {
        StoreError::Compacted { .. } => {
            let token = Token { revision: 0, start: token.start.clone() }.encode();
            ApiError::expired(token::INCONSISTENT).with_continue(token)
        }
        StoreError::FutureRevision { .. } => ApiError::bad_request("continue key is not valid: unknown revision"),
        other => store_error(&other),
    })
}

/// The smallest key that is greater.
fn after(key: &str) -> String {
    format!("{key}\0")
}
