//! Roles, and bindings by whom they bind.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{self as rbac, PolicyRule, RoleRef};

use crate::action::Action;
use crate::rule;

const SERVICE_ACCOUNT: &str = "ServiceAccount";

/// Who wants to do something.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The user's name.
    pub user: &'a str,
    /// The groups it is in.
    pub groups: &'a [String],
}

/// A role's place: its namespace (`None` for a ClusterRole) and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleKey {
    /// `None` for a ClusterRole.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// A role that a binding refers to and that is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing(pub RoleKey);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.0.namespace.is_some() { "role" } else { "clusterrole" };
        write!(f, "{kind}.rbac.authorization.k8s.io \"{}\" not found", self.0.name)
    }
}

/// Whom a binding binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A user.
    User(String),
    /// All users of a group.
    Group(String),
    /// A service account.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "User \"{name}\""),
            Self::Group(name) => write!(f, "Group \"{name}\""),
            Self::ServiceAccount { namespace, name } => write!(f, "ServiceAccount \"{name}/{namespace}\""),
        }
    }
}

/// A binding of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// `None` for a ClusterRoleBinding.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The role that it grants.
    pub role: RoleKey,
    /// To whom.
    pub subjects: Vec<Subject>,
}

impl Binding {
    /// From a ClusterRoleBinding.
    #[must_use]
    pub fn of_cluster(object: &rbac::ClusterRoleBinding) -> Self {
        Self::new(None, object.metadata.name.clone(), &object.role_ref, object.subjects.as_deref())
    }

    /// From a RoleBinding.
    #[must_use]
    pub fn of_namespace(object: &rbac::RoleBinding) -> Self {
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        Self::new(Some(namespace), object.metadata.name.clone(), &object.role_ref, object.subjects.as_deref())
    }

    fn new(
        namespace: Option<String>,
        name: Option<String>,
        role: &RoleRef,
        subjects: Option<&[rbac::Subject]>,
    ) -> Self {
        let role = RoleKey {
            namespace: if role.kind == "ClusterRole" { None } else { namespace.clone() },
            name: role.name.clone(),
        };
        let subjects = subjects.unwrap_or_default().iter();
        let subjects = subjects.filter_map(|held| subject(held, namespace.as_deref())).collect();
        Self { namespace, name: name.unwrap_or_default(), role, subjects }
    }
}

fn subject(held: &rbac::Subject, namespace: Option<&str>) -> Option<Subject> {
    match held.kind.as_str() {
        "User" => Some(Subject::User(held.name.clone())),
        "Group" => Some(Subject::Group(held.name.clone())),
        SERVICE_ACCOUNT => {
            let own = held.namespace.as_deref().filter(|namespace| !namespace.is_empty());
            let namespace = own.or(namespace)?.to_owned();
            Some(Subject::ServiceAccount { namespace, name: held.name.clone() })
        }
        _ => None,
    }
}

/// Why something is allowed.
#[derive(Clone, Debug)]
pub struct Grant {
    binding: Arc<Binding>,
    subject: usize,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Binding { namespace, name, role, subjects } = &*self.binding;
        match namespace {
            Some(namespace) => write!(f, "RBAC: allowed by RoleBinding \"{name}/{namespace}\"")?,
            None => write!(f, "RBAC: allowed by ClusterRoleBinding \"{name}\"")?,
        }
        let kind = if role.namespace.is_some() { "Role" } else { "ClusterRole" };
        write!(f, " of {kind} \"{}\"", role.name)?;
        match subjects.get(self.subject) {
            Some(subject) => write!(f, " to {subject}"),
            None => Ok(()),
        }
    }
}

/// Bindings with the place of the subject among theirs.
type Bound = Vec<(Arc<Binding>, usize)>;

/// The bindings of one scope, by subject.
#[derive(Default)]
struct Scope {
    bindings: HashMap<String, Arc<Binding>>,
    /// Service accounts are users, by their full name.
    users: HashMap<String, Bound>,
    groups: HashMap<String, Bound>,
}

