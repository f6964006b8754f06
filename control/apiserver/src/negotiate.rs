//! `Accept` and `Content-Type`.

use http::{HeaderMap, header};

use crate::query::Query;
use crate::status::ApiError;

/// What answers are written in.
const OFFERED: &str = "application/json, application/yaml";

/// What bodies may be written in.
const READ: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// Which form of the objects is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are.
    Object,
    /// `meta.k8s.io/v1` Table.
    Table,
    /// `meta.k8s.io/v1` PartialObjectMetadata, of one or of a list.
    Metadata,
    /// `apidiscovery.k8s.io/v2` lists, for discovery paths.
    Discovery,
}

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub form: Form,
    pub yaml: bool,
    pub pretty: bool,
    /// Whether the client takes big answers compressed.
    pub gzip: bool,
}

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Json,
    Yaml,
    Protobuf,
}

impl Output {
    /// Objects in JSON.
    pub(crate) const JSON: Self = Self { form: Form::Object, yaml: false, pretty: false, gzip: false };

    /// The first form that the client accepts and the server has.
    pub(crate) fn of(headers: &HeaderMap, query: &Query) -> Result<Self, ApiError> {
        Self::among(headers, query, |_| true)
    }

    /// The same for what is answered and not stored, which has no table and no metadata of its own.
    pub(crate) fn of_answer(headers: &HeaderMap, query: &Query) -> Result<Self, ApiError> {
        Self::among(headers, query, |form| form == Form::Object)
    }

    fn among(headers: &HeaderMap, query: &Query, has: impl Fn(Form) -> bool) -> Result<Self, ApiError> {
        let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
        let accept = accept.join(",");
        let (pretty, gzip) = (pretty(headers, query), takes_gzip(headers));
        if accept.trim().is_empty() {
            return Ok(Self { pretty, gzip, ..Self::JSON });
        }
        accept
            .split(',')
            .filter_map(clause)
            .find(|(form, _)| has(*form))
            .map(|(form, yaml)| Self { form, yaml, pretty, gzip })
            .ok_or_else(|| ApiError::not_acceptable(OFFERED))
    }

    pub(crate) fn content_type(self) -> &'static str {
        match (self.form, self.yaml) {
            (Form::Discovery, _) => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            (_, true) => "application/yaml",
            (_, false) => "application/json",
        }
    }
}

/// Whether the client takes answers compressed with gzip.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    codings
        .flat_map(|codings| codings.split(','))
        .any(|coding| coding.split(';').next().unwrap_or_default().trim() == "gzip")
}

/// One clause of an `Accept` header.
fn clause(text: &str) -> Option<(Form, bool)> {
    let mut parts = text.split(';').map(str::trim);
    let yaml = match parts.next()? {
        "application/json" | "*/*" | "application/*" => false,
        "application/yaml" => true,
        _ => return None,
    };
    let (mut kind, mut group, mut version) = ("", "", "");
    for (key, value) in parts.filter_map(|p| p.split_once('=')) {
        match key.trim() {
            "as" => kind = value.trim(),
            "g" => group = value.trim(),
            "v" => version = value.trim(),
            _ => {}
        }
    }
    let form = match (kind, group, version) {
        ("", _, _) => Form::Object,
        ("Table", "meta.k8s.io", "v1") => Form::Table,
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => Form::Metadata,
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Form::Discovery,
        _ => return None,
    };
    Some((form, yaml))
}

fn pretty(headers: &HeaderMap, query: &Query) -> bool {
    if query.get("pretty").is_some() {
        return query.flag("pretty");
    }
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|browser| agent.starts_with(browser))
}

/// The type of a body, JSON where nothing is said.
pub(crate) fn input(headers: &HeaderMap) -> Result<Input, ApiError> {
    match media_type(headers) {
        "" | "application/json" => Ok(Input::Json),
        "application/yaml" => Ok(Input::Yaml),
        skep_wire::MEDIA_TYPE => Ok(Input::Protobuf),
        _ => Err(ApiError::unsupported_media_type(READ)),
    }
}

pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn accept(value: &'static str) -> Result<Output, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, value.parse().unwrap());
        Output::of(&headers, &Query::default())
    }

    #[test]
    fn the_first_form_that_is_known_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(accept(kubectl).unwrap().form, Form::Table);
        let old = "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(accept(old).unwrap().form, Form::Object);
        assert_eq!(accept("application/vnd.kubernetes.protobuf, */*").unwrap().form, Form::Object);
        assert!(accept("application/yaml").unwrap().yaml);
    }

    #[test]
    fn nothing_but_protobuf_is_refused() {
        let error = accept("application/vnd.kubernetes.protobuf").unwrap_err();
        assert_eq!(error.code(), http::StatusCode::NOT_ACCEPTABLE);
    }
}
