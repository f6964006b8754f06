//! Paths that are no resources: discovery, documents, version, health.

use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};
use skep_registry::Registry;

use crate::call::Call;
use crate::discovery;
use crate::form;
use crate::metrics;
use crate::negotiate::{Form, Output};
use crate::openapi;
use crate::response::{self, Body};
use crate::status::ApiError;

/// The version of the API that is implemented, as upstream's tools parse it.
pub(crate) const GIT_VERSION: &str = concat!("v1.37.0+skep.", env!("CARGO_PKG_VERSION"));

/// Whether the parts that readiness depends on work, by name.
pub(crate) type Checks = Vec<(&'static str, bool)>;

pub(crate) fn handle(
    registry: &Registry,
    server_address: &str,
    checks: &Checks,
    segments: &[String],
    call: &Call,
) -> Result<Response<Body>, ApiError> {
    if call.method != Method::GET && call.method != Method::HEAD {
        return Err(ApiError::method_not_allowed());
    }
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let aggregated = call.output.form == Form::Discovery;
    let found = match segments.as_slice() {
        [] => Some(json!({"paths": paths(registry)})),
        [root @ ("api" | "apis")] if aggregated => {
            let value = discovery::aggregated(registry, *root == "api");
            return Ok(openapi::tagged(&value, document(&value, call.output), &call.headers));
        }
        ["api"] => Some(discovery::core_versions(server_address)),
        ["apis"] => Some(discovery::group_list(registry)),
        ["api", version] => discovery::resource_list(registry, "", version),
        ["apis", group] => discovery::group(registry, group),
        ["apis", group, version] if !group.is_empty() => discovery::resource_list(registry, group, version),
        ["version"] => Some(version()),
        ["metrics"] => return Ok(metrics::answer()),
        [kind @ ("livez" | "readyz" | "healthz"), rest @ ..] => return health(kind, rest, checks, call),
        _ => None,
    };
    let plain = Output { form: Form::Object, ..call.output };
    found.map(|value| document(&value, plain)).ok_or_else(ApiError::no_such_path)
}

/// A document that others check tokens by. It may be kept for an hour.
pub(crate) fn identity_document((kind, value): (&'static str, Value), call: &Call) -> Result<Response<Body>, ApiError> {
    if call.method != Method::GET && call.method != Method::HEAD {
        return Err(ApiError::method_not_allowed());
    }
    let mut response = response::with_type(StatusCode::OK, kind, response::full(value.to_string()));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Ok(response)
}

fn document(value: &Value, output: Output) -> Response<Body> {
    form::render(StatusCode::OK, value, output)
}

fn paths(registry: &Registry) -> Vec<String> {
    let mut paths = vec!["/api".to_owned(), "/apis".to_owned()];
    for (group, versions) in discovery::groups(registry) {
        if !group.is_empty() {
            paths.push(format!("/apis/{group}"));
        }
        for version in versions {
            paths.push(if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") });
        }
    }
    paths.extend(
        [
            "/.well-known/openid-configuration",
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    paths.sort();
    paths
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": "37",
        "emulationMajor": "1",
        "emulationMinor": "37",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "36",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": "linux/amd64",
    })
}

/// `ok`, or one line for each check with `?verbose` or where one fails; a check alone below its own path.
fn health(kind: &str, rest: &[&str], checks: &Checks, call: &Call) -> Result<Response<Body>, ApiError> {
    let excluded = call.query.get("exclude").unwrap_or_default();
    let asked: Vec<(&str, bool)> = match rest {
        [] => checks.iter().copied().filter(|(name, _)| *name != excluded).collect(),
        [name] => checks.iter().copied().filter(|(known, _)| known == name).collect(),
        _ => return Err(ApiError::no_such_path()),
    };
    if asked.is_empty() {
        return Err(ApiError::no_such_path());
    }
    let healthy = asked.iter().all(|(_, ok)| *ok);
    let code = if healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    if healthy && !call.query.verbose() {
        return Ok(response::text(code, "ok"));
    }
    let mut lines = String::new();
    for (name, ok) in asked {
        lines.push_str(&match ok {
            true => format!("[+]{name} ok\n"),
            false => format!("[-]{name} failed: reason withheld\n"),
        });
    }
    lines.push_str(&format!("{kind} check {}\n", if healthy { "passed" } else { "failed" }));
    Ok(response::text(code, lines))
}
