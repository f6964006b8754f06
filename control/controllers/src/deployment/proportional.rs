//! A change of size while several ReplicaSets have pods: each gets its share.

use std::cmp::Reverse;

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::annotations::{desired_replicas, max_replicas};
use super::numbers::{Settings, Strategy, actual, available, wanted};
use super::plan::{Which, Work, age_order};

/// Scales a Deployment's ReplicaSets to its size without moving the rollout on.
pub(crate) fn plan_scale(work: &mut Work<'_>) {
    let active: Vec<Which> = each(work).filter(|which| set(work, *which).is_some_and(|set| wanted(set) > 0)).collect();
    let replicas = work.settings.replicas;
    if active.len() <= 1 {
        let newest = work.old.len().checked_sub(1).map(Which::Old);
        let only = active.first().copied().or_else(|| work.new.is_some().then_some(Which::New)).or(newest);
        if let Some(which) = only {
            work.scale(which, replicas);
        }
        return;
    }
    if work.new.as_ref().is_some_and(|new| is_saturated(new, replicas)) {
        for which in active.into_iter().filter(|which| *which != Which::New) {
            work.scale(which, 0);
        }
        return;
    }
    if matches!(work.settings.strategy, Strategy::Rolling { .. }) {
        scale_in_proportion(work, active);
    }
}

fn each(work: &Work<'_>) -> impl Iterator<Item = Which> + use<> {
    let new = work.new.is_some().then_some(Which::New);
    (0..work.old.len()).map(Which::Old).chain(new)
}

fn set<'a>(work: &'a Work<'_>, which: Which) -> Option<&'a ReplicaSet> {
    match which {
        Which::New => work.new.as_ref(),
        Which::Old(index) => work.old.get(index),
    }
}

/// Whether the new ReplicaSet has all the pods there should be.
fn is_saturated(new: &ReplicaSet, replicas: i32) -> bool {
    wanted(new) == replicas && desired_replicas(new) == Some(replicas) && available(new) == replicas
}

fn scale_in_proportion(work: &mut Work<'_>, mut active: Vec<Which>) {
    let settings = &work.settings;
    let total: i32 = active.iter().filter_map(|which| set(work, *which)).map(wanted).sum();
    let allowed = if settings.replicas > 0 { settings.replicas + settings.max_surge() } else { 0 };
    let to_add = allowed - total;
    // The larger first; of equal ones the newer first when growing, the older first when shrinking.
    let by_age = |which: &Which| {
        set(work, *which).map(|set| {
            let (time, name) = age_order(set);
            (time, name.map(str::to_owned))
        })
    };
    let size = |which: &Which| set(work, *which).map_or(0, wanted);
    if to_add > 0 {
        active.sort_by_key(|which| (Reverse(size(which)), Reverse(by_age(which))));
    } else {
        active.sort_by_key(|which| (Reverse(size(which)), by_age(which)));
    }

    let before: i32 = work.deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
    let mut added = 0;
    let mut targets = Vec::with_capacity(active.len());
    for which in &active {
        let Some(set) = set(work, *which) else { continue };
        let share = if to_add == 0 { 0 } else { share(set, settings, before, to_add - added) };
        added += share;
        targets.push((*which, wanted(set) + share));
    }
    // What rounding left over goes to the largest.
    if let Some((_, first)) = targets.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    for (which, replicas) in targets {
        work.scale(which, replicas);
    }
}

/// How many replicas a ReplicaSet gains, or loses, of the `left` that are to be shared out.
fn share(set: &ReplicaSet, settings: &Settings, status_replicas: i32, left: i32) -> i32 {
    let fraction = fraction(set, settings, status_replicas);
    if left > 0 { fraction.clamp(0, left) } else { fraction.clamp(left, 0) }
}

fn fraction(set: &ReplicaSet, settings: &Settings, status_replicas: i32) -> i32 {
    if settings.replicas == 0 {
        return -wanted(set);
    }
    let before = max_replicas(set).filter(|max| *max > 0).unwrap_or(status_replicas.max(actual(set)));
    if before <= 0 {
        return 0;
    }
    let max = i64::from(settings.replicas + settings.max_surge());
    let (size, before) = (i64::from(wanted(set)), i64::from(before));
    // Rounded to the nearest, halves up.
    let target = (2 * size * max + before).div_euclid(2 * before);
    i32::try_from(target - size).unwrap_or(0)
}
