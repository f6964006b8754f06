//! DELETE, of one object and of a collection.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use crate::call::Call;
use crate::form::{ListMeta, Shape};
use crate::input;
use crate::query::{self, Query};
use crate::read;
use crate::response::{self, Body};
use crate::selection::Selection;
use crate::status::{self, ApiError};
use crate::write::{self, Asked, DeleteOptions, Deletion, Target, Writer};

pub(super) async fn one(
    writer: &Writer,
    shape: &Shape,
    target: &Target,
    call: Call,
) -> Result<Response<Body>, ApiError> {
    let (options, asked) = options(call).await?;
    match write::delete(writer, &asked, target, &options).await? {
        Deletion::Pending(object) => Ok(shape.one(StatusCode::OK, &object)),
        Deletion::Removed(object) => {
            let uid = object.value().pointer("/metadata/uid").and_then(|uid| uid.as_str()).map(str::to_owned);
            Ok(response::json(StatusCode::OK, &status::success(&target.served, &target.name, uid)))
        }
    }
}

/// Deletes what is selected, one by one, and answers with what it was.
pub(super) async fn collection(
    writer: &Writer,
    shape: &Shape,
    namespace: Option<&str>,
    call: Call,
) -> Result<Response<Body>, ApiError> {
    let list = call.query.list_options()?;
    let selection = Selection::new(&shape.served, namespace, None, &list)?;
    let (options, asked) = options(call).await?;
    let items = read::all(writer, shape, &selection).await?;
    for item in &items {
        let target = Target::of(&shape.served, &item.key);
        match write::delete(writer, &asked, &target, &options).await {
            Ok(_) => {}
            // Somebody else deleted it.
            Err(error) if error.code() == StatusCode::NOT_FOUND => {}
            Err(error) => return Err(error),
        }
    }
    let meta = ListMeta { revision: writer.cache.revision(), ..ListMeta::default() };
    Ok(shape.list(&meta, items))
}

/// From the body, or where there is none from the query.
async fn options(mut call: Call) -> Result<(DeleteOptions, Asked), ApiError> {
    let body = input::read(std::mem::replace(&mut call.body, response::full(""))).await?;
    let options = if body.is_empty() { from_query(&call.query)? } else { from_body(&call.headers, &body)? };
    let dry_run = query::dry_run(options.dry_run.as_deref().unwrap_or_default())? || call.query.dry_run()?;
    Ok((checked(options)?, call.asks("", dry_run)))
}

/// What is asked for, if it can be done.
pub(super) fn checked(options: meta::DeleteOptions) -> Result<DeleteOptions, ApiError> {
    if let Some(seconds) = options.grace_period_seconds.filter(|seconds| *seconds < 0) {
        return Err(invalid(&format!(
            "gracePeriodSeconds: Invalid value: {seconds}: must be greater than or equal to 0"
        )));
    }
    if options.orphan_dependents.is_some() && options.propagation_policy.is_some() {
        return Err(invalid(
            "propagationPolicy: Invalid value: orphanDependents and deletionPropagation cannot be both set",
        ));
    }
    let propagation = match (options.propagation_policy, options.orphan_dependents) {
        (Some(policy), _) if matches!(policy.as_str(), "Orphan" | "Background" | "Foreground") => Some(policy),
        (Some(policy), _) => {
            return Err(invalid(&format!(
                "propagationPolicy: Unsupported value: \"{policy}\": supported values: \"Background\", \"Foreground\", \
                 \"Orphan\""
            )));
        }
        (None, Some(true)) => Some("Orphan".to_owned()),
        (None, Some(false)) => Some("Background".to_owned()),
        (None, None) => None,
    };
    Ok(DeleteOptions {
        grace_period_seconds: options.grace_period_seconds,
        preconditions: options.preconditions.unwrap_or_default(),
        propagation,
    })
}

fn from_query(query: &Query) -> Result<meta::DeleteOptions, ApiError> {
    Ok(meta::DeleteOptions {
        grace_period_seconds: query.integer("gracePeriodSeconds")?,
        propagation_policy: query.get("propagationPolicy").map(str::to_owned),
        orphan_dependents: query.get("orphanDependents").map(|_| query.flag("orphanDependents")),
        ..meta::DeleteOptions::default()
    })
}

fn from_body(headers: &HeaderMap, body: &Bytes) -> Result<meta::DeleteOptions, ApiError> {
    let parsed = input::parse(headers, body)?;
    let kind = parsed.value.get("kind").and_then(|kind| kind.as_str()).unwrap_or("DeleteOptions");
    if kind != "DeleteOptions" {
        return Err(ApiError::bad_request(format!(
            "decoded object cannot be converted to DeleteOptions: it is a {kind}"
        )));
    }
    serde_json::from_value(parsed.value)
        .map_err(|error| ApiError::bad_request(format!("the body is not a DeleteOptions: {error}")))
}

fn invalid(why: &str) -> ApiError {
    let message = format!("DeleteOptions.meta.k8s.io \"\" is invalid: {why}");
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
}
