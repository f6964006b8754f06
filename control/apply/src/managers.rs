//! Who owns what: `metadata.managedFields`, decoded.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, Time};

use crate::fields::FieldsError;
use crate::set::Set;

const FIELDS_TYPE: &str = "FieldsV1";

/// Entries from updates that are kept apart.
const UPDATES_MAX: usize = 10;

/// Who owns what the oldest updates set.
const OLD_UPDATES: &str = "ancient-changes";

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// It applied a configuration.
    Apply,
    /// It created, updated or patched the object.
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// What tells managers apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManagerId {
    /// Its name.
    pub name: String,
    /// How it came to own fields.
    pub operation: Operation,
    /// `apps/v1`; empty for appliers, who are the same in all versions.
    pub api_version: String,
    /// The subresource that it wrote; empty for the object itself.
    pub subresource: String,
}

/// As conflicts name it.
impl fmt::Display for ManagerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {:?}", self.subresource)?;
        }
        match self.operation {
            Operation::Update => write!(f, " using {}", self.api_version),
            Operation::Apply => Ok(()),
        }
    }
}

/// What a manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The version in whose terms the fields are.
    pub api_version: String,
    /// The fields.
    pub set: Set,
    /// When it last set one of them.
    pub time: Option<Timestamp>,
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managers(pub(crate) BTreeMap<ManagerId, Owned>);

/// Managed fields that are not as they must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManagersError {
    /// Neither `Apply` nor `Update`.
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    /// No version.
    #[error("apiVersion must not be empty")]
    NoVersion,
    /// No `fieldsType`.
    #[error("missing fieldsType in managed fields entry {0}")]
    NoFieldsType(usize),
    /// Another `fieldsType` than `FieldsV1`.
    #[error("invalid fieldsType {1:?} in managed fields entry {0}")]
    FieldsType(usize, String),
    /// The fields cannot be read.
    #[error("error decoding set of {manager:?}: {error}")]
    Fields {
        /// Whose they are.
        manager: String,
        /// What is wrong with them.
        error: FieldsError,
    },
}

impl Managers {
    /// Reads `metadata.managedFields`.
    ///
    /// # Errors
    /// An entry is not as it must be.
    pub fn decode(entries: &[ManagedFieldsEntry]) -> Result<Self, ManagersError> {
        let mut managers = BTreeMap::new();
        for (i, entry) in entries.iter().enumerate() {
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            let operation = match entry.operation.as_deref() {
                Some("Apply") => Operation::Apply,
                Some("Update") => Operation::Update,
                _ => return Err(ManagersError::Operation),
            };
            let api_version = text(&entry.api_version);
            if api_version.is_empty() {
                return Err(ManagersError::NoVersion);
            }
            match entry.fields_type.as_deref() {
                Some(FIELDS_TYPE) => {}
                None | Some("") => return Err(ManagersError::NoFieldsType(i)),
                Some(other) => return Err(ManagersError::FieldsType(i, other.to_owned())),
            }
            let id = ManagerId {
                name: text(&entry.manager),
                operation,
                api_version: if operation == Operation::Apply { String::new() } else { api_version.clone() },
                subresource: text(&entry.subresource),
            };
            let set = match &entry.fields_v1 {
                Some(fields) => Set::from_fields(&fields.0)
                    .map_err(|error| ManagersError::Fields { manager: id.name.clone(), error })?,
                None => Set::new(),
            };
            managers.insert(id, Owned { api_version, set, time: entry.time.as_ref().map(|time| time.0) });
        }
        Ok(Self(managers))
    }

    /// As `metadata.managedFields`: appliers first, then by time and name.
    #[must_use]
    pub fn encode(&self) -> Vec<ManagedFieldsEntry> {
        let seconds = |owned: &Owned| owned.time.map_or(0, Timestamp::as_second);
        let mut all: Vec<(&ManagerId, &Owned)> = self.0.iter().collect();
        all.sort_by(|(a, x), (b, y)| {
            (a.operation, seconds(x), &a.name, &x.api_version, &a.subresource).cmp(&(
                b.operation,
                seconds(y),
                &b.name,
                &y.api_version,
                &b.subresource,
            ))
        });
        let entry = |(id, owned): (&ManagerId, &Owned)| ManagedFieldsEntry {
            api_version: Some(owned.api_version.clone()),
            fields_type: Some(FIELDS_TYPE.to_owned()),
            fields_v1: Some(FieldsV1(owned.set.to_fields())),
            manager: Some(id.name.clone()),
            operation: Some(id.operation.name().to_owned()),
            subresource: (!id.subresource.is_empty()).then(|| id.subresource.clone()),
            time: owned.time.map(Time),
        };
        all.into_iter().map(entry).collect()
    }

