//! The steps of a rollout.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

use super::annotations::revision;
use super::numbers::{Strategy, actual, available, wanted};
use super::plan::{Step, Which, Work};
use super::status::is_complete;
use crate::owner::controller_of;
use crate::pod;

/// Plans the next step of a rollout.
pub(crate) fn plan_rollout(work: &mut Work<'_>, pods: &[Arc<Pod>]) {
    let moved = match work.settings.strategy {
        Strategy::Rolling { .. } => plan_rolling(work),
        Strategy::Recreate => plan_recreate(work, pods),
    };
    if !moved && is_complete(work) {
        plan_cleanup(work);
    }
}

fn plan_rolling(work: &mut Work<'_>) -> bool {
    if work.new.is_none() {
        let replicas = new_replicas(work);
        work.create_new(replicas);
        return true;
    }
    work.adopt_new_revision();
    let replicas = new_replicas(work);
    work.scale(Which::New, replicas) || shrink_old(work)
}

/// How many replicas the new ReplicaSet may have now.
fn new_replicas(work: &Work<'_>) -> i32 {
    let current = work.new.as_ref().map_or(0, wanted);
    let settings = &work.settings;
    if current >= settings.replicas {
        return settings.replicas;
    }
    let total: i32 = work.all().map(wanted).sum();
    let room = settings.replicas + settings.max_surge() - total;
    current + room.clamp(0, settings.replicas - current)
}

/// Shrinks old ReplicaSets as far as availability allows: first pods that are not available, then others.
fn shrink_old(work: &mut Work<'_>) -> bool {
    let settings = &work.settings;
    let old_total: i32 = work.old.iter().map(wanted).sum();
    if old_total == 0 {
        return false;
    }
    let new = work.new.as_ref();
    let total = old_total + new.map_or(0, wanted);
    let available_min = settings.replicas - settings.max_unavailable();
    let new_unavailable = new.map_or(0, |new| wanted(new) - available(new));
    let room = total - available_min - new_unavailable;
    if room <= 0 {
        return false;
    }
    let available_total: i32 = work.all().map(available).sum();

    let unhealthy = shrink_each(work, room, |set| wanted(set) - available(set));
    // What is not available is not missed; what is, may go down to the minimum.
    let healthy = shrink_each(work, available_total - available_min, wanted);
    unhealthy || healthy
}

/// Takes up to `room` replicas off the old ReplicaSets, oldest first, from each at most what `spare` says.
fn shrink_each(work: &mut Work<'_>, mut room: i32, spare: impl Fn(&ReplicaSet) -> i32) -> bool {
    let mut moved = false;
    for index in 0..work.old.len() {
        let set = &work.old[index];
        let by = room.min(spare(set)).min(wanted(set));
        if by > 0 {
            let replicas = wanted(set) - by;
            moved |= work.scale(Which::Old(index), replicas);
            room -= by;
        }
    }
    moved
}

fn plan_recreate(work: &mut Work<'_>, pods: &[Arc<Pod>]) -> bool {
    work.adopt_new_revision();
    let mut moved = false;
    for index in 0..work.old.len() {
        if wanted(&work.old[index]) > 0 {
            moved |= work.scale(Which::Old(index), 0);
        }
    }
    if moved || old_pods_run(work, pods) {
        return true;
    }
    let replicas = work.settings.replicas;
    if work.new.is_none() {
        work.create_new(replicas);
        return true;
    }
    work.scale(Which::New, replicas)
}

/// Whether pods of old ReplicaSets run, those that are terminating included.
fn old_pods_run(work: &Work<'_>, pods: &[Arc<Pod>]) -> bool {
    let new_uid = work.new.as_ref().and_then(|new| new.metadata.uid.as_deref());
    let is_old = |pod: &Pod| controller_of(&pod.metadata).map(|owner| owner.uid.as_str()) != new_uid;
    work.old.iter().any(|set| actual(set) > 0) || pods.iter().any(|pod| is_old(pod) && !pod::is_terminal(pod))
}

/// Deletes the oldest ReplicaSets beyond the history limit, if they are empty.
pub(crate) fn plan_cleanup(work: &mut Work<'_>) {
    let Some(limit) = work.settings.revision_history_limit else { return };
    let mut alive: Vec<_> = work.old.iter().filter(|set| set.metadata.deletion_timestamp.is_none()).collect();
    let surplus = alive.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    alive.sort_by_key(|set| (revision(&set.metadata), set.metadata.creation_timestamp.as_ref().map(|time| time.0)));
    let settled = |set: &&&ReplicaSet| {
        let observed = set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
        actual(set) == 0 && wanted(set) == 0 && set.metadata.generation.unwrap_or(0) <= observed
    };
    let steps: Vec<_> =
        alive.iter().take(surplus).filter(settled).map(|set| Step::Delete(Arc::new(ReplicaSet::clone(set)))).collect();
    work.steps.extend(steps);
}
