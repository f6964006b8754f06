//! JSON to typed objects, with the path of whatever does not fit.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::strategy::DecodeError;

/// Decodes, and lists the paths of fields that the type does not have.
///
/// # Errors
/// A value of the wrong type, with its path.
pub fn decode<T: DeserializeOwned>(value: Value) -> Result<(T, Vec<String>), DecodeError> {
    let mut unknown_fields = Vec::new();
    // Behind a pointer, so that all kinds share one deserializer type, and the types that they have in common are
    // compiled once.
    let mut note: Box<dyn FnMut(serde_ignored::Path<'_>) + '_> = Box::new(|path| {
        let mut text = String::new();
        write_path(&path, &mut text);
        unknown_fields.push(text);
    });
    let mut track = serde_path_to_error::Track::new();
    let inner = serde_ignored::Deserializer::new(value, &mut note);
    let outer = serde_path_to_error::Deserializer::new(inner, &mut track);
    let decoded = T::deserialize(outer);
    let path = track.path().to_string();
    drop(note);
    match decoded {
        Ok(object) => Ok((object, unknown_fields)),
        Err(error) => {
            Err(DecodeError { path: if path == "." { String::new() } else { path }, message: error.to_string() })
        }
    }
}

fn write_path(path: &serde_ignored::Path<'_>, out: &mut String) {
    use serde_ignored::Path;
    match path {
        Path::Root => {}
        Path::Seq { parent, index } => {
            write_path(parent, out);
            // Writing to a string cannot fail.
            let _ = write!(out, "[{index}]");
        }
        Path::Map { parent, key } => {
            write_path(parent, out);
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(key);
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            write_path(parent, out);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_are_listed_in_upstreams_form() {
        let value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "lables": {}},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "c", "imagee": "x"}]}}}});
        let (_, unknown) = decode::<Deployment>(value).unwrap();
        assert_eq!(unknown, ["metadata.lables", "spec.template.spec.containers[0].imagee"]);
    }

    #[test]
    fn a_wrong_type_has_its_path() {
        let error = decode::<Deployment>(json!({"spec": {"replicas": "3"}})).unwrap_err();
        assert_eq!(error.to_string(), "spec.replicas: invalid type: string \"3\", expected i32");
        let error = decode::<Deployment>(json!([])).unwrap_err();
        assert_eq!(error.path, "");
    }

    #[test]
    fn null_is_as_good_as_absent() {
        let value = json!({"metadata": {"name": "a", "creationTimestamp": null}, "status": null,
            "spec": {"selector": null, "template": {"spec": {"containers": null}}}});
        assert!(decode::<Deployment>(value).is_ok());
    }
}
