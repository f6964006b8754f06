//! Prefixes of the cluster against those that the kernel holds.

use std::collections::{BTreeMap, BTreeSet};

use skep_abi::{IPCACHE, Ip, PrefixKey, REMOTE_NODE, REMOTE_PODS, REMOTE_TUNNEL, Remote};
use skep_netmodel::{RemoteKind, RemoteSpec};

use crate::Full;

/// What the kernel holds of prefixes.
#[derive(Clone, Debug, Default)]
pub struct RemoteHeld {
    /// `IPCACHE`.
    pub remotes: Vec<(PrefixKey, Remote)>,
    /// Names of nodes, by id.
    pub names: BTreeMap<u32, String>,
    /// Size of `IPCACHE`.
    pub capacity: u32,
}

/// Writes to carry out field by field, from the first to the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemotePlan {
    /// Names of nodes that had no id.
    pub names: Vec<(u32, String)>,
    /// Prefixes that are new or differ.
    pub remotes: Vec<(PrefixKey, Remote)>,
    /// Prefixes that are no one's any more.
    pub removed: Vec<PrefixKey>,
    /// Ids of nodes that are gone.
    pub removed_names: Vec<u32>,
}

/// Plans the full view: what is not in it goes. A node keeps its id for as long as it has a prefix.
///
/// # Errors
/// There are more prefixes than the map holds, together with those that go after the new ones have come.
pub fn plan_remotes(specs: &[RemoteSpec], held: &RemoteHeld) -> Result<RemotePlan, Full> {
    let mut plan = RemotePlan::default();
    let mut ids: BTreeMap<&str, u32> = held.names.iter().map(|(id, name)| (name.as_str(), *id)).collect();
    let mut taken: BTreeSet<u32> = held.names.keys().copied().collect();
    let mut free = (1..).filter(|id| !held.names.contains_key(id));
    let mut wanted: BTreeMap<PrefixKey, Remote> = BTreeMap::new();
    for spec in specs {
        let id = match (spec.name.as_str(), ids.get(spec.name.as_str())) {
            ("", _) => 0,
            (_, Some(&id)) => id,
            (name, None) => {
                let id = free.next().unwrap_or(0);
                ids.insert(name, id);
                taken.insert(id);
                plan.names.push((id, name.to_owned()));
                id
            }
        };
        wanted.insert(key_of(spec), row_of(spec, id));
    }
    let current: BTreeMap<PrefixKey, Remote> = held.remotes.iter().copied().collect();
    plan.remotes =
        wanted.iter().filter(|(key, row)| current.get(*key) != Some(*row)).map(|(key, row)| (*key, *row)).collect();
    plan.removed = current.keys().filter(|key| !wanted.contains_key(*key)).copied().collect();
    let used: BTreeSet<u32> = wanted.values().map(|row| row.id).collect();
    plan.removed_names = taken.difference(&used).copied().collect();
    let needed = u32::try_from(wanted.len() + plan.removed.len()).unwrap_or(u32::MAX);
    if needed > held.capacity {
        return Err(Full { map: IPCACHE.name, capacity: held.capacity, needed });
    }
    Ok(plan)
}

fn key_of(spec: &RemoteSpec) -> PrefixKey {
    let before = if spec.prefix.addr().is_ipv4() { Ip::MAPPED_BITS } else { 0 };
    PrefixKey { bits: before + u32::from(spec.prefix.prefix_len()), addr: spec.prefix.network().into() }
}

fn row_of(spec: &RemoteSpec, id: u32) -> Remote {
    let kind = match spec.kind {
        RemoteKind::Pods => REMOTE_PODS,
        RemoteKind::Node => REMOTE_NODE,
        RemoteKind::Listed => 0,
    };
    let tunnel = if spec.tunnel { REMOTE_TUNNEL } else { 0 };
    Remote { node: spec.node.map_or(Ip::NONE, Ip::from), flags: kind | tunnel, id }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn spec(prefix: &str, name: &str, tunnel: bool) -> RemoteSpec {
        let node = (!name.is_empty()).then(|| "192.168.0.1".parse().unwrap());
        let kind = if name.is_empty() { RemoteKind::Listed } else { RemoteKind::Pods };
        RemoteSpec { prefix: prefix.parse().unwrap(), kind, node, name: name.to_owned(), tunnel }
    }

    fn carry_out(held: &mut RemoteHeld, plan: &RemotePlan) {
        held.names.extend(plan.names.iter().cloned());
        held.names.retain(|id, _| !plan.removed_names.contains(id));
        held.remotes.retain(|(key, _)| !plan.removed.contains(key) && plan.remotes.iter().all(|(new, _)| new != key));
        held.remotes.extend(&plan.remotes);
    }

    #[test]
    fn what_was_planned_needs_no_second_plan() {
        let mut held = RemoteHeld { capacity: 10, ..RemoteHeld::default() };
        let specs =
            [spec("10.42.1.0/24", "a", false), spec("fd00:1::/64", "a", false), spec("192.0.2.0/24", "", false)];
        let plan = plan_remotes(&specs, &held).unwrap();
        assert_eq!((plan.names.len(), plan.remotes.len()), (1, 3));
        assert_eq!(plan.remotes.iter().map(|(key, _)| key.bits).collect::<Vec<_>>(), [64, 120, 120]);
        carry_out(&mut held, &plan);
        assert_eq!(plan_remotes(&specs, &held).unwrap(), RemotePlan::default());
    }

    #[test]
    fn nodes_keep_their_ids_and_give_them_back() {
        let mut held = RemoteHeld { capacity: 10, ..RemoteHeld::default() };
        let both = [spec("10.42.1.0/24", "a", false), spec("10.42.2.0/24", "b", false)];
        let plan = plan_remotes(&both, &held).unwrap();
        carry_out(&mut held, &plan);
        let plan = plan_remotes(&[spec("10.42.2.0/24", "b", true), spec("10.42.3.0/24", "c", true)], &held).unwrap();
        assert_eq!(plan.removed_names, [1]);
        assert_eq!(plan.names, [(3, "c".to_owned())]);
        assert_eq!(plan.remotes[0].1.id, 2);
        assert_eq!(plan.removed.len(), 1);
    }

    #[test]
    fn a_map_that_is_too_small_is_refused_before_anything_is_written() {
        let held = RemoteHeld { capacity: 1, ..RemoteHeld::default() };
        let specs = [spec("10.42.1.0/24", "a", false), spec("10.42.2.0/24", "b", false)];
        let full = plan_remotes(&specs, &held).unwrap_err();
        assert_eq!(full.to_string(), "map IPCACHE holds 1 entries and needs at least 2");
    }
}
