//! Answers that are not objects: upstream's `Status`, its reasons and its wording.

use http::{StatusCode, header};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, Status, StatusCause, StatusDetails};
use skep_registry::{FieldError, FieldErrorKind, Resource};

use crate::response::{self, Body};

/// A request that failed, as the client is told.
#[derive(Clone, Debug)]
pub(crate) struct ApiError(Box<Status>);

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.message.as_deref().unwrap_or_default())
    }
}

/// `deployments.apps`, or `pods` for the core group.
pub(crate) fn qualified(resource: &Resource) -> String {
    dotted(&resource.plural, &resource.group)
}

fn dotted(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

fn cause(reason: &str, message: impl Into<String>, field: Option<String>) -> StatusCause {
    StatusCause { field, message: Some(message.into()), reason: Some(reason.to_owned()) }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl ApiError {
    pub(crate) fn new(code: StatusCode, reason: &str, message: impl Into<String>) -> Self {
        Self(Box::new(Status {
            code: Some(code.as_u16().into()),
            details: None,
            message: Some(message.into()),
            metadata: ListMeta::default(),
            reason: some(reason),
            status: Some("Failure".to_owned()),
        }))
    }

    fn details(mut self, kind: &str, group: &str, name: &str) -> Self {
        let details = self.0.details.get_or_insert_default();
        details.kind = some(kind);
        details.group = some(group);
        details.name = some(name);
        self
    }

    fn causes(mut self, causes: Vec<StatusCause>) -> Self {
        self.0.details.get_or_insert_default().causes = Some(causes);
        self
    }

    fn retry_after(mut self, seconds: i32) -> Self {
        self.0.details.get_or_insert_default().retry_after_seconds = Some(seconds);
        self
    }

    pub(crate) fn with_continue(mut self, token: String) -> Self {
        self.0.metadata.continue_ = Some(token);
        self
    }

    pub(crate) fn code(&self) -> StatusCode {
        self.0
            .code
            .and_then(|c| u16::try_from(c).ok())
            .and_then(|c| StatusCode::from_u16(c).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn is(&self, reason: &str) -> bool {
        self.0.reason.as_deref() == Some(reason)
    }

    pub(crate) fn status(&self) -> &Status {
        &self.0
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// `why` follows `… is forbidden: `.
    pub(crate) fn forbidden(plural: &str, group: &str, name: &str, why: &str) -> Self {
        let subject = dotted(plural, group);
        let message = if name.is_empty() {
            format!("{subject} is forbidden: {why}")
        } else {
            format!("{subject} \"{name}\" is forbidden: {why}")
        };
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).details(plural, group, name)
    }

    pub(crate) fn forbidden_path(why: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", format!("forbidden: {why}")).details("", "", "")
    }

    pub(crate) fn namespace_terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        Self::forbidden(&resource.plural, &resource.group, name, &why).causes(vec![cause(
            "NamespaceTerminating",
            format!("namespace {namespace} is being terminated"),
            Some("metadata.namespace".to_owned()),
        )])
    }

    pub(crate) fn not_found(plural: &str, group: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", dotted(plural, group));
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).details(plural, group, name)
    }

    pub(crate) fn object_not_found(resource: &Resource, name: &str) -> Self {
        Self::not_found(&resource.plural, &resource.group, name)
    }

    pub(crate) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource")
            .details("", "", "")
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message).details("", "", "")
    }

    pub(crate) fn not_acceptable(accepted: &str) -> Self {
        let message = format!("only the following media types are accepted: {accepted}");
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified(resource));
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).details(&resource.plural, &resource.group, name)
    }

    /// An applied configuration sets what others own: a cause's message and its field for each.
    pub(crate) fn apply_conflict(message: String, conflicts: impl Iterator<Item = (String, String)>) -> Self {
        let causes = conflicts.map(|(message, field)| cause("FieldManagerConflict", message, Some(field))).collect();
        Self::new(StatusCode::CONFLICT, "Conflict", message).causes(causes)
    }

    /// `why` follows `Operation cannot be fulfilled on …: `.
    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", qualified(resource));
        Self::new(StatusCode::CONFLICT, "Conflict", message).details(&resource.plural, &resource.group, name)
    }

    /// The same, of an object by its names.
    pub(crate) fn conflict_of(plural: &str, group: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", dotted(plural, group));
        Self::new(StatusCode::CONFLICT, "Conflict", message).details(plural, group, name)
    }

    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    pub(crate) fn unsupported_media_type(accepted: &str) -> Self {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// A 422 with one cause per fault.
    pub(crate) fn invalid(kind: &str, group: &str, name: &str, errors: &[FieldError]) -> Self {
        let mut faults: Vec<String> = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        faults.dedup();
        let list = match faults.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes = errors.iter().map(|e| cause(reason(e.kind), e.message.clone(), some(&e.field))).collect();
        let message = format!("{} \"{name}\" is invalid: {list}", dotted(kind, group));
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).details(kind, group, name).causes(causes)
    }

    /// A patch that cannot be applied to the object as it is.
    pub(crate) fn unprocessable_patch() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    pub(crate) fn too_many_requests() -> Self {
        let message = "Too many requests, please try again later.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message).retry_after(1)
    }

    /// A pod that may not be evicted now; `seconds` is how long to wait, where that is known.
    pub(crate) fn disruption(why: String, seconds: Option<i32>) -> Self {
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        let refused = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message).causes(vec![cause(
            "DisruptionBudget",
            why,
            None,
        )]);
        match seconds {
            Some(seconds) => refused.retry_after(seconds),
            None => refused,
        }
    }

    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        let message = format!("Internal error occurred: {error}");
        let causes = vec![StatusCause { message: Some(error.to_string()), ..StatusCause::default() }];
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message).causes(causes)
    }

    /// A failure that upstream has no reason for.
    pub(crate) fn unnamed(message: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message).retry_after(1)
    }

    pub(crate) fn timeout(message: &str) -> Self {
        let message = format!("Timeout: {message}");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message).details("", "", "")
    }

    pub(crate) fn version_too_large(asked: u64, current: u64) -> Self {
        Self::timeout(&format!("Too large resource version: {asked}, current: {current}"))
            .causes(vec![cause("ResourceVersionTooLarge", "Too large resource version", None)])
            .retry_after(1)
    }

    pub(crate) fn into_response(self) -> http::Response<Body> {
        let mut response = response::json(self.code(), &*self.0);
        if let Some(seconds) = self.0.details.as_ref().and_then(|d| d.retry_after_seconds) {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// What a removal is answered with.
pub(crate) fn success(resource: &Resource, name: &str, uid: Option<String>) -> Status {
    Status {
        details: Some(StatusDetails {
            group: some(&resource.group),
            kind: some(&resource.plural),
            name: some(name),
            uid,
            ..StatusDetails::default()
        }),
        status: Some("Success".to_owned()),
        ..Status::default()
    }
}

fn reason(kind: FieldErrorKind) -> &'static str {
    match kind {
        FieldErrorKind::Required => "FieldValueRequired",
        FieldErrorKind::Invalid => "FieldValueInvalid",
        FieldErrorKind::TypeInvalid => "FieldValueTypeInvalid",
        FieldErrorKind::Duplicate => "FieldValueDuplicate",
        FieldErrorKind::NotFound => "FieldValueNotFound",
        FieldErrorKind::NotSupported => "FieldValueNotSupported",
        FieldErrorKind::Forbidden => "FieldValueForbidden",
        FieldErrorKind::TooLong => "FieldValueTooLong",
        FieldErrorKind::TooMany => "FieldValueTooMany",
        FieldErrorKind::Internal => "InternalError",
    }
}
