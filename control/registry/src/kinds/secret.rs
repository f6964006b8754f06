//! Secret.

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use super::config_map::{DATA_BYTES_MAX, SEALED};
use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::names;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

const SERVICE_ACCOUNT: &str = "kubernetes.io/service-account.name";

/// Secrets.
pub(crate) struct Secrets;

impl Kind for Secrets {
    type Object = Secret;

    const SINGULAR: &'static str = "secret";
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("Type", "What the data is for."),
        table::number("Data", "How many entries it has."),
        table::AGE,
    ];
    const FIELDS: &'static [&'static str] = &["metadata.name", "metadata.namespace", "type"];

    fn default(object: &mut Secret) {
        for (key, value) in object.string_data.take().into_iter().flatten() {
            object.data.get_or_insert_default().insert(key, ByteString(value.into_bytes()));
        }
        if kind(object).is_empty() {
            object.type_ = Some("Opaque".to_owned());
        }
    }

    fn prepare_for_update(new: &mut Secret, old: &Secret) {
        // An update without a type keeps it.
        if kind(new).is_empty() {
            new.type_.clone_from(&old.type_);
        }
    }

    fn validate(object: &Secret) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let path = Path::root("data");
        let mut size = 0;
        for (key, value) in object.data.iter().flatten() {
            errors.invalid_each(&path.key(key), key, names::config_map_key(key));
            size += value.0.len();
        }
        if size > DATA_BYTES_MAX {
            errors.too_long(&path, DATA_BYTES_MAX);
        }
        validate_type(&mut errors, &path, object);
        errors.into_vec()
    }

    fn validate_update(new: &Secret, old: &Secret) -> Vec<FieldError> {
        let mut errors = Errors::new();
        if kind(new) != kind(old) {
            errors.invalid(&Path::root("type"), kind(new), "field is immutable");
        }
        if old.immutable == Some(true) {
            if new.immutable != Some(true) {
                errors.forbidden(&Path::root("immutable"), SEALED);
            }
            if new.data.clone().unwrap_or_default() != old.data.clone().unwrap_or_default() {
                errors.forbidden(&Path::root("data"), SEALED);
            }
        }
        errors.extend(Self::validate(new));
        errors.into_vec()
    }

    fn row(object: &Secret, now: Timestamp) -> Vec<Cell> {
        let entries = object.data.iter().flatten().count();
        let meta = &object.metadata;
        vec![table::name(meta), Cell::from(kind(object)), Cell::from(entries), table::age(meta, now)]
    }

    fn fields(object: &Secret) -> Vec<(&'static str, String)> {
        vec![("type", kind(object).to_owned())]
    }
}

fn kind(secret: &Secret) -> &str {
    secret.type_.as_deref().unwrap_or_default()
}

/// Each well-known type has entries that must be there.
fn validate_type(errors: &mut Errors, path: &Path<'_>, secret: &Secret) {
    let entry = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    let mut require = |key: &str| {
        if entry(key).is_none() {
            errors.required(&path.key(key), "");
        }
    };
    match kind(secret) {
        "kubernetes.io/service-account-token" => {
            let account = secret.metadata.annotations.as_ref().and_then(|a| a.get(SERVICE_ACCOUNT));
            if account.is_none_or(String::is_empty) {
                errors.required(&Path::root("metadata.annotations").key(SERVICE_ACCOUNT), "");
            }
        }
        "kubernetes.io/dockercfg" => validate_json(errors, path, secret, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => validate_json(errors, path, secret, ".dockerconfigjson"),
        "kubernetes.io/basic-auth" if entry("username").is_none() && entry("password").is_none() => {
            require("username");
            require("password");
        }
        "kubernetes.io/ssh-auth" if entry("ssh-privatekey").is_none_or(|key| key.0.is_empty()) => {
            errors.required(&path.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            require("tls.crt");
            require("tls.key");
        }
        _ => {}
    }
}

fn validate_json(errors: &mut Errors, path: &Path<'_>, secret: &Secret, key: &str) {
    match secret.data.as_ref().and_then(|data| data.get(key)) {
        None => errors.required(&path.key(key), ""),
        Some(value) => {
            if let Err(error) = serde_json::from_slice::<Value>(&value.0) {
                errors.invalid(&path.key(key), "<secret contents redacted>", &error.to_string());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(value: Value) -> Secret {
        let mut secret = crate::decode::decode(value).unwrap().0;
        Secrets::default(&mut secret);
        secret
    }

    #[test]
    fn string_data_becomes_data() {
        let object = secret(json!({"stringData": {"a": "hi"}, "data": {"a": "AA==", "b": "AA=="}}));
        let value = serde_json::to_value(object).unwrap();
        assert_eq!(value["data"], json!({"a": "aGk=", "b": "AA=="}));
        assert_eq!(value["type"], "Opaque");
        assert_eq!(value.get("stringData"), None);
    }

    #[test]
    fn types_have_their_entries_and_stay() {
        let fields = |value: Value| -> Vec<String> {
            Secrets::validate(&secret(value)).into_iter().map(|error| error.field).collect()
        };
        assert_eq!(fields(json!({"type": "kubernetes.io/tls"})), ["data[tls.crt]", "data[tls.key]"]);
        assert_eq!(fields(json!({"type": "kubernetes.io/basic-auth"})), ["data[username]", "data[password]"]);
        let config = json!({"type": "kubernetes.io/dockercfg", "stringData": {".dockercfg": "{"}});
        assert_eq!(fields(config), ["data[.dockercfg]"]);
        assert!(fields(json!({"type": "mine", "stringData": {"a": "b"}})).is_empty());
        let errors = Secrets::validate_update(&secret(json!({"type": "a"})), &secret(json!({})));
        assert_eq!(errors[0].message, "Invalid value: \"a\": field is immutable");
    }
}
