//! Which of its names a definition gets, and what its status says about it.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Condition;

/// The status of a definition beside the others of its group, or `None` where it is as it should be.
pub(crate) fn status(
    definition: &api::CustomResourceDefinition,
    others: &[&api::CustomResourceDefinition],
    now: &Time,
) -> Option<api::CustomResourceDefinitionStatus> {
    let taken = Taken::by(definition, others);
    let before = definition.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let (accepted, conflict) = accept(definition, &taken);
    status.accepted_names = Some(accepted);
    let (value, reason, message) = match &conflict {
        Some((reason, message)) => ("False", *reason, message.as_str()),
        None => ("True", "NoConflicts", "no conflicts found"),
    };
    let now = Some(now.clone());
    Condition { kind: "NamesAccepted", status: value, reason, message }.set(&mut status, now.clone());
    let established = super::is_true(definition, "Established");
    match conflict {
        None if !established => Condition {
            kind: "Established",
            status: "True",
            reason: "InitialNamesAccepted",
            message: "the initial names have been accepted",
        }
        .set(&mut status, now.clone()),
        Some(_) if !established => Condition {
            kind: "Established",
            status: "False",
            reason: "NotAccepted",
            message: "not all names are accepted",
        }
        .set(&mut status, now.clone()),
        _ => {}
    }
    approval(definition, &mut status, now);
    (status != before).then_some(status)
}

/// Groups of Kubernetes itself need its approval.
fn approval(
    definition: &api::CustomResourceDefinition,
    status: &mut api::CustomResourceDefinitionStatus,
    now: Option<Time>,
) {
    if !super::validate::is_protected(&definition.spec.group) {
        return;
    }
    let annotation = super::validate::approval(definition);
    let unapproved = format!("not approved: \"{annotation}\"");
    let approved = format!("approved in {annotation}");
    let (value, reason, message) = if annotation.starts_with("unapproved") {
        ("False", "UnapprovedAnnotation", unapproved)
    } else {
        ("True", "ApprovedAnnotation", approved)
    };
    Condition { kind: "KubernetesAPIApprovalPolicyConformant", status: value, reason, message: &message }
        .set(status, now);
}

/// Names that other definitions of the group have.
#[derive(Default)]
struct Taken<'a> {
    resources: BTreeSet<&'a str>,
    kinds: BTreeSet<&'a str>,
}

impl<'a> Taken<'a> {
    fn by(definition: &'a api::CustomResourceDefinition, others: &[&'a api::CustomResourceDefinition]) -> Self {
        let mut taken = Self::default();
        for other in others {
            if other.spec.group != definition.spec.group || other.metadata.name == definition.metadata.name {
                continue;
            }
            let Some(names) = other.status.as_ref().and_then(|status| status.accepted_names.as_ref()) else { continue };
            taken.resources.insert(&names.plural);
            taken.resources.extend(names.singular.as_deref());
            taken.resources.extend(names.short_names.iter().flatten().map(String::as_str));
            taken.kinds.insert(&names.kind);
            taken.kinds.extend(names.list_kind.as_deref());
        }
        taken.resources.remove("");
        taken.kinds.remove("");
        taken
    }
}

/// The names that it may have, and the last conflict: reason and message.
fn accept(
    definition: &api::CustomResourceDefinition,
    taken: &Taken<'_>,
) -> (api::CustomResourceDefinitionNames, Option<(&'static str, String)>) {
    let wanted = &definition.spec.names;
    let had = definition.status.as_ref().and_then(|status| status.accepted_names.clone()).unwrap_or_default();
    let mut names = had.clone();
    let mut conflict = None;
    let in_use = |name: &str| format!("\"{name}\" is already in use");
    let fresh = |name: &str, had: &str, used: &BTreeSet<&str>| name == had || !used.contains(name);
    if fresh(&wanted.plural, &had.plural, &taken.resources) {
        names.plural.clone_from(&wanted.plural);
    } else {
        conflict = Some(("PluralConflict", in_use(&wanted.plural)));
    }
    let singular = wanted.singular.as_deref().unwrap_or_default();
    if fresh(singular, had.singular.as_deref().unwrap_or_default(), &taken.resources) {
        names.singular.clone_from(&wanted.singular);
    } else {
        conflict = Some(("SingularConflict", in_use(singular)));
    }
    let own = had.short_names.as_deref().unwrap_or_default();
    let short = wanted.short_names.iter().flatten();
    let faults: Vec<String> = short
        .filter(|name| !own.contains(name) && taken.resources.contains(name.as_str()))
        .map(|n| in_use(n))
        .collect();
    match faults.as_slice() {
        [] => names.short_names.clone_from(&wanted.short_names),
        [one] => conflict = Some(("ShortNamesConflict", one.clone())),
        several => conflict = Some(("ShortNamesConflict", format!("[{}]", several.join(", ")))),
    }
    if fresh(&wanted.kind, &had.kind, &taken.kinds) {
        names.kind.clone_from(&wanted.kind);
    } else {
        conflict = Some(("KindConflict", in_use(&wanted.kind)));
    }
    let list = wanted.list_kind.as_deref().unwrap_or_default();
    if fresh(list, had.list_kind.as_deref().unwrap_or_default(), &taken.kinds) {
        names.list_kind.clone_from(&wanted.list_kind);
    } else {
        conflict = Some(("ListKindConflict", in_use(list)));
    }
    names.categories.clone_from(&wanted.categories);
    (names, conflict)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(plural: &str, kind: &str, short: &[&str]) -> api::CustomResourceDefinition {
        serde_json::from_value(json!({
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {"group": "example.com", "scope": "Namespaced", "versions": [],
                "names": {"plural": plural, "kind": kind, "listKind": format!("{kind}List"), "shortNames": short}},
        }))
        .unwrap()
    }

    #[test]
    fn names_are_accepted_once() {
        let now = Time(jiff::Timestamp::UNIX_EPOCH);
        let mut first = definition("foos", "Foo", &["f"]);
        first.status = status(&first, &[], &now);
        assert!(super::super::is_true(&first, "Established") && super::super::is_true(&first, "NamesAccepted"));
        assert_eq!(status(&first, &[&first], &now), None);

        let mut second = definition("bars", "Foo", &["f"]);
        second.status = status(&second, &[&first, &second], &now);
        assert!(!super::super::is_true(&second, "Established"));
        let conditions = second.status.as_ref().unwrap().conditions.as_ref().unwrap();
        assert_eq!(conditions[0].reason.as_deref(), Some("ListKindConflict"));
        assert_eq!(conditions[0].message.as_deref(), Some("\"FooList\" is already in use"));
        assert_eq!(second.status.as_ref().unwrap().accepted_names.as_ref().unwrap().plural, "bars");
    }
}
