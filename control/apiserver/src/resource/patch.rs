//! PATCH: JSON patch (RFC 6902), JSON merge patch (RFC 7386), strategic merge patch; server-side apply is handed on.

use http::{HeaderMap, Response, StatusCode};
use json_patch::PatchOperation;
use serde_json::Value;
use skep_schema::ObjectShape;

use super::{Context, apply};
use crate::call::Call;
use crate::form::Shape;
use crate::input::{self, Parsed};
use crate::negotiate;
use crate::object::Cached;
use crate::query::FieldValidation;
use crate::response::Body;
use crate::status::ApiError;
use crate::write::{self, Part, Target};

/// Operations in one JSON patch.
const OPERATIONS_MAX: usize = 10_000;

const TYPES: &str = "application/json-patch+json, application/merge-patch+json, \
                     application/strategic-merge-patch+json, application/apply-patch+yaml";

/// A patch of one of the three sorts.
pub(super) enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Self, ApiError> {
        let media_type = negotiate::media_type(headers);
        if !TYPES.split(", ").any(|known| known == media_type) {
            return Err(ApiError::unsupported_media_type(TYPES));
        }
        let body = input::read(body).await?;
        let bad = |error: serde_json::Error| ApiError::bad_request(format!("error decoding patch: {error}"));
        if media_type == "application/json-patch+json" {
            let patch: json_patch::Patch = serde_json::from_slice(&body).map_err(bad)?;
            if patch.0.len() > OPERATIONS_MAX {
                let message = format!(
                    "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
                    patch.0.len()
                );
                return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message));
            }
            return Ok(Self::Json(patch));
        }
        let value: Value = serde_json::from_slice(&body).map_err(bad)?;
        if !value.is_object() {
            return Err(ApiError::bad_request("error decoding patch: the patch must be a JSON object"));
        }
        Ok(if media_type == "application/merge-patch+json" { Self::Merge(value) } else { Self::Strategic(value) })
    }

    /// The object's shape says how lists merge; without it, strategic merge is not supported.
    pub(super) fn apply(&self, mut value: Value, shape: Option<&ObjectShape>) -> Result<Value, ApiError> {
        match (self, shape) {
            (Self::Json(patch), _) => {
                for operation in &patch.0 {
                    operate(&mut value, operation).map_err(|_| ApiError::unprocessable_patch())?;
                }
                Ok(value)
            }
            (Self::Merge(patch), _) => {
                json_patch::merge(&mut value, patch);
                Ok(value)
            }
            (Self::Strategic(patch), Some(shape)) => skep_registry::strategic_merge(value, patch, shape)
                .map_err(|error| ApiError::bad_request(format!("invalid strategic merge patch: {error}"))),
            (Self::Strategic(_), None) => Err(ApiError::unsupported_media_type(TYPES)),
        }
    }
}

/// One operation. Upstream's tests find null where an object has no such member, and clients go by it: it is how they ask that
/// there be no finalizers yet.
fn operate(value: &mut Value, operation: &PatchOperation) -> Result<(), json_patch::PatchError> {
    if let PatchOperation::Test(test) = operation
        && test.value.is_null()
        && let Some((parent, last)) = test.path.split_back()
        && let Some(Value::Object(parent)) = value.pointer(parent.as_str())
        && !parent.contains_key(last.decoded().as_ref())
    {
        return Ok(());
    }
    json_patch::patch(value, std::slice::from_ref(operation))
}

/// Patches an object or its status.
pub(super) async fn patch(
    context: &Context<'_>,
    shape: &Shape,
    target: &Target,
    part: Part,
    call: Call,
) -> Result<Response<Body>, ApiError> {
    if apply::is_apply(&call.headers) {
        return apply::apply(context, shape, target, part, call).await;
    }
    let dry_run = call.query.dry_run()?;
    let validation = call.query.field_validation()?;
    let asked = call.asks(part.subresource(), dry_run);
    let patch = Patch::read(&call.headers, call.body).await?;
    // What a definition makes has no merge keys.
    let merged = target.served.definition.is_none().then(|| target.served.strategy.shape());
    let mut change = |current: &Cached, _: &dyn skep_registry::Object| {
        let value = patch.apply(current.value(), merged.as_ref())?;
        let parsed = Parsed { value, duplicates: Vec::new() };
        let (object, unknown) = decode(target, parsed, validation)?;
        asked.warnings.extend(unknown);
        Ok(object)
    };
    let updated = write::update(context.writer, &asked, target, part, &mut change).await?;
    Ok(shape.one(StatusCode::OK, &updated))
}

fn decode(
    target: &Target,
    parsed: Parsed,
    validation: FieldValidation,
) -> Result<(Box<dyn skep_registry::Object>, Vec<String>), ApiError> {
    let given = parsed.value.get("kind").and_then(Value::as_str).unwrap_or(&target.served.kind);
    if given != target.served.kind {
        return Err(ApiError::bad_request(format!("the kind of the object ({given}) cannot be changed by a patch")));
    }
    input::decode(&target.served, parsed, validation)
}
