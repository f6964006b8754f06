//! Who owns which field after a write: `metadata.managedFields`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::{Map, Value};
use skep_apply::{Kind, Managers, Set, Writer, blank, is_reset};
use skep_registry::{Object, Subresource};

use super::{Asked, Part, Target};
use crate::object;

/// Who is to own what a write changes.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    /// This manager.
    Manager(String),
    /// What was applied says itself who owns what.
    Applied,
    /// Everything stays with whom it is.
    Nobody,
}

/// Managed fields as objects carry them.
pub(crate) type Entries = Option<Vec<ManagedFieldsEntry>>;

/// Calls `with` what is known of the kind of a target, as far as `part` of it is written.
pub(crate) fn with_kind<T>(target: &Target, part: Part, with: impl FnOnce(&Kind<'_>) -> T) -> T {
    let served = &target.served;
    // An update of the object itself leaves its status alone. What other parts leave alone is taken from the old object before
    // it is asked who changed what.
    let keeps_status = part == Part::Main && served.subresources.contains(&Subresource::Status);
    let reset = if keeps_status { Set::of_fields(&["status"]) } else { Set::new() };
    let api_version = object::api_version(served);
    let group = |version: &str| version.rsplit_once('/').map_or(String::new(), |(group, _)| group.to_owned());
    let own = group(&api_version);
    let is_served = |version: &str| group(version) == own;
    with(&Kind { shape: &served.strategy.shape(), api_version: &api_version, reset: &reset, is_served: &is_served })
}

/// Managed fields of a new object, which carries none now; `given` is what the client sent.
pub(super) fn of_new(asked: &Asked, target: &Target, object: &dyn Object, given: Entries) -> Entries {
    let name = match &asked.owner {
        Owner::Manager(name) => name,
        Owner::Applied => return given,
        Owner::Nobody => return None,
    };
    let mut managers = given.and_then(|entries| Managers::decode(&entries).ok()).unwrap_or_default();
    let new = object.to_value();
    let writer = Writer { name, subresource: asked.subresource, now: Timestamp::now() };
    // Custom resources have no structs that are always there.
    let before = if target.served.definition.is_some() { Value::Object(Map::new()) } else { blank(&new) };
    with_kind(target, Part::Main, |kind| managers.update(kind, &writer, &before, &new));
    encoded(&managers)
}

/// An update, whose objects carry no managed fields now.
pub(super) struct Update<'a> {
    pub old: &'a dyn Object,
    pub new: &'a dyn Object,
    /// As they are.
    pub held: &'a Entries,
    /// As the client sent them.
    pub given: Entries,
}

/// Managed fields after an update.
pub(super) fn after_update(asked: &Asked, target: &Target, part: Part, update: Update<'_>) -> Entries {
    let Update { old, new, held, given } = update;
    let name = match &asked.owner {
        Owner::Manager(name) => name,
        Owner::Applied => return given,
        Owner::Nobody => return held.clone(),
    };
    // Only the object itself says who owns it.
    let given = given.filter(|given| asked.subresource.is_empty() && Some(given) != held.as_ref());
    if given.as_deref().is_some_and(is_reset) {
        return None;
    }
    let (before, after) = (old.to_value(), new.to_value());
    let changed = before != after;
    let given = given.and_then(|entries| Managers::decode(&entries).ok()).filter(|managers| !managers.is_empty());
    let mut managers = match given {
        Some(managers) => managers,
        None if changed => Managers::decode(held.as_deref().unwrap_or_default()).unwrap_or_default(),
        None => return held.clone(),
    };
    // Objects whose owners were never known, or were forgotten, have none until they are first applied to.
    if changed && !managers.is_empty() {
        let writer = Writer { name, subresource: asked.subresource, now: Timestamp::now() };
        with_kind(target, part, |kind| managers.update(kind, &writer, &before, &after));
    }
    encoded(&managers)
}

pub(crate) fn encoded(managers: &Managers) -> Entries {
    (!managers.is_empty()).then(|| managers.encode())
}

/// An object as managers see it.
pub(crate) fn bare(object: &dyn Object) -> Value {
    let mut value = object.to_value();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
        metadata.shift_remove("resourceVersion");
    }
    value
}
