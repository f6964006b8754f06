//! RoleBinding and ClusterRoleBinding.

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::validate_name;
use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::names;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

const GROUP: &str = "rbac.authorization.k8s.io";
const SERVICE_ACCOUNT: &str = "ServiceAccount";
const COLUMNS: &[Column] = &[
    table::NAME,
    table::text("Role", "The role that it grants."),
    table::AGE,
    table::wide("Users", "Users that have it."),
    table::wide("Groups", "Groups that have it."),
    table::wide("ServiceAccounts", "Service accounts that have it."),
];

/// Bindings in a namespace.
pub(crate) struct RoleBindings;
/// Bindings in the whole cluster.
pub(crate) struct ClusterRoleBindings;

impl Kind for RoleBindings {
    type Object = RoleBinding;

    const SINGULAR: &'static str = "rolebinding";
    const COLUMNS: &'static [Column] = COLUMNS;

    fn default(object: &mut RoleBinding) {
        default(&mut object.role_ref, object.subjects.as_deref_mut());
    }

    fn validate(object: &RoleBinding) -> Vec<FieldError> {
        validate(&object.role_ref, object.subjects.as_deref(), true)
    }

    fn validate_update(new: &RoleBinding, old: &RoleBinding) -> Vec<FieldError> {
        let mut errors = Self::validate(new);
        errors.extend(validate_ref_update(&new.role_ref, &old.role_ref));
        errors
    }

    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        validate_name(name, prefix)
    }

    fn row(object: &RoleBinding, now: Timestamp) -> Vec<Cell> {
        row(&object.metadata, &object.role_ref, object.subjects.as_deref(), now)
    }
}

impl Kind for ClusterRoleBindings {
    type Object = ClusterRoleBinding;

    const SINGULAR: &'static str = "clusterrolebinding";
    const COLUMNS: &'static [Column] = COLUMNS;
    const FIELDS: &'static [&'static str] = &["metadata.name"];

    fn default(object: &mut ClusterRoleBinding) {
        default(&mut object.role_ref, object.subjects.as_deref_mut());
    }

    fn validate(object: &ClusterRoleBinding) -> Vec<FieldError> {
        validate(&object.role_ref, object.subjects.as_deref(), false)
    }

    fn validate_update(new: &ClusterRoleBinding, old: &ClusterRoleBinding) -> Vec<FieldError> {
        let mut errors = Self::validate(new);
        errors.extend(validate_ref_update(&new.role_ref, &old.role_ref));
        errors
    }

    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        validate_name(name, prefix)
    }

    fn row(object: &ClusterRoleBinding, now: Timestamp) -> Vec<Cell> {
        row(&object.metadata, &object.role_ref, object.subjects.as_deref(), now)
    }
}

fn default(role: &mut RoleRef, subjects: Option<&mut [Subject]>) {
    let group = |held: &mut Option<String>| {
        if held.as_deref().unwrap_or_default().is_empty() {
            *held = Some(GROUP.to_owned());
        }
    };
    group(&mut role.api_group);
    for subject in subjects.into_iter().flatten().filter(|subject| matches!(subject.kind.as_str(), "User" | "Group")) {
        group(&mut subject.api_group);
    }
}

fn validate(role: &RoleRef, subjects: Option<&[Subject]>, namespaced: bool) -> Vec<FieldError> {
    let mut errors = Errors::new();
    let path = Path::root("roleRef");
    let group = role.api_group.as_deref().unwrap_or_default();
    if group != GROUP {
        errors.not_supported(&path.child("apiGroup"), group, &[GROUP]);
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&role.kind.as_str()) {
        errors.not_supported(&path.child("kind"), role.kind.as_str(), kinds);
    }
    if role.name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.invalid_each(&path.child("name"), &role.name, validate_name(&role.name, false));
    }
    let path = Path::root("subjects");
    for (place, subject) in subjects.unwrap_or_default().iter().enumerate() {
        validate_subject(&mut errors, &path.index(place), subject, namespaced);
    }
    errors.into_vec()
}

