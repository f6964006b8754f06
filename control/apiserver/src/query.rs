//! Query parameters: list, create, update, patch and delete options as `meta/v1` has them.

use std::collections::HashMap;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use skep_registry::{FieldError, FieldErrorKind};

use crate::duration;
use crate::status::ApiError;

/// The decoded parameters; of one given twice the first counts, as in upstream's conversion, unless it is a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    first: HashMap<String, String>,
    /// Those of [`LISTS`], in their order.
    lists: Vec<(String, String)>,
}

/// Parameters that may be given more than once.
const LISTS: [&str; 3] = ["dryRun", "command", "ports"];

/// How fields are treated that the type does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// `resourceVersionMatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionMatch {
    NotOlderThan,
    Exact,
}

/// What of a collection is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOptions {
    pub label_selector: String,
    pub field_selector: String,
    pub limit: usize,
    pub continue_token: String,
    /// `None` where absent; `Some(0)` is "any".
    pub resource_version: Option<u64>,
    pub version_match: Option<VersionMatch>,
    pub watch: bool,
    pub bookmarks: bool,
    pub send_initial_events: Option<bool>,
    pub timeout_seconds: Option<u64>,
}

/// Bytes in a field manager's name.
pub(crate) const FIELD_MANAGER_LEN_MAX: usize = 128;

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let mut parsed = Self::default();
        for pair in query.unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decode(key), decode(value));
            if LISTS.contains(&key.as_str()) {
                parsed.lists.push((key.clone(), value.clone()));
            }
            parsed.first.entry(key).or_insert(value);
        }
        parsed
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.first.get(key).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// The values of a parameter that is a list.
    pub(crate) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.lists.iter().filter(move |(held, _)| held == key).map(|(_, value)| value.as_str())
    }

    /// The name that a field selector asks for, if it is for one object.
    pub(crate) fn selected_name(&self) -> Option<String> {
        let mut terms = self.get("fieldSelector")?.split(',');
        let name = terms.find_map(|term| term.strip_prefix("metadata.name="))?;
        let name = name.strip_prefix('=').unwrap_or(name);
        (!name.is_empty()).then(|| name.to_owned())
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        self.first.get(key).is_some_and(|v| !matches!(v.as_str(), "" | "0" | "false"))
    }

    /// `?verbose`, which needs no value.
    pub(crate) fn verbose(&self) -> bool {
        self.first.contains_key("verbose")
    }

    pub(crate) fn integer(&self, key: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            ApiError::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax: parameter {key}"))
        })
    }

    /// How long the client waits for the answer; nothing is said by 0.
    pub(crate) fn timeout(&self) -> Result<Option<Duration>, ApiError> {
        let asked =
            self.get("timeout").map(duration::parse).transpose().map_err(|why| {
                ApiError::bad_request(format!("invalid timeout specified in the request URL - {why}"))
            })?;
        Ok(asked.filter(|asked| !asked.is_zero()))
    }

    pub(crate) fn dry_run(&self) -> Result<bool, ApiError> {
        dry_run(&self.all("dryRun").map(str::to_owned).collect::<Vec<_>>())
    }

    pub(crate) fn field_validation(&self) -> Result<FieldValidation, ApiError> {
        match self.get("fieldValidation") {
            None | Some("Warn") => Ok(FieldValidation::Warn),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some(other) => Err(ApiError::bad_request(format!(
                "fieldValidation: Unsupported value: \"{other}\": supported values: \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }

    /// What is wrong with `fieldManager` and `force`; who applies must say who it is.
    pub(crate) fn manager_faults(&self, patch: bool, apply: bool) -> Vec<FieldError> {
        let fault = |kind, field: &str, message: String| FieldError { kind, field: field.to_owned(), message };
        let mut faults = Vec::new();
        if patch && !apply && self.get("force").is_some() {
            let why = "Forbidden: may not be specified for non-apply patch";
            faults.push(fault(FieldErrorKind::Forbidden, "force", why.to_owned()));
        }
        let name = self.get("fieldManager").unwrap_or_default();
        if apply && name.is_empty() {
            let why = "Required value: is required for apply patch";
            faults.push(fault(FieldErrorKind::Required, "fieldManager", why.to_owned()));
        }
        if name.len() > FIELD_MANAGER_LEN_MAX {
            let why = format!("Too long: may not be more than {FIELD_MANAGER_LEN_MAX} bytes");
            faults.push(fault(FieldErrorKind::TooLong, "fieldManager", why));
        }
        for (at, c) in name.char_indices().filter(|(_, c)| c.is_control()) {
            let why = format!("Invalid value: {name:?}: invalid character U+{:04X} (at position {at})", u32::from(c));
            faults.push(fault(FieldErrorKind::Invalid, "fieldManager", why));
        }
        faults
    }

    pub(crate) fn list_options(&self) -> Result<ListOptions, ApiError> {
        let text = |key| self.get(key).unwrap_or_default().to_owned();
        let options = ListOptions {
            label_selector: text("labelSelector"),
            field_selector: text("fieldSelector"),
            limit: self.integer("limit")?.and_then(|l| usize::try_from(l).ok()).unwrap_or(0),
            continue_token: text("continue"),
            resource_version: self.get("resourceVersion").map(resource_version).transpose()?,
            version_match: match self.get("resourceVersionMatch") {
                None => None,
                Some("NotOlderThan") => Some(VersionMatch::NotOlderThan),
                Some("Exact") => Some(VersionMatch::Exact),
                Some(other) => {
                    return Err(invalid_list(&format!(
                        "resourceVersionMatch: Unsupported value: \"{other}\": supported values: \"Exact\", \
                         \"NotOlderThan\""
                    )));
                }
            },
            watch: self.flag("watch"),
            bookmarks: self.flag("allowWatchBookmarks"),
            send_initial_events: self.get("sendInitialEvents").map(|v| !matches!(v, "0" | "false")),
            timeout_seconds: self.integer("timeoutSeconds")?.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0),
        };
        options.check()?;
        Ok(options)
    }
}

impl ListOptions {
    fn check(&self) -> Result<(), ApiError> {
        if self.send_initial_events.is_some() {
            if !self.watch {
                return Err(invalid_list("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"));
            }
            if self.version_match != Some(VersionMatch::NotOlderThan) {
                return Err(invalid_list(
                    "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to \
                     NotOlderThan",
                ));
            }
            return Ok(());
        }
        let Some(matching) = self.version_match else { return Ok(()) };
        let why = if self.watch {
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        } else if !self.continue_token.is_empty() {
            "resourceVersionMatch is forbidden when continue is provided"
        } else if self.resource_version.is_none() {
            "resourceVersionMatch is forbidden unless resourceVersion is provided"
        } else if matching == VersionMatch::Exact && self.resource_version == Some(0) {
            "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\""
        } else {
            return Ok(());
        };
        Err(invalid_list(&format!("resourceVersionMatch: Forbidden: {why}")))
    }
}

/// A resource version as clients send it: a number.
pub(crate) fn resource_version(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| {
        invalid_list(&format!(
            "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
        ))
    })
}

pub(crate) fn dry_run(values: &[String]) -> Result<bool, ApiError> {
    match values.iter().find(|v| !v.is_empty() && *v != "All") {
        Some(other) => {
            Err(ApiError::bad_request(format!("dryRun: Unsupported value: \"{other}\": supported values: \"All\"")))
        }
        None => Ok(values.iter().any(|v| v == "All")),
    }
}

fn invalid_list(why: &str) -> ApiError {
    ApiError::new(
        http::StatusCode::UNPROCESSABLE_ENTITY,
        "Invalid",
        format!("ListOptions.meta.k8s.io \"\" is invalid: {why}"),
    )
}

/// A value as it stands in a query.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_query_gives_an_answer(text in "\\PC{0,60}", value in "[ -~]{0,20}") {
            for query in [Query::parse(Some(&text)), Query::parse(Some(&format!(
                "limit={value}&timeoutSeconds={value}&resourceVersion={value}&timeout={value}&dryRun={value}&continue={value}"
            )))] {
                let _ = (query.list_options().is_ok(), query.timeout().is_ok(), query.dry_run().is_ok());
                let _ = (query.selected_name(), query.field_validation().is_ok(), query.manager_faults(true, true));
            }
        }

        #[test]
        fn what_is_encoded_decodes_to_itself(text in "\\PC*") {
            let query = Query::parse(Some(&format!("labelSelector={}", encode(&text))));
            prop_assert_eq!(query.get("labelSelector").unwrap_or_default(), text);
        }
    }
}
