//! The annotation of client-side apply, and the way from there to server-side apply.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::managers::Managers;
use crate::merge::{Conflict, Kind, Refusal, Writer};
use crate::set::Set;
use crate::typed;

/// Where client-side apply keeps what it applied last.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The one manager that has a past in client-side apply.
const KUBECTL: &str = "kubectl";

/// All annotations of an object together, keys and values.
const ANNOTATION_BYTES_MAX: usize = 256 * 1024;

impl Managers {
    /// [`Managers::apply`], where `kubectl` does not conflict with what it applied itself on the client's side, and its
    /// annotation follows what it applies.
    ///
    /// # Errors
    /// As [`Managers::apply`].
    pub fn apply_configuration(
        &mut self,
        kind: &Kind<'_>,
        writer: &Writer<'_>,
        live: &Value,
        config: &Value,
        force: bool,
    ) -> Result<Value, Refusal> {
        if writer.name != KUBECTL {
            return self.apply(kind, writer, live, config, force);
        }
        let before = self.clone();
        let applied = self.apply(kind, writer, live, config, force);
        let mut merged = match applied {
            Err(Refusal::Conflicts(conflicts)) => {
                let allowed = allowed(kind, live).unwrap_or_default();
                let left: Vec<Conflict> = conflicts.into_iter().filter(|c| !allowed.has(&c.path)).collect();
                if !left.is_empty() {
                    return Err(Refusal::Conflicts(left));
                }
                *self = before;
                self.apply(kind, writer, live, config, true)?
            }
            other => other?,
        };
        keep_annotation(&mut merged, config);
        Ok(merged)
    }
}

/// What was last applied on the client's side and is still so; `None` where nothing of use is annotated.
fn allowed(kind: &Kind<'_>, live: &Value) -> Option<Set> {
    let text = annotation(live)?;
    let last: Value = serde_json::from_str(text).ok()?;
    if last.get("apiVersion").and_then(Value::as_str) != Some(kind.api_version) {
        return None;
    }
    if !typed::check(kind.shape, &last).is_empty() {
        return None;
    }
    let changes = typed::compare(kind.shape, &last, live);
    let set = typed::fields(kind.shape, &last);
    Some(set.difference(&changes.modified).difference(&changes.added).difference(&changes.removed))
}

fn annotation(object: &Value) -> Option<&str> {
    let annotations = object.get("metadata")?.get("annotations")?;
    annotations.get(LAST_APPLIED)?.as_str().filter(|text| !text.is_empty())
}

/// Brings the annotation up to date, if there is one, and leaves it out if there is no room for it.
fn keep_annotation(object: &mut Value, config: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(LAST_APPLIED);
    }
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
    annotations.insert(LAST_APPLIED.to_owned(), Value::String(format!("{}\n", sorted(&config))));
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATION_BYTES_MAX {
        annotations.shift_remove(LAST_APPLIED);
    }
}

/// With the keys of all maps in order, as Go writes them.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<&String, Value> = map.iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(ordered.into_iter().map(|(key, value)| (key.clone(), value)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}
