//! `serviceaccounts/NAME/token`: a token for a service account, bound to an object if the request says so.

use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;
use skep_registry::{FieldError, FieldErrorKind};

use super::Context;
use crate::authn::{Identity, Named, Private};
use crate::call::Call;
use crate::form;
use crate::input;
use crate::response::Body;
use crate::status::ApiError;
use crate::write::Target;

const EXPIRATION_S: i64 = 3_600;
const EXPIRATION_S_MIN: i64 = 600;
const EXPIRATION_S_MAX: i64 = 1 << 32;
/// What the projected volumes ask for that every pod has. Their tokens stay good for a year, for clients that do not read
/// the file again; the agent renews them long before.
const PROJECTED_S: i64 = 3_607;
const EXTENDED: SignedDuration = SignedDuration::from_hours(365 * 24);

/// An object that a token may be bound to.
#[derive(Deserialize)]
struct Bare {
    metadata: ObjectMeta,
}

pub(super) async fn create(context: &Context<'_>, target: &Target, call: Call) -> Result<Response<Body>, ApiError> {
    call.query.dry_run()?;
    let parsed = input::parse(&call.headers, &input::read(call.body).await?)?;
    let mut request: TokenRequest = serde_json::from_value(parsed.value).map_err(|error| {
        ApiError::bad_request(format!("TokenRequest in version \"v1\" cannot be handled as a TokenRequest: {error}"))
    })?;
    let account = context.writer.current(target).await?;
    let account: Bare = serde_json::from_slice(&account.bytes).map_err(|error| ApiError::internal(&error))?;
    check_identity(&request, target)?;
    let audiences = context.tokens.accounts.audiences();
    let spec = request.spec.get_or_insert_default();
    let asked = spec.expiration_seconds.unwrap_or(EXPIRATION_S);
    check_expiration(asked)?;
    spec.expiration_seconds = Some(asked);
    if spec.audiences.iter().flatten().next().is_none() {
        spec.audiences = Some(audiences.to_vec());
    }
    let bound = spec.bound_object_ref.clone();
    let namespace = target.namespace.clone().unwrap_or_default();
    let mut private = Private {
        serviceaccount: Named { name: target.name.clone(), uid: account.metadata.uid.unwrap_or_default() },
        namespace,
        node: None,
        pod: None,
        secret: None,
        warnafter: None,
    };
    if let Some(bound) = &bound {
        bind(context, target, bound, &mut private)?;
    }
    check_node(context, &call.identity, target, bound.as_ref())?;

    let now = Timestamp::now();
    let mut lifetime = SignedDuration::from_secs(asked);
    let of_server = spec.audiences.as_deref() == Some(audiences);
    if asked == PROJECTED_S && private.pod.is_some() && of_server {
        private.warnafter = Some(now.as_second().saturating_add(asked));
        lifetime = EXTENDED;
    }
    let late = |_| ApiError::bad_request("the token would end after the end of time");
    let expires = now.checked_add(lifetime).map_err(late)?;
    let shown = now.checked_add(SignedDuration::from_secs(asked)).map_err(late)?;
    let shown = Timestamp::from_second(shown.as_second()).map_err(late)?;
    let audiences = spec.audiences.clone().unwrap_or_default();
    let token = context.tokens.accounts.issue(private, &audiences, now, expires);
    let token = token.map_err(|error| ApiError::internal(&error))?;
    request.metadata.name = Some(target.name.clone());
    request.metadata.namespace.clone_from(&target.namespace);
    request.status = Some(TokenRequestStatus { expiration_timestamp: Some(Time(shown)), token: Some(token) });
    let value = serde_json::to_value(&request).map_err(|error| ApiError::internal(&error))?;
    Ok(form::render(StatusCode::CREATED, &value, call.output))
}

