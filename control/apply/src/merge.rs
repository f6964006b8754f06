//! Updates and applied configurations: what they do to the object and to who owns what.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value};
use skep_schema::ObjectShape;

use crate::element::{Element, path_text};
use crate::managers::{ManagerId, Managers, Operation, Owned};
use crate::set::Set;
use crate::typed::{self, Changes, Fault};

/// Fields that nobody owns: what names the object, and what the server keeps.
const UNOWNED: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "metadata.name",
    "metadata.namespace",
    "metadata.creationTimestamp",
    "metadata.selfLink",
    "metadata.uid",
    "metadata.clusterName",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.resourceVersion",
];

/// Who owns what an object had when it was first applied to.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// What is known of a kind of object.
#[derive(Clone, Copy)]
pub struct Kind<'a> {
    /// The shape of its objects.
    pub shape: &'a ObjectShape,
    /// The version that is written, e.g. `apps/v1`.
    pub api_version: &'a str,
    /// Fields that the written resource or subresource does not keep.
    pub reset: &'a Set,
    /// Whether another version is served, so that its managers stay.
    pub is_served: &'a dyn Fn(&str) -> bool,
}

/// Structs that are there in every object of a built-in kind, and lists that are there if the struct is.
const ALWAYS: &[&str] = &["metadata", "spec", "status", "template", "strategy", "updateStrategy", "jobTemplate"];
const ALWAYS_LISTS: &[&str] = &["containers"];

/// What there is of an object of a built-in kind before it is made: the structs that are always there, so that nobody owns
/// them.
#[must_use]
pub fn blank(object: &Value) -> Value {
    let mut blank = Map::new();
    for (key, value) in object.as_object().into_iter().flatten() {
        if ALWAYS.contains(&key.as_str()) && value.is_object() {
            blank.insert(key.clone(), self::blank(value));
        } else if ALWAYS_LISTS.contains(&key.as_str()) {
            blank.insert(key.clone(), Value::Null);
        }
    }
    Value::Object(blank)
}

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The manager's name.
    pub name: &'a str,
    /// The subresource that it writes; empty for the object itself.
    pub subresource: &'a str,
    /// When.
    pub now: Timestamp,
}

/// A field that another manager owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The owner.
    pub manager: ManagerId,
    /// The field.
    pub path: Vec<Element>,
}

impl Conflict {
    /// The field, e.g. `.spec.replicas`.
    #[must_use]
    pub fn field(&self) -> String {
        path_text(&self.path)
    }
}

/// Why a configuration is not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not of the kind's shape.
    Faults(Vec<Fault>),
    /// Others own what it sets.
    Conflicts(Vec<Conflict>),
}

/// All conflicts in one text, by manager.
#[must_use]
pub fn conflicts_text(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", one.manager, one.field());
    }
    let mut text = format!("Apply failed with {} conflicts:", conflicts.len());
    let mut last = None;
    for conflict in conflicts {
        if last != Some(&conflict.manager) {
            let space = if last.is_none() { " " } else { "\n" };
            // Writing to a string cannot fail.
            let _ = write!(text, "{space}conflicts with {}:", conflict.manager);
            last = Some(&conflict.manager);
        }
        let _ = write!(text, "\n- {}", conflict.field());
    }
    text
}

impl Writer<'_> {
    fn id(&self, operation: Operation, api_version: &str) -> ManagerId {
        ManagerId {
            name: if self.name.is_empty() { "unknown".to_owned() } else { self.name.to_owned() },
            operation,
            api_version: if operation == Operation::Apply { String::new() } else { api_version.to_owned() },
            subresource: self.subresource.to_owned(),
        }
    }

    /// Whole seconds, as times are written.
    fn time(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.now.as_second()).ok()
    }
}

impl Managers {
    /// After an update from `old` to `new`: who changed a field owns it, alone. Nothing is done to objects whose owners
    /// were never known, or forgotten; a new object's `old` is what there is before it is made.
    pub fn update(&mut self, kind: &Kind<'_>, writer: &Writer<'_>, old: &Value, new: &Value) {
        self.prepare(kind);
        let changes = typed::compare(kind.shape, old, new).without(kind.reset);
        if changes.is_empty() {
            return;
        }
        self.disown(&changes, None);
        let set = changes.modified.union(&changes.added).difference(&Set::of_fields(UNOWNED));
        if !set.is_empty() {
            let id = writer.id(Operation::Update, kind.api_version);
            let held = self.0.remove(&id).map(|owned| owned.set).unwrap_or_default();
            let owned = Owned { api_version: kind.api_version.to_owned(), set: held.union(&set), time: writer.time() };
            self.0.insert(id, owned);
        }
        self.cap();
    }

