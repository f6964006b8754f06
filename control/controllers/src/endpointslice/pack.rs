//! Endpoints into slices of at most 100, with as few writes as possible.

use std::collections::HashMap;

use k8s_openapi::api::discovery::v1::Endpoint;

/// Endpoints that a slice holds at most.
pub(crate) const ENDPOINTS_MAX: usize = 100;

/// What becomes of the slices of one group.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Packed {
    /// New contents of existing slices, by index; those not named stay as they are.
    pub(crate) changed: Vec<(usize, Vec<Endpoint>)>,
    /// Contents of new slices.
    pub(crate) new: Vec<Vec<Endpoint>>,
    /// Existing slices that are empty now, by index.
    pub(crate) emptied: Vec<usize>,
}

/// An endpoint's identity: one that keeps it can be changed in place.
fn identity(endpoint: &Endpoint) -> (Vec<String>, Option<String>) {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
    (endpoint.addresses.clone(), uid)
}

/// Packs `desired` into the existing slices and new ones. First each slice drops and changes what it has to; then what
/// is left fills the slices that are written anyway, then the fullest other one that takes all the rest, then new ones.
pub(crate) fn pack(existing: &[Vec<Endpoint>], desired: Vec<Endpoint>) -> Packed {
    let mut missing: HashMap<_, _> = desired.iter().map(|endpoint| (identity(endpoint), endpoint)).collect();
    let mut kept: Vec<(Vec<Endpoint>, bool)> = existing
        .iter()
        .map(|slice| {
            let endpoints: Vec<_> =
                slice.iter().filter_map(|endpoint| missing.remove(&identity(endpoint)).cloned()).collect();
            let changed = endpoints != *slice;
            (endpoints, changed)
        })
        .collect();
    let mut rest: Vec<Endpoint> =
        desired.iter().filter(|endpoint| missing.remove(&identity(endpoint)).is_some()).cloned().collect();

    let mut order: Vec<usize> = (0..kept.len()).filter(|index| kept[*index].1).collect();
    order.sort_by_key(|index| std::cmp::Reverse(kept[*index].0.len()));
    for index in order {
        let room = ENDPOINTS_MAX.saturating_sub(kept[index].0.len()).min(rest.len());
        kept[index].0.extend(rest.drain(..room));
    }
    let tail = rest.len() % ENDPOINTS_MAX;
    if tail > 0 {
        let fits = |index: &usize| !kept[*index].1 && kept[*index].0.len() + tail <= ENDPOINTS_MAX;
        let fullest = (0..kept.len()).filter(fits).max_by_key(|index| kept[*index].0.len());
        if let Some(index) = fullest {
            kept[index].0.extend(rest.drain(..tail));
            kept[index].1 = true;
        }
    }
    let mut packed = Packed { new: rest.chunks(ENDPOINTS_MAX).map(<[_]>::to_vec).collect(), ..Packed::default() };
    for (index, (endpoints, changed)) in kept.into_iter().enumerate() {
        if endpoints.is_empty() {
            packed.emptied.push(index);
        } else if changed {
            packed.changed.push((index, endpoints));
        }
    }
    packed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn endpoint(id: u32) -> Endpoint {
        Endpoint { addresses: vec![format!("10.0.{}.{}", id / 256, id % 256)], ..Endpoint::default() }
    }

    fn endpoints(ids: impl IntoIterator<Item = u32>) -> Vec<Endpoint> {
        ids.into_iter().map(endpoint).collect()
    }

    #[test]
    fn an_addition_touches_one_slice() {
        let existing = [endpoints(0..100), endpoints(100..150), endpoints(150..160)];
        let packed = pack(&existing, endpoints(0..161));
        assert_eq!(packed.changed.len(), 1);
        assert_eq!(packed.changed[0].0, 1);
        assert!(packed.new.is_empty() && packed.emptied.is_empty());
    }

    #[test]
    fn nothing_changes_when_nothing_did() {
        let existing = [endpoints(0..100), endpoints(100..150)];
        assert_eq!(pack(&existing, endpoints(0..150)), Packed::default());
    }

    #[test]
    fn a_replacement_stays_in_its_slice() {
        let existing = [endpoints(0..100), endpoints(100..200)];
        let packed = pack(&existing, endpoints((1..200).chain([300])));
        assert_eq!(packed.changed.len(), 1);
        assert_eq!((packed.changed[0].0, packed.changed[0].1.len()), (0, 100));
    }

    proptest! {
        #[test]
        fn all_that_is_desired_is_there_once(
            before in prop::collection::btree_set(0..400u32, 0..300),
            after in prop::collection::btree_set(0..400u32, 0..300),
        ) {
            let before: Vec<_> = before.into_iter().collect();
            let existing: Vec<_> = before.chunks(100).map(|ids| endpoints(ids.iter().copied())).collect();
            let packed = pack(&existing, endpoints(after.iter().copied()));
            let mut slices = existing;
            for (index, contents) in packed.changed {
                slices[index] = contents;
            }
            for index in packed.emptied {
                slices[index].clear();
            }
            slices.extend(packed.new);
            prop_assert!(slices.iter().all(|slice| slice.len() <= ENDPOINTS_MAX));
            let all: Vec<_> = slices.into_iter().flatten().map(|endpoint| endpoint.addresses[0].clone()).collect();
            let unique: BTreeSet<_> = all.iter().cloned().collect();
            prop_assert_eq!(all.len(), unique.len());
            let wanted: BTreeSet<_> = endpoints(after).into_iter().map(|endpoint| endpoint.addresses[0].clone()).collect();
            prop_assert_eq!(unique, wanted);
        }
    }
}
