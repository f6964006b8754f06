//! Custom resources: what a CustomResourceDefinition makes of the API, as data and pure functions.
//!
//! [`definitions`] is the resource of definitions themselves. [`resources`] makes of a definition the resources that it
//! stands for, one for each version that is served, each with a strategy that knows its objects from their schema alone.
//! [`status`] says which names a definition gets beside the others.
//!
//! Invariants: no schema and no object makes anything here panic or go on without end: rules are evaluated within a
//! budget, and values are as deep as a parser lets them be.

mod cel;
mod column;
mod default;
mod definition;
mod embedded;
mod format;
mod jsonpath;
mod lists;
mod object;
mod prune;
mod rule;
mod scale;
mod strategy;
mod structural;
mod validate;

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use skep_registry::{Resource, Scope, Subresource};

/// Holds a definition until its objects are gone.
pub const FINALIZER: &str = definition::FINALIZER;

/// The resource `customresourcedefinitions`.
#[must_use]
pub fn definitions() -> Resource {
    skep_registry::resource::<definition::Definitions>()
}

/// The status that a definition is to have beside all others, or `None` where it has it.
#[must_use]
pub fn status(
    definition: &CustomResourceDefinition,
    others: &[&CustomResourceDefinition],
    now: &Time,
) -> Option<CustomResourceDefinitionStatus> {
    definition::status(definition, others, now)
}

/// Sets the condition `Terminating` of a definition.
pub fn set_terminating(
    definition: &mut CustomResourceDefinition,
    going_on: bool,
    reason: &str,
    message: &str,
    now: Time,
) {
    let status = definition.status.get_or_insert_default();
    let value = if going_on { "True" } else { "False" };
    definition::Condition { kind: "Terminating", status: value, reason, message }.set(status, Some(now));
}

/// Whether a definition's objects can be stored and served.
#[must_use]
pub fn is_established(definition: &CustomResourceDefinition) -> bool {
    definition::is_true(definition, "Established")
}

/// Whether two states of a definition serve the same in the same way.
#[must_use]
pub fn serves_alike(a: &CustomResourceDefinition, b: &CustomResourceDefinition) -> bool {
    let accepted = |definition: &CustomResourceDefinition| {
        definition.status.as_ref().and_then(|status| status.accepted_names.clone())
    };
    is_established(a) == is_established(b)
        && a.metadata.uid == b.metadata.uid
        && a.metadata.deletion_timestamp.is_some() == b.metadata.deletion_timestamp.is_some()
        && a.spec == b.spec
        && accepted(a) == accepted(b)
}

/// The resources of a definition: one for each version that is served; none before its names are accepted.
#[must_use]
pub fn resources(definition: &CustomResourceDefinition) -> Vec<Resource> {
    let accepted = definition.status.as_ref().and_then(|status| status.accepted_names.as_ref());
    let (Some(names), true) = (accepted, is_established(definition)) else { return Vec::new() };
    let name: Arc<str> = definition.metadata.name.as_deref().unwrap_or_default().into();
    let own = |names: Option<&Vec<String>>| -> Vec<Cow<'static, str>> {
        names.into_iter().flatten().cloned().map(Cow::Owned).collect()
    };
    let served = definition.spec.versions.iter().filter(|version| version.served);
    served
        .map(|version| {
            let below = version.subresources.as_ref();
            let status = below.is_some_and(|below| below.status.is_some()).then_some(Subresource::Status);
            let scale = below.is_some_and(|below| below.scale.is_some()).then_some(Subresource::Scale);
            Resource {
                group: definition.spec.group.clone().into(),
                version: version.name.clone().into(),
                kind: names.kind.clone().into(),
                list_kind: names.list_kind.clone().unwrap_or_default().into(),
                plural: names.plural.clone().into(),
                singular: names.singular.clone().unwrap_or_default().into(),
                short_names: own(names.short_names.as_ref()),
                categories: own(names.categories.as_ref()),
                scope: if definition.spec.scope == "Namespaced" { Scope::Namespaced } else { Scope::Cluster },
                subresources: status.into_iter().chain(scale).collect(),
                definition: Some(Arc::clone(&name)),
                slot: 0,
                stored: true,
                strategy: Box::new(strategy::Custom::new(definition, version)),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
