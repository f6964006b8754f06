//! One request, taken apart.

use std::sync::Arc;

use http::{HeaderMap, Method, header};
use hyper::upgrade::OnUpgrade;
use tokio_util::sync::CancellationToken;

use crate::authn::Identity;
use crate::negotiate::Output;
use crate::path::Verb;
use crate::query::{self, Query};
use crate::resource;
use crate::response::Body;
use crate::status::ApiError;
use crate::warning::Warnings;
use crate::write::{Asked, Owner};

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
    /// Why the caller may not create what it applies a configuration to, if it may not.
    pub create_refusal: Option<ApiError>,
    /// Ends streams when the server or its listener stops.
    pub stop: CancellationToken,
}

impl Call {
    /// Who writes, as managed fields name it: what the client calls itself, or what its program is called.
    fn manager(&self) -> String {
        if let Some(name) = self.query.get("fieldManager") {
            return name.to_owned();
        }
        let agent = self.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let name = agent.split('/').next().unwrap_or_default();
        name.chars().filter(|c| !c.is_control()).take(query::FIELD_MANAGER_LEN_MAX).collect()
    }

    /// Refuses a write by a manager whose name cannot be one.
    pub(crate) fn check_manager(&self, verb: Verb) -> Result<(), ApiError> {
        let options = match verb {
            Verb::Create => "CreateOptions",
            Verb::Update => "UpdateOptions",
            Verb::Patch => "PatchOptions",
            _ => return Ok(()),
        };
        let faults = self.query.manager_faults(verb == Verb::Patch, resource::is_apply(&self.headers));
        if faults.is_empty() { Ok(()) } else { Err(ApiError::invalid(options, "meta.k8s.io", "", &faults)) }
    }

    /// A write on behalf of the caller; `subresource` is empty for the object itself.
    pub(crate) fn asks(&self, subresource: &'static str, dry_run: bool) -> Asked {
        let owner = Owner::Manager(self.manager());
        Asked { who: Arc::clone(&self.identity), subresource, dry_run, owner, warnings: self.warnings.clone() }
    }
}
