//! One request, taken apart.

use std::sync::Arc;

use http::{HeaderMap, Method};
use tokio_util::sync::CancellationToken;

use crate::authn::Identity;
use crate::negotiate::Output;
use crate::query::Query;
use crate::response::Body;

/// What every handler gets.
pub(crate) struct Call {
    pub method: Method,
    pub path: String,
    pub query: Query,
    pub headers: HeaderMap,
    pub body: Body,
    pub output: Output,
    pub identity: Arc<Identity>,
    /// Ends streams when the server or its listener stops.
    pub stop: CancellationToken,
}
