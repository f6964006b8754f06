//! What objects count for in a quota, and whether there is room for one more.

mod scope;
mod usage;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use skep_registry::{Object, typed_ref};

pub use self::usage::count_name;

use crate::amounts::{Amount, Amounts};

/// A resource's objects, as quotas see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted<'a> {
    /// API group; empty for the core group.
    pub group: &'a str,
    /// Plural name.
    pub plural: &'a str,
}

/// One write that quotas are asked about.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    /// Of which resource.
    pub resource: Counted<'a>,
    /// As it will be.
    pub new: &'a dyn Object,
    /// As it is, where it is there.
    pub old: Option<&'a dyn Object>,
    /// Until when a pod that is being deleted has had its time.
    pub now: Timestamp,
}

impl Counted<'_> {
    /// Whether a write through a subresource may change what is used. Creation is a write without an old object.
    #[must_use]
    pub fn is_charged(&self, subresource: &str, creates: bool) -> bool {
        match (self.group, self.plural, subresource) {
            ("" | "events.k8s.io", "events", _) => false,
            ("", "services" | "persistentvolumeclaims", "") | ("", "pods", "resize") => true,
            ("", "persistentvolumeclaims", "status") => true,
            (_, _, subresource) => creates && subresource.is_empty(),
        }
    }

    /// The resource names of a quota that objects of this resource count for.
    pub fn names<'n>(&self, hard: &'n Amounts) -> Vec<&'n str> {
        hard.names().filter(|name| usage::is_for(*self, name)).collect()
    }

    /// Whether an object is what a quota is about.
    #[must_use]
    pub fn is_within(&self, quota: &ResourceQuota, object: &dyn Object) -> bool {
        scope::matches(quota, object)
    }

    /// What an object counts for.
    #[must_use]
    pub fn usage(&self, object: &dyn Object, now: Timestamp) -> Amounts {
        usage::of(*self, object, now)
    }
}

fn hard(quota: &ResourceQuota) -> Amounts {
    Amounts::from_api(quota.status.as_ref().and_then(|status| status.hard.as_ref()))
}

fn used(quota: &ResourceQuota) -> Amounts {
    Amounts::from_api(quota.status.as_ref().and_then(|status| status.used.as_ref()))
}

/// What is used of a quota once a write is done; `None` where it makes no difference.
///
/// # Errors
/// There is no room, or it is not known whether there is: upstream's words.
pub fn charge(quota: &ResourceQuota, write: &Write<'_>) -> Result<Option<Amounts>, String> {
    let (hard, used) = (hard(quota), used(quota));
    let name = quota.metadata.name.as_deref().unwrap_or_default();
    let concerned = write.resource.names(&hard);
    if concerned.is_empty() || !write.resource.is_within(quota, write.new) {
        return Ok(None);
    }
    if let Some(pod) = typed_ref::<Pod>(write.new)
        && let Some(missing) = usage::unspecified(&concerned, pod)
    {
        return Err(format!("failed quota: {name}: must specify {missing}"));
    }
    if concerned.iter().any(|name| used.get(name).is_none()) {
        return Err(format!("status unknown for quota: {name}, resources: {}", concerned.join(",")));
    }
    let mut more = write.resource.usage(write.new, write.now);
    if let Some(old) = write.old.filter(|old| write.resource.is_within(quota, *old)) {
        more = more.beyond(&write.resource.usage(old, write.now));
    }
    let more = more.filter(|name, amount| !amount.quantity.is_zero() && hard.get(name).is_some());
    if more.is_empty() {
        return Ok(None);
    }
    let mut total = used.clone();
    total.add(&more);
    let exceeded = |name: &str, _: Amount| {
        let (most, now) = (hard.get(name).unwrap_or_default(), total.get(name).unwrap_or_default());
        more.get(name).is_some() && now.quantity > most.quantity
    };
    let requested = more.filter(exceeded);
    if requested.is_empty() {
        return Ok(Some(total));
    }
    let (used, limited) = (used.filter(exceeded), hard.filter(exceeded));
    Err(format!("exceeded quota: {name}, requested: {requested}, used: {used}, limited: {limited}"))
}

#[cfg(test)]
mod tests;