fn validate_subject(errors: &mut Errors, path: &Path<'_>, subject: &Subject, namespaced: bool) {
    if subject.name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    let group = subject.api_group.as_deref().unwrap_or_default();
    match subject.kind.as_str() {
        SERVICE_ACCOUNT => {
            if !subject.name.is_empty() {
                errors.invalid_each(&path.child("name"), &subject.name, names::dns1123_subdomain(&subject.name));
            }
            if !group.is_empty() {
                errors.not_supported(&path.child("apiGroup"), group, &[""]);
            }
            if !namespaced && subject.namespace.as_deref().unwrap_or_default().is_empty() {
                errors.required(&path.child("namespace"), "");
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.not_supported(&path.child("apiGroup"), group, &[GROUP]);
            }
        }
        other => errors.not_supported(&path.child("kind"), other, &[SERVICE_ACCOUNT, "User", "Group"]),
    }
}

fn validate_ref_update(new: &RoleRef, old: &RoleRef) -> Vec<FieldError> {
    let mut errors = Errors::new();
    if new != old {
        let value = json!({"apiGroup": new.api_group, "kind": new.kind, "name": new.name});
        errors.invalid(&Path::root("roleRef"), value, "cannot change roleRef");
    }
    errors.into_vec()
}

fn row(meta: &ObjectMeta, role: &RoleRef, subjects: Option<&[Subject]>, now: Timestamp) -> Vec<Cell> {
    let of = |kind: &str| {
        let subjects = subjects.unwrap_or_default().iter().filter(|subject| subject.kind == kind);
        let names = subjects.map(|subject| match subject.namespace.as_deref().filter(|_| kind == SERVICE_ACCOUNT) {
            Some(namespace) => format!("{namespace}/{}", subject.name),
            None => subject.name.clone(),
        });
        Cell::from(names.collect::<Vec<_>>().join(", "))
    };
    let role = Cell::from(format!("{}/{}", role.kind, role.name));
    vec![table::name(meta), role, table::age(meta, now), of("User"), of("Group"), of(SERVICE_ACCOUNT)]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn binding(value: Value) -> ClusterRoleBinding {
        let mut binding = crate::decode::decode(value).unwrap().0;
        ClusterRoleBindings::default(&mut binding);
        binding
    }

    fn texts(errors: Vec<FieldError>) -> Vec<String> {
        errors.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn groups_are_filled_in_and_the_role_stays() {
        let held = binding(json!({"metadata": {"name": "a"}, "roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "User", "name": "jane"}, {"kind": SERVICE_ACCOUNT, "name": "a", "namespace": "b"}]}));
        assert_eq!(held.subjects.as_ref().unwrap()[0].api_group.as_deref(), Some(GROUP));
        assert!(ClusterRoleBindings::validate(&held).is_empty());
        let row = ClusterRoleBindings::row(&held, Timestamp::UNIX_EPOCH);
        assert_eq!((&row[1], &row[3], &row[5]), (&json!("ClusterRole/view"), &json!("jane"), &json!("b/a")));
        let mut other = held.clone();
        other.role_ref.name = "edit".to_owned();
        assert_eq!(
            texts(ClusterRoleBindings::validate_update(&other, &held)),
            ["roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\
              \"name\":\"edit\"}: cannot change roleRef"]
        );
    }

    #[test]
    fn subjects_are_checked() {
        let bad = binding(json!({"roleRef": {"kind": "Role", "name": ""}, "subjects": [
            {"kind": SERVICE_ACCOUNT, "name": "a", "apiGroup": "x"}, {"kind": "Robot", "name": ""}]}));
        assert_eq!(
            texts(ClusterRoleBindings::validate(&bad)),
            [
                "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
                "roleRef.name: Required value",
                "subjects[0].apiGroup: Unsupported value: \"x\": supported values: \"\"",
                "subjects[0].namespace: Required value",
                "subjects[1].name: Required value",
                "subjects[1].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \
                 \"Group\"",
            ]
        );
    }
}