    /// Whether nobody is known to own anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The managers, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ManagerId, &Owned)> {
        self.0.iter()
    }

    /// Joins the oldest updates of a version into one entry, while there are too many.
    pub(crate) fn cap(&mut self) {
        let mut updates: Vec<(i64, ManagerId)> = self
            .0
            .iter()
            .filter(|(id, _)| id.operation == Operation::Update)
            .map(|(id, owned)| (owned.time.map_or(0, Timestamp::as_second), id.clone()))
            .collect();
        let mut excess = updates.len().saturating_sub(UPDATES_MAX);
        if excess == 0 {
            return;
        }
        updates.sort();
        let mut first: BTreeMap<String, ManagerId> = BTreeMap::new();
        for (_, id) in updates {
            if excess == 0 {
                return;
            }
            let version = id.api_version.clone();
            let Some(oldest) = first.get(&version) else {
                first.insert(version, id);
                continue;
            };
            let bucket = ManagerId {
                name: OLD_UPDATES.to_owned(),
                operation: Operation::Update,
                api_version: version.clone(),
                subresource: String::new(),
            };
            let (oldest, younger) = (oldest.clone(), self.0.remove(&id));
            if let Some(joined) = self.0.remove(&oldest)
                && let Some(younger) = younger
            {
                // The younger one's time: it is the last change that the entry stands for.
                let set = joined.set.union(&younger.set);
                let held = self.0.remove(&bucket).map(|held| held.set).unwrap_or_default();
                self.0.insert(bucket.clone(), Owned { set: set.union(&held), ..younger });
            }
            first.insert(version, bucket);
            excess -= 1;
        }
    }
}

/// Whether a client asks to forget who owns what: an empty list, or one empty entry.
#[must_use]
pub fn is_reset(entries: &[ManagedFieldsEntry]) -> bool {
    match entries {
        [] => true,
        [one] => *one == ManagedFieldsEntry::default(),
        _ => false,
    }
}

/// Whether two lists of managed fields differ at most in when things were set, and so in their order.
#[must_use]
pub fn same_but_for_times(a: &[ManagedFieldsEntry], b: &[ManagedFieldsEntry]) -> bool {
    let same = |a: &ManagedFieldsEntry, b: &ManagedFieldsEntry| {
        a.manager == b.manager
            && a.operation == b.operation
            && a.subresource == b.subresource
            && a.api_version == b.api_version
            && a.fields_type == b.fields_type
            && a.fields_v1 == b.fields_v1
    };
    a.len() == b.len() && a.iter().all(|a| b.iter().any(|b| same(a, b)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(value: &serde_json::Value) -> ManagedFieldsEntry {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn entries_are_written_as_they_are_read() {
        let entries = [
            json!({"apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}},
                "manager": "kubectl", "operation": "Apply", "time": "2026-01-02T03:04:05Z"}),
            json!({"apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {".": {}, "f:a": {}}},
                "manager": "controller", "operation": "Update", "subresource": "status", "time": "2026-01-02T03:04:05Z"}),
        ]
        .map(|value| entry(&value));
        assert_eq!(Managers::decode(&entries).unwrap().encode(), entries);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let decode = |value| Managers::decode(&[entry(&value)]).unwrap_err().to_string();
        assert_eq!(decode(json!({})), "operation must be `Apply` or `Update`");
        assert_eq!(decode(json!({"operation": "Apply"})), "apiVersion must not be empty");
        let given = json!({"operation": "Apply", "apiVersion": "v1", "fieldsType": "V2"});
        assert_eq!(decode(given), "invalid fieldsType \"V2\" in managed fields entry 0");
    }

    #[test]
    fn old_updates_are_joined() {
        let id = |i: usize| ManagerId {
            name: format!("m{i:02}"),
            operation: Operation::Update,
            api_version: "v1".to_owned(),
            subresource: String::new(),
        };
        let owned = |i: usize| Owned {
            api_version: "v1".to_owned(),
            set: Set::of_fields(&[&format!("f{i:02}")]),
            time: Timestamp::from_second(i64::try_from(i).unwrap()).ok(),
        };
        let mut managers = Managers((0..13).map(|i| (id(i), owned(i))).collect());
        managers.cap();
        assert_eq!(managers.0.len(), 10);
        let (oldest, joined) = managers.iter().next().unwrap();
        assert_eq!(oldest.name, "ancient-changes");
        assert_eq!(joined.set, Set::of_fields(&["f00", "f01", "f02", "f03"]));
        assert_eq!(joined.time, Timestamp::from_second(3).ok());
    }

    #[test]
    fn a_younger_time_and_the_order_that_it_brings_are_no_difference() {
        let of = |manager: &str, time: &str, field: &str| {
            entry(&json!({"apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {field: {}}, "manager": manager,
                "operation": "Apply", "time": time}))
        };
        let (early, late) = ("2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z");
        let held = [of("a", early, "f:spec"), of("b", early, "f:metadata")];
        assert!(same_but_for_times(&held, &[of("b", early, "f:metadata"), of("a", late, "f:spec")]));
        assert!(!same_but_for_times(&held, &[of("b", early, "f:spec"), of("a", late, "f:spec")]));
        assert!(!same_but_for_times(&held, &held[..1]));
    }

    #[test]
    fn a_reset_is_an_empty_list_or_entry() {
        assert!(is_reset(&[]) && is_reset(&[ManagedFieldsEntry::default()]));
        assert!(!is_reset(&[entry(&json!({"manager": "a"}))]));
    }
}
