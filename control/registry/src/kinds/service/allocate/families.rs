//! Which address families a Service has (KEP-563).

use ipnet::IpNet;
use k8s_openapi::api::core::v1::ServiceSpec;

use super::super::is_headless;
use crate::field::{Errors, Path};

const SINGLE: &str = "SingleStack";
const REQUIRE: &str = "RequireDualStack";
const PREFER: &str = "PreferDualStack";

/// `IPv4` or `IPv6`.
pub(super) fn family(is_ipv4: bool) -> &'static str {
    if is_ipv4 { "IPv4" } else { "IPv6" }
}

/// The range that addresses of a family come from.
pub(super) fn range_of<'a>(ranges: &'a [IpNet], of: &str) -> Option<&'a IpNet> {
    ranges.iter().find(|range| family(range.addr().is_ipv4()) == of)
}

/// Fills in `ipFamilyPolicy` and `ipFamilies`; false where they are not to be had. The cluster's first range is of its default family.
pub(super) fn choose(errors: &mut Errors, spec: &mut ServiceSpec, old: Option<&ServiceSpec>, ranges: &[IpNet]) -> bool {
    // A Service that prefers two families does not follow the cluster when that gets another one, or loses one.
    let prefers = |spec: &ServiceSpec| spec.ip_family_policy.as_deref() == Some(PREFER);
    if old.is_some_and(|old| {
        prefers(old) && prefers(spec) && old.cluster_ips == spec.cluster_ips && old.ip_families == spec.ip_families
    }) {
        return true;
    }
    let before = errors.len();
    let unselected = spec.selector.as_ref().is_none_or(std::collections::BTreeMap::is_empty);
    let open = is_headless(spec) && unselected;
    let policy = match (&spec.ip_family_policy, old.and_then(|old| old.ip_family_policy.clone())) {
        (Some(policy), _) => policy.clone(),
        (None, Some(policy)) => policy,
        (None, None) => if open { REQUIRE } else { SINGLE }.to_owned(),
    };
    spec.ip_family_policy = Some(policy.clone());
    let at = Path::root("spec.ipFamilyPolicy");
    if let Some(old) = old {
        reduce(errors, &at, spec, old, &policy);
    }
    if policy == SINGLE {
        let several = |what: &str| format!("must be '{REQUIRE}' or '{PREFER}' when multiple {what} are specified");
        if len(spec.cluster_ips.as_ref()) == 2 {
            errors.invalid(&at, policy.as_str(), &several("cluster IPs"));
        }
        if len(spec.ip_families.as_ref()) == 2 {
            errors.invalid(&at, policy.as_str(), &several("IP families"));
        }
    }
    take_from_addresses(errors, spec, ranges);
    if errors.len() > before {
        return false;
    }
    let default = ranges.first().map_or("IPv4", |range| family(range.addr().is_ipv4()));
    let families = spec.ip_families.get_or_insert_default();
    if !open {
        if policy == REQUIRE && ranges.len() < 2 {
            errors.invalid(&at, policy.as_str(), "this cluster is not configured for dual-stack services");
        }
        for (i, family) in families.iter().enumerate().filter(|(_, family)| range_of(ranges, family).is_none()) {
            let path = Path::root("spec.ipFamilies");
            errors.invalid(&path.index(i), family.as_str(), "not configured on this cluster");
        }
    }
    if errors.len() > before {
        return false;
    }
    if families.is_empty() {
        families.push(default.to_owned());
    }
    // Whoever writes the endpoints of a headless Service without a selector may use either family.
    if policy != SINGLE && families.len() == 1 && (open || ranges.len() == 2) {
        let other = family(families[0] != family(true));
        families.push(other.to_owned());
    }
    true
}

/// A second address and family go only where the policy says so.
fn reduce(errors: &mut Errors, at: &Path<'_>, spec: &mut ServiceSpec, old: &ServiceSpec, policy: &str) {
    if policy == SINGLE {
        if spec.cluster_ips == old.cluster_ips {
            spec.cluster_ips.iter_mut().for_each(|ips| ips.truncate(1));
        }
        if spec.ip_families == old.ip_families {
            spec.ip_families.iter_mut().for_each(|families| families.truncate(1));
        }
        return;
    }
    let reduced = |new: usize, old: usize| new > 0 && new < old;
    if reduced(len(spec.cluster_ips.as_ref()), len(old.cluster_ips.as_ref())) {
        errors.invalid(at, policy, "must be 'SingleStack' to release the secondary cluster IP");
    }
    if reduced(len(spec.ip_families.as_ref()), len(old.ip_families.as_ref())) {
        errors.invalid(at, policy, "must be 'SingleStack' to release the secondary IP family");
    }
}

/// An address that is asked for says its family where `ipFamilies` does not.
fn take_from_addresses(errors: &mut Errors, spec: &mut ServiceSpec, ranges: &[IpNet]) {
    let asked = spec.cluster_ips.clone().unwrap_or_default();
    let families = spec.ip_families.get_or_insert_default();
    for (i, ip) in asked.iter().enumerate().skip(families.len()) {
        // What is no address is for the validation to name.
        let Ok(address) = ip.parse::<std::net::IpAddr>() else { return };
        let family = family(address.is_ipv4());
        if range_of(ranges, family).is_none() {
            let path = Path::root("spec.clusterIPs");
            errors.invalid(&path.index(i), asked.clone(), &format!("{family} is not configured on this cluster"));
        } else {
            families.push(family.to_owned());
        }
    }
}

fn len(list: Option<&Vec<String>>) -> usize {
    list.map_or(0, Vec::len)
}