impl Scope {
    fn set(&mut self, name: &str, binding: Option<Binding>) {
        if let Some(old) = self.bindings.remove(name) {
            for subject in &old.subjects {
                let (by, key) = self.by(subject);
                if let Some(bound) = by.get_mut(&key) {
                    bound.retain(|(held, _)| !Arc::ptr_eq(held, &old));
                    if bound.is_empty() {
                        by.remove(&key);
                    }
                }
            }
        }
        let Some(binding) = binding else { return };
        let binding = Arc::new(binding);
        for (place, subject) in binding.subjects.iter().enumerate() {
            let (by, key) = self.by(subject);
            by.entry(key).or_default().push((Arc::clone(&binding), place));
        }
        self.bindings.insert(name.to_owned(), binding);
    }

    fn by(&mut self, subject: &Subject) -> (&mut HashMap<String, Bound>, String) {
        match subject {
            Subject::User(name) => (&mut self.users, name.clone()),
            Subject::Group(name) => (&mut self.groups, name.clone()),
            Subject::ServiceAccount { namespace, name } => {
                (&mut self.users, format!("system:serviceaccount:{namespace}:{name}"))
            }
        }
    }

    fn of<'a>(&'a self, who: Who<'a>) -> impl Iterator<Item = &'a (Arc<Binding>, usize)> {
        let groups = who.groups.iter().filter_map(|group| self.groups.get(group));
        self.users.get(who.user).into_iter().chain(groups).flatten()
    }
}

/// Roles and bindings of a cluster.
#[derive(Default)]
pub struct Index {
    roles: HashMap<RoleKey, Arc<[PolicyRule]>>,
    cluster: Scope,
    namespaces: HashMap<String, Scope>,
}

impl Index {
    /// A role is there with these rules, or gone.
    pub fn set_role(&mut self, key: RoleKey, rules: Option<Vec<PolicyRule>>) {
        match rules {
            Some(rules) => self.roles.insert(key, rules.into()),
            None => self.roles.remove(&key),
        };
    }

    /// A binding is there, or gone.
    pub fn set_binding(&mut self, namespace: Option<&str>, name: &str, binding: Option<Binding>) {
        let Some(namespace) = namespace else { return self.cluster.set(name, binding) };
        let scope = self.namespaces.entry(namespace.to_owned()).or_default();
        scope.set(name, binding);
        if scope.bindings.is_empty() {
            self.namespaces.remove(namespace);
        }
    }

    /// Forgets all roles of one kind: those of namespaces, or those of the cluster.
    pub fn clear_roles(&mut self, of_namespaces: bool) {
        self.roles.retain(|key, _| key.namespace.is_some() != of_namespaces);
    }

    /// Forgets all bindings of one kind.
    pub fn clear_bindings(&mut self, of_namespaces: bool) {
        if of_namespaces { self.namespaces.clear() } else { self.cluster = Scope::default() }
    }

    /// The rules of a role.
    ///
    /// # Errors
    /// It is not there.
    pub fn role(&self, key: &RoleKey) -> Result<&[PolicyRule], Missing> {
        self.roles.get(key).map(|rules| &**rules).ok_or_else(|| Missing(key.clone()))
    }