    /// Merges a configuration into the live object, for a manager who then owns exactly what it sets. What it set before
    /// and sets no more goes, unless somebody else owns it.
    ///
    /// # Errors
    /// The configuration is not of the kind's shape; without `force`, others own what it changes.
    pub fn apply(
        &mut self,
        kind: &Kind<'_>,
        writer: &Writer<'_>,
        live: &Value,
        config: &Value,
        force: bool,
    ) -> Result<Value, Refusal> {
        let faults = typed::check(kind.shape, config);
        if !faults.is_empty() {
            return Err(Refusal::Faults(faults));
        }
        self.prepare(kind);
        if self.is_empty() {
            let before = Writer { name: BEFORE_FIRST_APPLY, subresource: "", now: writer.now };
            self.update(kind, &before, &Value::Object(Map::new()), live);
        }
        let id = writer.id(Operation::Apply, kind.api_version);
        let last = self.0.remove(&id).map(|owned| owned.set).unwrap_or_default();
        let set = typed::fields(kind.shape, config).without(kind.reset);
        let owned = Owned { api_version: kind.api_version.to_owned(), set, time: writer.time() };
        self.0.insert(id.clone(), owned);
        let mut merged = typed::merge(kind.shape, live, config);
        if !last.is_empty() {
            // Lists and maps that are applied as empty ones are there, although nothing is left in them.
            merged = typed::merge(kind.shape, &self.pruned(kind, &merged, &last), config);
        }
        let changes = typed::compare(kind.shape, live, &merged).without(kind.reset);
        let conflicts = self.conflicts(&changes, &id);
        if !force && !conflicts.is_empty() {
            return Err(Refusal::Conflicts(conflicts));
        }
        self.disown(&changes, Some(&id));
        if let Some(owned) = self.0.get_mut(&id) {
            owned.set = owned.set.difference(&Set::of_fields(UNOWNED));
        }
        self.0.retain(|_, owned| !owned.set.is_empty());
        Ok(merged)
    }

    /// Leaves out managers of versions that are no more, and follows changes of the schema.
    fn prepare(&mut self, kind: &Kind<'_>) {
        self.0.retain(|_, owned| owned.api_version == kind.api_version || (kind.is_served)(&owned.api_version));
        for owned in self.0.values_mut() {
            owned.set = owned.set.reconciled(&kind.shape.shapes, kind.shape.root);
        }
    }

    fn conflicts(&self, changes: &Changes, applier: &ManagerId) -> Vec<Conflict> {
        let set = changes.modified.union(&changes.added);
        let mut conflicts = Vec::new();
        for (id, owned) in self.0.iter().filter(|(id, _)| *id != applier) {
            let both = owned.set.intersection(&set);
            conflicts.extend(both.paths().into_iter().map(|path| Conflict { manager: id.clone(), path }));
        }
        conflicts
    }

    /// Takes from everybody else what was changed, and what is no more.
    fn disown(&mut self, changes: &Changes, except: Option<&ManagerId>) {
        let gone = changes.modified.union(&changes.added).union(&changes.removed);
        for (_, owned) in self.0.iter_mut().filter(|(id, _)| Some(*id) != except) {
            owned.set = owned.set.difference(&gone);
        }
        self.0.retain(|_, owned| !owned.set.is_empty());
    }

    /// `merged` without what the applier set last and nobody sets now.
    fn pruned(&self, kind: &Kind<'_>, merged: &Value, last: &Set) -> Value {
        let named = |set: &Set| set.with_named(&kind.shape.shapes, Some(kind.shape.root));
        let fields = |value: &Value| named(&typed::fields(kind.shape, value));
        let last = named(last);
        let all = fields(merged);
        let pruned = typed::remove(kind.shape, merged, &last);
        // What others own comes back, with what it stands in.
        let owned = self.0.values().fold(Set::new(), |set, owned| set.union(&owned.set));
        let gone = all.difference(&fields(&pruned).union(&named(&owned)));
        let pruned = typed::remove(kind.shape, merged, &gone);
        // And so does what went only because it stood in something that did.
        let gone = all.difference(&fields(&pruned)).intersection(&last);
        typed::remove(kind.shape, merged, &gone)
    }
}
