//! One request, taken apart.

use std::sync::Arc;

use http::{HeaderMap, Method};
use hyper::upgrade::OnUpgrade;
use tokio_util::sync::CancellationToken;

use crate::authn::Identity;
use crate::negotiate::Output;
use crate::query::Query;
use crate::response::Body;
use crate::warning::Warnings;
use crate::write::Asked;

/// What every handler gets.
pub(crate) struct Call {
    pub method: Method,
    pub path: String,
    pub query: Query,
    /// The query as it came.
    pub raw_query: Option<String>,
    pub headers: HeaderMap,
    pub body: Body,
    pub output: Output,
    pub identity: Arc<Identity>,
    pub warnings: Warnings,
    /// What the connection becomes if the answer is 101. Requests of this process and those by HTTP/2 have none.
    pub upgrade: Option<OnUpgrade>,
    /// Ends streams when the server or its listener stops.
    pub stop: CancellationToken,
}

impl Call {
    /// A write on behalf of the caller; `subresource` is empty for the object itself.
    pub(crate) fn asks(&self, subresource: &'static str, dry_run: bool) -> Asked {
        Asked { who: Arc::clone(&self.identity), subresource, dry_run, warnings: self.warnings.clone() }
    }
}