    fn bindings<'a>(
        &'a self,
        who: Who<'a>,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a (Arc<Binding>, usize)> {
        let scope = namespace.and_then(|namespace| self.namespaces.get(namespace));
        self.cluster.of(who).chain(scope.into_iter().flat_map(move |scope| scope.of(who)))
    }

    /// Why somebody may do something.
    ///
    /// # Errors
    /// It is not allowed; the roles that were looked for and are not there.
    pub fn decide(&self, who: Who<'_>, action: &Action<'_>) -> Result<Grant, Vec<Missing>> {
        let mut missing = Vec::new();
        for (binding, subject) in self.bindings(who, action.namespace()) {
            match self.roles.get(&binding.role) {
                Some(rules) if rules.iter().any(|rule| rule::allows(rule, action)) => {
                    return Ok(Grant { binding: Arc::clone(binding), subject: *subject });
                }
                Some(_) => {}
                None => missing.push(Missing(binding.role.clone())),
            }
        }
        missing.sort();
        missing.dedup();
        Err(missing)
    }

    /// All rules that somebody has in a namespace, or at the cluster scope, and the roles that are not there.
    #[must_use]
    pub fn rules(&self, who: Who<'_>, namespace: Option<&str>) -> (Vec<PolicyRule>, Vec<Missing>) {
        let (mut rules, mut missing, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        for (binding, _) in self.bindings(who, namespace) {
            if seen.contains(&Arc::as_ptr(binding)) {
                continue;
            }
            seen.push(Arc::as_ptr(binding));
            match self.roles.get(&binding.role) {
                Some(held) => rules.extend(held.iter().cloned()),
                None => missing.push(Missing(binding.role.clone())),
            }
        }
        missing.sort();
        missing.dedup();
        (rules, missing)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn index() -> Index {
        let mut index = Index::default();
        let rules =
            |verb: &str| from_value(json!([{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}])).unwrap();
        index.set_role(RoleKey { namespace: None, name: "viewer".to_owned() }, Some(rules("get")));
        index.set_role(RoleKey { namespace: Some("a".to_owned()), name: "killer".to_owned() }, Some(rules("delete")));
        let group = "rbac.authorization.k8s.io";
        let all: rbac::ClusterRoleBinding = from_value(json!({"metadata": {"name": "all"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "viewer"},
            "subjects": [{"kind": "Group", "name": "people"}, {"kind": "User", "name": "jane"}]}))
        .unwrap();
        index.set_binding(None, "all", Some(Binding::of_cluster(&all)));
        let some: rbac::RoleBinding = from_value(json!({"metadata": {"name": "some", "namespace": "a"},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "killer"},
            "subjects": [{"kind": "ServiceAccount", "name": "bot"}]}))
        .unwrap();
        index.set_binding(Some("a"), "some", Some(Binding::of_namespace(&some)));
        index
    }

    fn pods<'a>(verb: &'a str, namespace: Option<&'a str>) -> Action<'a> {
        Action::Resource { verb, group: "", resource: "pods", subresource: "", namespace, name: None }
    }

    #[test]
    fn bindings_grant_their_role_to_their_subjects() {
        let mut index = index();
        let people = ["people".to_owned()];
        let (joe, jane) = (Who { user: "joe", groups: &people }, Who { user: "jane", groups: &[] });
        let bot = Who { user: "system:serviceaccount:a:bot", groups: &[] };
        let why = |index: &Index, who, action: Action<'_>| index.decide(who, &action).map(|grant| grant.to_string());
        assert_eq!(
            why(&index, joe, pods("get", None)).unwrap(),
            "RBAC: allowed by ClusterRoleBinding \"all\" of ClusterRole \"viewer\" to Group \"people\""
        );
        assert!(why(&index, jane, pods("get", Some("b"))).unwrap().ends_with("to User \"jane\""));
        assert_eq!(why(&index, jane, pods("delete", Some("a"))), Err(Vec::new()));
        assert_eq!(
            why(&index, bot, pods("delete", Some("a"))).unwrap(),
            "RBAC: allowed by RoleBinding \"some/a\" of Role \"killer\" to ServiceAccount \"bot/a\""
        );
        assert!(why(&index, bot, pods("delete", Some("b"))).is_err());
        assert!(why(&index, bot, pods("delete", None)).is_err());
        index.set_role(RoleKey { namespace: Some("a".to_owned()), name: "killer".to_owned() }, None);
        let missing = index.decide(bot, &pods("delete", Some("a"))).unwrap_err();
        assert_eq!(missing[0].to_string(), "role.rbac.authorization.k8s.io \"killer\" not found");
        index.set_binding(None, "all", None);
        assert_eq!(why(&index, joe, pods("get", None)), Err(Vec::new()));
        assert!(index.cluster.users.is_empty() && index.cluster.groups.is_empty());
    }

    #[test]
    fn somebody_bound_twice_by_one_binding_has_its_rules_once() {
        let people = ["people".to_owned()];
        let jane = Who { user: "jane", groups: &people };
        assert_eq!(index().rules(jane, Some("a")).0.len(), 1);
    }
}
