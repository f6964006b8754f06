//! ConfigMap.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::names;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

/// All values of a ConfigMap or Secret together.
pub(super) const DATA_BYTES_MAX: usize = 1024 * 1024;
/// The message for a change of what may not change any more.
pub(super) const SEALED: &str = "field is immutable when `immutable` is set";

/// ConfigMaps.
pub(crate) struct ConfigMaps;

impl Kind for ConfigMaps {
    type Object = ConfigMap;

    const SINGULAR: &'static str = "configmap";
    const SHORT_NAMES: &'static [&'static str] = &["cm"];
    const COLUMNS: &'static [Column] = &[table::NAME, table::number("Data", "How many entries it has."), table::AGE];

    fn validate(object: &ConfigMap) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (data, binary) = (Path::root("data"), Path::root("binaryData"));
        let mut size = 0;
        for (key, value) in object.data.iter().flatten() {
            errors.invalid_each(&data.key(key), key, names::config_map_key(key));
            if object.binary_data.as_ref().is_some_and(|binary| binary.contains_key(key)) {
                errors.invalid(&data.key(key), key.as_str(), "duplicate of key present in binaryData");
            }
            size += value.len();
        }
        for (key, value) in object.binary_data.iter().flatten() {
            errors.invalid_each(&binary.key(key), key, names::config_map_key(key));
            size += value.0.len();
        }
        if size > DATA_BYTES_MAX {
            errors.too_long(&Path::root(""), DATA_BYTES_MAX);
        }
        errors.into_vec()
    }

    fn validate_update(new: &ConfigMap, old: &ConfigMap) -> Vec<FieldError> {
        let mut errors = Errors::new();
        if old.immutable == Some(true) {
            if new.immutable != Some(true) {
                errors.forbidden(&Path::root("immutable"), SEALED);
            }
            if new.data.clone().unwrap_or_default() != old.data.clone().unwrap_or_default() {
                errors.forbidden(&Path::root("data"), SEALED);
            }
            if new.binary_data.clone().unwrap_or_default() != old.binary_data.clone().unwrap_or_default() {
                errors.forbidden(&Path::root("binaryData"), SEALED);
            }
        }
        errors.extend(Self::validate(new));
        errors.into_vec()
    }

    fn row(object: &ConfigMap, now: Timestamp) -> Vec<Cell> {
        let entries = object.data.iter().flatten().count() + object.binary_data.iter().flatten().count();
        vec![table::name(&object.metadata), Cell::from(entries), table::age(&object.metadata, now)]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(value: serde_json::Value) -> ConfigMap {
        crate::decode::decode(value).unwrap().0
    }

    #[test]
    fn keys_size_and_seal_are_checked() {
        let text = |errors: Vec<FieldError>| -> Vec<String> {
            errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
        };
        let bad = config(json!({"data": {"a b": "", "c": ""}, "binaryData": {"c": ""}}));
        let errors = text(ConfigMaps::validate(&bad));
        assert!(errors[0].starts_with("data[a b]: Invalid value: \"a b\": a valid config key must consist of"));
        assert_eq!(errors[1], "data[c]: Invalid value: \"c\": duplicate of key present in binaryData");

        let big = config(json!({"data": {"a": "x".repeat(DATA_BYTES_MAX + 1)}}));
        assert_eq!(text(ConfigMaps::validate(&big)), [": Too long: may not be more than 1048576 bytes"]);

        let sealed = config(json!({"immutable": true, "data": {"a": "1"}}));
        assert!(ConfigMaps::validate_update(&sealed, &sealed).is_empty());
        let errors = text(ConfigMaps::validate_update(&config(json!({"data": {"a": "2"}})), &sealed));
        assert_eq!(errors.len(), 2);
        assert_eq!(errors[0], "immutable: Forbidden: field is immutable when `immutable` is set");
    }
}
