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

/// How much one JSON patch may copy. Each copy could double the object.
const COPIED_BYTES_MAX: usize = input::BODY_BYTES_MAX;

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
                let mut copied = 0;
                for operation in &patch.0 {
                    copied += copied_bytes(&value, operation);
                    if copied > COPIED_BYTES_MAX {
                        return Err(ApiError::unprocessable_patch());
                    }
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

/// How much an operation adds by copying.
fn copied_bytes(value: &Value, operation: &PatchOperation) -> usize {
    let PatchOperation::Copy(copy) = operation else { return 0 };
    let from = value.pointer(copy.from.as_str());
    from.and_then(|from| serde_json::to_vec(from).ok()).map_or(0, |bytes| bytes.len())
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn json_patch(value: Value) -> Patch {
        Patch::Json(serde_json::from_value(value).unwrap())
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), "[a-c]{0,2}".prop_map(Value::from)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let fields = proptest::collection::vec(("[a-c]", inner.clone()), 0..4);
            prop_oneof![
                proptest::collection::vec(inner, 0..4).prop_map(Value::from),
                fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn copies_do_not_grow_without_a_bound() {
        let double = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        let patch = json_patch(Value::Array(vec![double; 64]));
        let error = patch.apply(json!({"a": ["x"]}), None).unwrap_err();
        assert_eq!(error.code(), StatusCode::UNPROCESSABLE_ENTITY);
        let twice =
            json_patch(json!([{"op": "copy", "from": "/b", "path": "/a"}, {"op": "test", "path": "/a", "value": 1}]));
        assert_eq!(twice.apply(json!({"b": 1}), None).unwrap(), json!({"b": 1, "a": 1}));
    }

    proptest! {
        #[test]
        fn any_json_patch_gives_an_answer(
            value in any_value(),
            operations in proptest::collection::vec(
                (prop_oneof![Just("add"), Just("remove"), Just("replace"), Just("move"), Just("copy"), Just("test")],
                    "(/([a-c]|[0-3-])){0,3}", "(/([a-c]|[0-3])){0,3}", any_value()), 0..6),
        ) {
            let operations = operations.into_iter().map(|(operation, path, from, value)| {
                json!({"op": operation, "path": path, "from": from, "value": value})
            });
            let _ = json_patch(operations.collect()).apply(value, None);
        }

        #[test]
        fn a_merge_patch_twice_is_once(value in any_value(), patch in any_value()) {
            let patch = Patch::Merge(patch);
            let once = patch.apply(value, None).unwrap();
            prop_assert_eq!(patch.apply(once.clone(), None).unwrap(), once);
        }
    }
}
