//! PATCH by server-side apply.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value};
use skep_apply::{Fault, Managers, Refusal, conflicts_text, faults_text};
use skep_registry::{DecodeError, Object, Requester};

use super::Context;
use crate::call::Call;
use crate::form::Shape;
use crate::input::{self, Parsed};
use crate::negotiate;
use crate::object::{self, Cached};
use crate::query::FieldValidation;
use crate::response::{self, Body};
use crate::status::ApiError;
use crate::write::{self, Asked, Owner, Part, Target, Writer};

/// The type of an applied configuration.
pub(super) const TYPE: &str = "application/apply-patch+yaml";

/// How often creation and update are tried in turn.
const ATTEMPTS_MAX: usize = 8;

pub(crate) fn is_apply(headers: &HeaderMap) -> bool {
    negotiate::media_type(headers) == TYPE
}

/// A configuration, and who applies it.
pub(super) struct Application {
    config: Value,
    manager: String,
    force: bool,
    /// On whose behalf; what is merged says itself who owns what.
    asked: Asked,
}

impl Application {
    /// Reads a request's configuration, which may be for a subresource.
    pub(super) async fn read(subresource: &'static str, call: &mut Call) -> Result<Self, ApiError> {
        let validation = call.query.field_validation()?;
        let mut asked = call.asks(subresource, call.query.dry_run()?);
        let manager = match std::mem::replace(&mut asked.owner, Owner::Applied) {
            Owner::Manager(name) => name,
            Owner::Applied | Owner::Nobody => String::new(),
        };
        let body = std::mem::replace(&mut call.body, response::full(""));
        let Parsed { value, duplicates } = input::parse_configuration(&input::read(body).await?)?;
        let twice = duplicates.iter().map(|field| format!("key \"{field}\" already set in map"));
        match validation {
            FieldValidation::Strict if !duplicates.is_empty() => {
                let twice: Vec<String> = twice.collect();
                let why = format!("error strict decoding YAML: {}", twice.join(", "));
                return Err(ApiError::bad_request(why));
            }
            FieldValidation::Warn => asked.warnings.extend(twice),
            FieldValidation::Strict | FieldValidation::Ignore => {}
        }
        let force = call.query.flag("force");
        Ok(Self { config: value, manager, force, asked })
    }

    /// For another object than was sent: a scale is a part of what it scales.
    pub(super) fn map(mut self, with: impl FnOnce(&Value) -> Result<Value, ApiError>) -> Result<Self, ApiError> {
        self.config = with(&self.config)?;
        Ok(self)
    }

