//! What an object of the default policy lacks, as upstream puts it right at each start: what is missing is added, what somebody
//! added stays, and an object whose annotation `rbac.authorization.kubernetes.io/autoupdate` is `false` is left alone.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::escalation::missing_rules;
use crate::policy::AUTOUPDATE;

/// What is to be done about an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Repair<T> {
    /// Nothing.
    Nothing,
    /// It becomes this.
    Update(T),
    /// A role reference cannot change: the binding is deleted and made anew.
    Recreate(T),
}

fn is_left_alone(meta: &ObjectMeta) -> bool {
    meta.annotations.as_ref().and_then(|held| held.get(AUTOUPDATE)).is_some_and(|value| value == "false")
}

fn add(held: &mut Option<BTreeMap<String, String>>, wanted: &Option<BTreeMap<String, String>>) {
    for (key, value) in wanted.iter().flatten() {
        held.get_or_insert_default().entry(key.clone()).or_insert_with(|| value.clone());
    }
}

fn add_meta(held: &mut ObjectMeta, wanted: &ObjectMeta) {
    add(&mut held.labels, &wanted.labels);
    add(&mut held.annotations, &wanted.annotations);
}

fn add_rules(held: &mut Option<Vec<PolicyRule>>, wanted: &Option<Vec<PolicyRule>>) {
    let now = held.clone().unwrap_or_default();
    for rule in wanted.iter().flatten() {
        if !missing_rules(&now, std::slice::from_ref(rule)).is_empty() {
            held.get_or_insert_default().push(rule.clone());
        }
    }
}

fn done<T: PartialEq>(held: &T, repaired: T) -> Repair<T> {
    if *held == repaired { Repair::Nothing } else { Repair::Update(repaired) }
}

/// A ClusterRole as it should be.
#[must_use]
pub fn repair_cluster_role(held: &ClusterRole, wanted: &ClusterRole) -> Repair<ClusterRole> {
    if is_left_alone(&held.metadata) {
        return Repair::Nothing;
    }
    let mut role = held.clone();
    add_meta(&mut role.metadata, &wanted.metadata);
    match &wanted.aggregation_rule {
        // Its rules are the aggregation's to write.
        Some(wanted) => {
            let selectors =
                role.aggregation_rule.get_or_insert_default().cluster_role_selectors.get_or_insert_default();
            for selector in wanted.cluster_role_selectors.iter().flatten() {
                if !selectors.contains(selector) {
                    selectors.push(selector.clone());
                }
            }
        }
        None => add_rules(&mut role.rules, &wanted.rules),
    }
    done(held, role)
}

/// A Role as it should be.
#[must_use]
pub fn repair_role(held: &Role, wanted: &Role) -> Repair<Role> {
    if is_left_alone(&held.metadata) {
        return Repair::Nothing;
    }
    let mut role = held.clone();
    add_meta(&mut role.metadata, &wanted.metadata);
    add_rules(&mut role.rules, &wanted.rules);
    done(held, role)
}

fn add_subjects(held: &mut Option<Vec<Subject>>, wanted: &Option<Vec<Subject>>) {
    for subject in wanted.iter().flatten() {
        if !held.iter().flatten().any(|known| known == subject) {
            held.get_or_insert_default().push(subject.clone());
        }
    }
}

/// A binding, of a namespace or of the cluster.
pub trait AnyBinding: Clone + PartialEq {
    /// Its parts.
    fn parts(&mut self) -> (&mut ObjectMeta, &mut RoleRef, &mut Option<Vec<Subject>>);
}

impl AnyBinding for ClusterRoleBinding {
    fn parts(&mut self) -> (&mut ObjectMeta, &mut RoleRef, &mut Option<Vec<Subject>>) {
        (&mut self.metadata, &mut self.role_ref, &mut self.subjects)
    }
}

impl AnyBinding for RoleBinding {
    fn parts(&mut self) -> (&mut ObjectMeta, &mut RoleRef, &mut Option<Vec<Subject>>) {
        (&mut self.metadata, &mut self.role_ref, &mut self.subjects)
    }
}

/// A binding as it should be.
#[must_use]
pub fn repair_binding<B: AnyBinding>(held: &B, wanted: &B) -> Repair<B> {
    let (mut binding, mut complete) = (held.clone(), wanted.clone());
    let (meta, role, subjects) = binding.parts();
    let (wanted_meta, wanted_role, wanted_subjects) = complete.parts();
    if is_left_alone(meta) {
        return Repair::Nothing;
    }
    if role != wanted_role {
        return Repair::Recreate(complete);
    }
    add_meta(meta, wanted_meta);
    add_subjects(subjects, wanted_subjects);
    done(held, binding)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::policy::{cluster_role_bindings, cluster_roles};

    fn find(name: &str) -> ClusterRole {
        cluster_roles().into_iter().find(|role| role.metadata.name.as_deref() == Some(name)).unwrap()
    }

    #[test]
    fn what_is_missing_comes_back_and_what_was_added_stays() {
        let wanted = find("system:basic-user");
        let mut held = wanted.clone();
        assert_eq!(repair_cluster_role(&held, &wanted), Repair::Nothing);
        let own = PolicyRule { verbs: vec!["x".to_owned()], ..PolicyRule::default() };
        held.rules = Some(vec![own.clone()]);
        held.metadata.labels = None;
        let Repair::Update(repaired) = repair_cluster_role(&held, &wanted) else { panic!("not repaired") };
        assert_eq!(repaired.rules.as_ref().map(Vec::len), Some(3));
        assert_eq!(repaired.rules.unwrap()[0], own);
        assert_eq!(repaired.metadata.labels, wanted.metadata.labels);
        held.metadata.annotations.get_or_insert_default().insert(AUTOUPDATE.to_owned(), "false".to_owned());
        assert_eq!(repair_cluster_role(&held, &wanted), Repair::Nothing);
    }

    #[test]
    fn bindings_get_their_subjects_back_and_another_role_is_replaced() {
        let wanted = cluster_role_bindings().remove(0);
        let mut held = wanted.clone();
        held.subjects = None;
        assert_eq!(repair_binding(&held, &wanted), Repair::Update(wanted.clone()));
        held.role_ref.name = "another".to_owned();
        assert_eq!(repair_binding(&held, &wanted), Repair::Recreate(wanted));
    }
}
