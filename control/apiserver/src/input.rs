//! Request bodies: read with a bound, parsed, decoded, checked for what the type does not have.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use serde_json::Value;
use skep_registry::{DecodeError, Object, Resource};

use crate::negotiate::{self, Input};
use crate::object;
use crate::query::FieldValidation;
use crate::response::{Body, BoxError};
use crate::status::ApiError;

mod tree;

/// The largest body that is read.
pub(crate) const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// How much of what is wrong with the fields is told to the client.
const FIELD_FAULTS_MAX: usize = 20;

/// A parsed body and the paths of fields that it has twice.
pub(crate) struct Parsed {
    pub value: Value,
    pub duplicates: Vec<String>,
}

pub(crate) async fn read(body: Body) -> Result<Bytes, ApiError> {
    match collect(body).await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(BODY_BYTES_MAX)),
        Err(error) => Err(ApiError::bad_request(format!("the body could not be read: {error}"))),
    }
}

/// Boxed: rustc cannot prove the future of a bounded body `Send` from within another future.
fn collect(body: Body) -> Pin<Box<dyn Future<Output = Result<Collected<Bytes>, BoxError>> + Send>> {
    Box::pin(Limited::new(body, BODY_BYTES_MAX).collect())
}

pub(crate) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Parsed, ApiError> {
    let parsed = match negotiate::input(headers)? {
        Input::Json => tree::from_json(body),
        Input::Yaml => tree::from_yaml(body),
        Input::Protobuf => {
            let value = skep_wire::decode(body).map_err(|error| ApiError::bad_request(error.to_string()))?;
            return Ok(Parsed { value, duplicates: Vec::new() });
        }
    };
    let (value, duplicates) =
        parsed.map_err(|why| ApiError::bad_request(format!("couldn't get version/kind; json parse error: {why}")))?;
    Ok(Parsed { value, duplicates })
}

/// Parses an applied configuration: YAML, which JSON is.
pub(crate) fn parse_configuration(body: &[u8]) -> Result<Parsed, ApiError> {
    let parsed = tree::from_json(body).or_else(|_| tree::from_yaml(body));
    let (value, duplicates) = parsed.map_err(|why| ApiError::bad_request(format!("error decoding YAML: {why}")))?;
    if !value.is_object() && !value.is_null() {
        let found = go_name(&value);
        return Err(ApiError::bad_request(format!(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go \
             value of type map[string]interface {{}}"
        )));
    }
    Ok(Parsed { value, duplicates })
}

/// Decodes an object of a resource from a body. Returns warnings besides, if those were asked for.
pub(crate) fn decode(
    resource: &Resource,
    parsed: Parsed,
    validation: FieldValidation,
) -> Result<(Box<dyn Object>, Vec<String>), ApiError> {
    let Parsed { mut value, duplicates } = parsed;
    let kind = claim_type(resource, &mut value)?;
    let cannot = |why: String| {
        let (version, wanted) = (&resource.version, &resource.kind);
        ApiError::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {wanted}: {why}"))
    };
    if kind != resource.kind {
        return Err(cannot(format!("the kind is not {}", resource.kind)));
    }
    let decoded = resource.strategy.decode(value).map_err(|error| cannot(wrong_type(&resource.kind, &error)))?;
    let mut faults: Vec<String> = decoded.unknown_fields.iter().map(|f| format!("unknown field \"{f}\"")).collect();
    faults.extend(duplicates.iter().map(|f| format!("duplicate field \"{f}\"")));
    faults.truncate(FIELD_FAULTS_MAX);
    match validation {
        FieldValidation::Strict if !faults.is_empty() => {
            Err(cannot(format!("strict decoding error: {}", faults.join(", "))))
        }
        FieldValidation::Warn => Ok((decoded.object, faults)),
        FieldValidation::Strict | FieldValidation::Ignore => Ok((decoded.object, Vec::new())),
    }
}

/// Fills in `apiVersion` and `kind` where the body leaves them out, and refuses another version. Returns the kind.
fn claim_type(resource: &Resource, value: &mut Value) -> Result<String, ApiError> {
    let expected = object::api_version(resource);
    let Some(fields) = value.as_object_mut() else {
        return Err(ApiError::bad_request(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type struct",
            go_name(value)
        )));
    };
    let mut text = |key: &str, default: &str| match fields.get(key) {
        None | Some(Value::Null) => {
            fields.insert(key.to_owned(), default.into());
            Ok(default.to_owned())
        }
        Some(Value::String(text)) if text.is_empty() => {
            fields.insert(key.to_owned(), default.into());
            Ok(default.to_owned())
        }
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(ApiError::bad_request(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go struct field .{key} of \
             type string",
            go_name(other)
        ))),
    };
    let version = text("apiVersion", &expected)?;
    let kind = text("kind", &resource.kind)?;
    if version != expected {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        )));
    }
    Ok(kind)
}

fn go_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A decoding error in the words of Go's decoder, which is what people and tools look for.
pub(crate) fn wrong_type(kind: &str, error: &DecodeError) -> String {
    let place = if error.path.is_empty() { kind.to_owned() } else { format!("{kind}.{}", error.path) };
    let Some((found, expected)) =
        error.message.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected "))
    else {
        return format!("{place}: {}", error.message);
    };
    let found = match found.split([' ', '`']).next().unwrap_or_default() {
        "integer" | "floating" => "number",
        "boolean" => "bool",
        "map" => "object",
        "sequence" => "array",
        other => other,
    };
    let expected = match expected.trim() {
        "i32" => "int32",
        "i64" => "int64",
        "u16" => "uint16",
        "f64" => "float64",
        "a string" => "string",
        "a boolean" => "bool",
        "a map" => "map[string]string",
        "a sequence" => "slice",
        other => other.strip_prefix("struct ").unwrap_or(other),
    };
    format!("json: cannot unmarshal {found} into Go struct field {place} of type {expected}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn type_errors_read_as_those_of_go() {
        let error = |message: &str| DecodeError { path: "spec.replicas".to_owned(), message: message.to_owned() };
        assert_eq!(
            wrong_type("Deployment", &error("invalid type: string \"3\", expected i32")),
            "json: cannot unmarshal string into Go struct field Deployment.spec.replicas of type int32"
        );
        assert_eq!(
            wrong_type("Deployment", &error("invalid type: floating point `1.5`, expected i32")),
            "json: cannot unmarshal number into Go struct field Deployment.spec.replicas of type int32"
        );
        assert_eq!(wrong_type("Deployment", &error("too odd")), "Deployment.spec.replicas: too odd");
    }
}