    /// Refuses what no object of the target's resource can be merged with.
    fn check(&self, target: &Target) -> Result<(), ApiError> {
        let served = &target.served;
        let text = |key| self.config.get(key).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if api_version != object::api_version(served) || kind != served.kind {
            let what = group_version_kind(api_version, kind);
            return Err(ApiError::bad_request(format!("invalid object type: {what}")));
        }
        if self.config.pointer("/metadata/managedFields").is_some_and(|fields| !fields.is_null()) {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        let faults = skep_apply::check(&served.strategy.shape(), &self.config);
        if !faults.is_empty() {
            return Err(self.faulty(&faults));
        }
        // What is replaced whole has no shape inside.
        let decoded =
            served.strategy.decode(self.config.clone()).map_err(|error| self.faulty(&[wrong_type(&error)]))?;
        let unknown =
            |path: &String| Fault { path: format!(".{path}"), message: "field not declared in schema".into() };
        let faults: Vec<Fault> = decoded.unknown_fields.iter().map(unknown).collect();
        if faults.is_empty() { Ok(()) } else { Err(self.faulty(&faults)) }
    }

    fn faulty(&self, faults: &[Fault]) -> ApiError {
        let text = |pointer| self.config.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let what = group_version_kind(text("/apiVersion"), text("/kind"));
        let message = format!(
            "failed to create typed patch object ({}/{}; {what}): {}",
            text("/metadata/namespace"),
            text("/metadata/name"),
            faults_text(faults)
        );
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    /// The configuration, merged into what there is.
    fn merged(&self, target: &Target, part: Part, old: Option<&dyn Object>) -> Result<Box<dyn Object>, ApiError> {
        let failed = |why: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "", why);
        let held = old.and_then(|old| old.meta().managed_fields.as_deref()).unwrap_or_default();
        let mut managers =
            Managers::decode(held).map_err(|error| failed(format!("failed to decode managed fields: {error}")))?;
        let live = old.map_or_else(|| Value::Object(Map::new()), write::bare);
        let config = part_of(part, &self.config);
        let writer =
            skep_apply::Writer { name: &self.manager, subresource: self.asked.subresource, now: Timestamp::now() };
        let merged = write::with_kind(target, part, |kind| {
            managers.apply_configuration(kind, &writer, &live, &config, self.force)
        });
        let value = merged.map_err(|refusal| match refusal {
            Refusal::Faults(faults) => self.faulty(&faults),
            Refusal::Conflicts(conflicts) => {
                let causes = conflicts.iter().map(|c| (format!("conflict with {}", c.manager), c.field()));
                ApiError::apply_conflict(conflicts_text(&conflicts), causes)
            }
        })?;
        let decoded = target.served.strategy.decode(value).map_err(|error| self.faulty(&[wrong_type(&error)]))?;
        let mut object = decoded.object;
        object.meta_mut().managed_fields = write::encoded(&managers);
        Ok(object)
    }

    /// Applies to what is there.
    pub(super) async fn update(&self, writer: &Writer, target: &Target, part: Part) -> Result<Arc<Cached>, ApiError> {
        self.check(target)?;
        let mut change = |_: &Cached, old: &dyn Object| self.merged(target, part, Some(old));
        write::update(writer, &self.asked, target, part, &mut change).await
    }

    async fn create(&self, writer: &Writer, target: &Target) -> Result<Arc<Cached>, ApiError> {
        let mut object = self.merged(target, Part::Main, None)?;
        let name = object.meta().name.clone().unwrap_or_default();
        if name != target.name {
            let wanted = &target.name;
            return Err(ApiError::bad_request(if name.is_empty() {
                format!("the name of the object ({wanted} based on URL) was undeterminable: name must be provided")
            } else {
                format!("the name of the object ({name}) does not match the name on the URL ({wanted})")
            }));
        }
        if let Some(uid) = object.meta().uid.as_deref().filter(|uid| !uid.is_empty()) {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(ApiError::conflict(&target.served, &target.name, &why));
        }
        let who = &self.asked.who;
        let requester = Requester { user: &who.user, groups: &who.groups, uid: &who.uid, extra: &who.extra };
        target.served.strategy.set_requester(&mut *object, &requester);
        let namespace = target.namespace.as_deref();
        write::create(writer, &self.asked, &target.served, namespace, object).await
    }
}

/// Applies a configuration to an object, which is created if it is not there, or to a part of one that is.
pub(super) async fn apply(
    context: &Context<'_>,
    shape: &Shape,
    target: &Target,
    part: Part,
    mut call: Call,
) -> Result<Response<Body>, ApiError> {
    let application = Application::read(part.subresource(), &mut call).await?;
    let create_refusal = call.create_refusal;
    for _ in 0..ATTEMPTS_MAX {
        match application.update(context.writer, target, part).await {
            Err(error) if error.code() == StatusCode::NOT_FOUND && part == Part::Main => {}
            updated => return updated.map(|updated| shape.one(StatusCode::OK, &updated)),
        }
        if let Some(refusal) = &create_refusal {
            return Err(refusal.clone());
        }
        match application.create(context.writer, target).await {
            // Somebody else was quicker.
            Err(error) if error.is("AlreadyExists") => {}
            created => return created.map(|created| shape.one(StatusCode::CREATED, &created)),
        }
    }
    Err(target.modified())
}

/// What of a configuration counts for a part of an object.
fn part_of(part: Part, config: &Value) -> Value {
    if part == Part::Main {
        return config.clone();
    }
    let mut kept = Map::new();
    for (key, value) in config.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("apiVersion" | "kind" | "status", _) => {
                kept.insert(key.clone(), value.clone());
            }
            ("metadata", Value::Object(metadata)) => {
                let names = ["name", "namespace", "uid", "resourceVersion"];
                let names = metadata.iter().filter(|(key, _)| names.contains(&key.as_str()));
                kept.insert(key.clone(), names.map(|(key, value)| (key.clone(), value.clone())).collect());
            }
            _ => {}
        }
    }
    Value::Object(kept)
}

/// As Go prints it: `apps/v1, Kind=Deployment`, and `/v1, Kind=Pod` for the core group.
pub(super) fn group_version_kind(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

/// A value of the wrong type in the words of upstream's merge library.
fn wrong_type(error: &DecodeError) -> Fault {
    let path = if error.path.is_empty() { String::new() } else { format!(".{}", error.path) };
    let parts = error.message.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected "));
    let message = parts.and_then(|(found, expected)| {
        let (sort, value) = found.split_once(' ').unwrap_or((found, ""));
        let value = value.trim_matches(['`', '"']);
        match expected {
            "i32" | "i64" | "u16" | "f64" => {
                let sort = match sort {
                    "boolean" => "bool",
                    "map" => "map[string]interface {}",
                    "sequence" => "[]interface {}",
                    other => other,
                };
                Some(format!("expected numeric (int or float), got {sort}"))
            }
            "a string" => Some(format!("expected string, got &value.valueUnstructured{{Value:{value}}}")),
            "a boolean" => Some(format!("expected boolean, got &{{{value}}}")),
            _ => None,
        }
    });
    Fault { path, message: message.unwrap_or_else(|| error.message.clone()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn wrong_types_read_as_upstreams() {
        let error = |message: &str| DecodeError { path: "spec.replicas".to_owned(), message: message.to_owned() };
        assert_eq!(
            wrong_type(&error("invalid type: string \"3\", expected i32")).to_string(),
            ".spec.replicas: expected numeric (int or float), got string"
        );
        assert_eq!(
            wrong_type(&error("invalid type: integer `5`, expected a string")).to_string(),
            ".spec.replicas: expected string, got &value.valueUnstructured{Value:5}"
        );
        assert_eq!(wrong_type(&error("too odd")).to_string(), ".spec.replicas: too odd");
    }

    #[test]
    fn kinds_are_printed_as_go_prints_them() {
        assert_eq!(group_version_kind("apps/v1", "Deployment"), "apps/v1, Kind=Deployment");
        assert_eq!(group_version_kind("v1", "Pod"), "/v1, Kind=Pod");
        assert_eq!(group_version_kind("", ""), "/, Kind=");
    }
}