fn check_identity(request: &TokenRequest, target: &Target) -> Result<(), ApiError> {
    let given =
        |value: &Option<String>, wanted: &str| value.as_deref().is_none_or(|value| value.is_empty() || value == wanted);
    if !given(&request.metadata.name, &target.name) {
        return Err(ApiError::bad_request("name in URL does not match name in TokenRequest object"));
    }
    if !given(&request.metadata.namespace, target.namespace.as_deref().unwrap_or_default()) {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

fn check_expiration(asked: i64) -> Result<(), ApiError> {
    let why = match asked {
        ..EXPIRATION_S_MIN => "may not specify a duration less than 10 minutes",
        EXPIRATION_S_MIN..=EXPIRATION_S_MAX => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let error = FieldError {
        kind: FieldErrorKind::Invalid,
        field: "spec.expirationSeconds".to_owned(),
        message: format!("Invalid value: {asked}: {why}"),
    };
    Err(ApiError::invalid("TokenRequest", "authentication.k8s.io", "", &[error]))
}

/// Takes the object into the token that it is to be bound to, after a look whether it is there.
fn bind(
    context: &Context<'_>,
    target: &Target,
    bound: &BoundObjectReference,
    private: &mut Private,
) -> Result<(), ApiError> {
    let kind = bound.kind.as_deref().unwrap_or_default();
    let version = bound.api_version.as_deref().unwrap_or_default();
    let plural = match (version, kind) {
        ("v1", "Pod") => "pods",
        ("v1", "Secret") => "secrets",
        ("v1", "Node") => "nodes",
        _ => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let text = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(ApiError::bad_request(text));
        }
    };
    let name = bound.name.clone().unwrap_or_default();
    let namespace = if plural == "nodes" { "" } else { &private.namespace };
    let found = context.tokens.accounts.object(&context.writer.cache, plural, namespace, &name);
    let found = found.ok_or_else(|| ApiError::not_found(plural, "", &name))?;
    let object: Bare = serde_json::from_slice(&found.bytes).map_err(|error| ApiError::internal(&error))?;
    let uid = object.metadata.uid.unwrap_or_default();
    let asked = bound.uid.as_deref().unwrap_or_default();
    if !asked.is_empty() && asked != uid {
        let why = format!(
            "the UID in the bound object reference ({asked}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        );
        return Err(ApiError::conflict_of(plural, "", &name, &why));
    }
    let named = Named { name, uid };
    match plural {
        "secrets" => private.secret = Some(named),
        "nodes" => private.node = Some(named),
        _ => {
            let pod: Pod = serde_json::from_slice(&found.bytes).map_err(|error| ApiError::internal(&error))?;
            let spec = pod.spec.unwrap_or_default();
            let account = spec.service_account_name.filter(|name| !name.is_empty());
            // A pod from before there was a default runs as that.
            if account.as_deref().unwrap_or("default") != target.name {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    target.name
                )));
            }
            private.pod = Some(named);
            private.node = spec.node_name.filter(|name| !name.is_empty()).map(|name| {
                let found = context.tokens.accounts.object(&context.writer.cache, "nodes", "", &name);
                let node = found.and_then(|found| serde_json::from_slice::<Bare>(&found.bytes).ok());
                Named { name, uid: node.and_then(|node| node.metadata.uid).unwrap_or_default() }
            });
        }
    }
    Ok(())
}

/// A node asks for tokens of its own pods alone.
fn check_node(
    context: &Context<'_>,
    who: &Identity,
    target: &Target,
    bound: Option<&BoundObjectReference>,
) -> Result<(), ApiError> {
    let Some(node) = who.node() else { return Ok(()) };
    let refuse = |why: &str| Err(ApiError::forbidden("serviceaccounts", "", &target.name, why));
    let Some(bound) = bound.filter(|bound| bound.kind.as_deref() == Some("Pod")) else {
        return refuse("node requested token not bound to a pod");
    };
    if bound.uid.as_deref().unwrap_or_default().is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let name = bound.name.as_deref().unwrap_or_default();
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let pod = context.tokens.accounts.object(&context.writer.cache, "pods", namespace, name);
    let pod = pod.and_then(|found| serde_json::from_slice::<Pod>(&found.bytes).ok());
    if pod.and_then(|pod| pod.spec?.node_name).as_deref() != Some(node) {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    Ok(())
}
