//! What a Deployment needs next, from what is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::annotations::{desired_replicas, note_revision, note_size, revision, size_outdated};
use super::hash::{POD_TEMPLATE_HASH, same_template, template_hash};
use super::numbers::{Settings, deployment_name, wanted};
use super::{proportional, rollout, status};
use crate::owner::{claim, controller_reference};
use crate::selector;

/// A Deployment and its surroundings.
pub(crate) struct Observed {
    pub(crate) deployment: Arc<Deployment>,
    /// Its ReplicaSets, and those of its namespace that nobody controls.
    pub(crate) replica_sets: Vec<Arc<ReplicaSet>>,
    /// Pods of the Deployment's ReplicaSets; only where it recreates.
    pub(crate) pods: Vec<Arc<Pod>>,
    pub(crate) now: Timestamp,
}

/// One write to a ReplicaSet.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Create(Box<ReplicaSet>),
    Update {
        new: Box<ReplicaSet>,
        /// Wanted replicas before.
        from: i32,
    },
    Delete(Arc<ReplicaSet>),
}

/// What to do.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) adopt: Vec<Arc<ReplicaSet>>,
    pub(crate) release: Vec<Arc<ReplicaSet>>,
    pub(crate) steps: Vec<Step>,
    /// The revision to note on the Deployment.
    pub(crate) revision: Option<i64>,
    pub(crate) status: DeploymentStatus,
    /// When the rollout will have taken too long.
    pub(crate) deadline_in: Option<SignedDuration>,
}

/// A Deployment's ReplicaSets, as the plan has changed them so far, and the changes.
pub(crate) struct Work<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) settings: Settings,
    pub(crate) new: Option<ReplicaSet>,
    /// By age, oldest first.
    pub(crate) old: Vec<ReplicaSet>,
    /// The highest revision of `old`, plus one.
    pub(crate) next_revision: i64,
    pub(crate) steps: Vec<Step>,
    pub(crate) conditions: status::Conditions,
    pub(crate) now: Timestamp,
}

/// Plans one Deployment.
pub(crate) fn plan(observed: &Observed) -> Plan {
    let deployment = observed.deployment.as_ref();
    let spec = &deployment.spec;
    if selector::is_empty(&spec.selector) {
        // Validation refuses it; were one there, it must not take all ReplicaSets.
        let mut status = deployment.status.clone().unwrap_or_default();
        status.observed_generation = deployment.metadata.generation;
        return Plan { status, ..Plan::default() };
    }
    let claims = claim(&deployment.metadata, &spec.selector, &observed.replica_sets);
    let mut work = Work::new(deployment, Settings::of(spec), &spec.template, &claims.owned, observed.now);

    let going = deployment.metadata.deletion_timestamp.is_some();
    if !going {
        work.conditions.note_paused(&work.settings, observed.now);
    }
    let rolling_out = !going && !work.settings.paused && !work.is_scaling();
    if going {
        // Only the status is kept up to date.
    } else if rolling_out {
        rollout::plan_rollout(&mut work, &observed.pods);
    } else {
        work.adopt_new_revision();
        proportional::plan_scale(&mut work);
        if work.settings.paused {
            rollout::plan_cleanup(&mut work);
        }
    }
    let (status, deadline_in) = status::plan_status(&mut work, rolling_out);
    let noted = revision(&deployment.metadata);
    let wanted_revision = work.new.as_ref().map(|new| revision(&new.metadata)).filter(|revision| *revision > 0);
    Plan {
        adopt: claims.adopt,
        release: claims.release,
        steps: work.steps,
        revision: wanted_revision.filter(|revision| !going && *revision != noted),
        status,
        deadline_in,
    }
}

impl<'a> Work<'a> {
    fn new(
        deployment: &'a Deployment,
        settings: Settings,
        template: &PodTemplateSpec,
        owned: &[Arc<ReplicaSet>],
        now: Timestamp,
    ) -> Self {
        let mut sets: Vec<ReplicaSet> = owned.iter().map(|set| ReplicaSet::clone(set)).collect();
        sets.sort_by(|a, b| age_order(a).cmp(&age_order(b)));
        let is_new = |set: &ReplicaSet| set.spec.template.as_ref().is_some_and(|own| same_template(own, template));
        // Of several with the template the oldest counts, so that which one it is does not change.
        let new = sets.iter().position(is_new).map(|index| sets.remove(index));
        let next_revision = sets.iter().map(|set| revision(&set.metadata)).max().unwrap_or(0) + 1;
        let conditions = status::Conditions::of(deployment);
        Self { deployment, settings, new, old: sets, next_revision, steps: Vec::new(), conditions, now }
    }

    /// All ReplicaSets, old ones first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new)
    }

    /// Whether the Deployment's size was changed since its ReplicaSets were last scaled.
    fn is_scaling(&self) -> bool {
        let mut active = self.all().filter(|set| wanted(set) > 0);
        active.any(|set| desired_replicas(set).is_some_and(|desired| desired != self.settings.replicas))
    }

    /// Notes revision, annotations and readiness time on the new ReplicaSet, if there is one.
    pub(crate) fn adopt_new_revision(&mut self) {
        let Some(new) = &mut self.new else { return };
        let before = new.clone();
        note_revision(new, self.deployment, self.next_revision);
        if new.spec.min_ready_seconds.unwrap_or(0) != self.settings.min_ready_seconds {
            new.spec.min_ready_seconds = Some(self.settings.min_ready_seconds);
        }
        if *new != before {
            let changed = new.clone();
            self.push_update(changed);
        }
        let name = self.new.as_ref().and_then(|new| new.metadata.name.clone()).unwrap_or_default();
        self.conditions.note_found(&self.settings, &name, self.now);
    }

    /// Plans the new ReplicaSet with `replicas`, where there is none.
    pub(crate) fn create_new(&mut self, replicas: i32) {
        let spec = &self.deployment.spec;
        let collisions = self.deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
        let mut new = new_replica_set(self.deployment, &spec.selector, &spec.template, collisions);
        new.spec.replicas = Some(replicas);
        new.spec.min_ready_seconds = (self.settings.min_ready_seconds > 0).then_some(self.settings.min_ready_seconds);
        note_revision(&mut new, self.deployment, self.next_revision);
        note_size(&mut new, &self.settings);
        let name = new.metadata.name.clone().unwrap_or_default();
        self.conditions.note_created(&self.settings, &name, self.now);
        self.steps.push(Step::Create(Box::new(new.clone())));
        self.new = Some(new);
    }

    /// Scales a ReplicaSet and notes the Deployment's size on it. True if its number changes.
    pub(crate) fn scale(&mut self, which: Which, replicas: i32) -> bool {
        let set = match which {
            Which::New => self.new.as_mut(),
            Which::Old(index) => self.old.get_mut(index),
        };
        let Some(set) = set else { return false };
        let from = wanted(set);
        if from == replicas && !size_outdated(set, &self.settings) {
            return false;
        }
        note_size(set, &self.settings);
        set.spec.replicas = Some(replicas);
        let changed = set.clone();
        self.push_update_from(changed, from);
        from != replicas
    }

    fn push_update(&mut self, new: ReplicaSet) {
        let from = wanted(&new);
        self.push_update_from(new, from);
    }

    /// Adds an update, or folds it into the one that is planned for the same ReplicaSet.
    fn push_update_from(&mut self, changed: ReplicaSet, from: i32) {
        for step in &mut self.steps {
            match step {
                Step::Update { new, .. } if new.metadata.uid == changed.metadata.uid => {
                    **new = changed;
                    return;
                }
                _ => {}
            }
        }
        self.steps.push(Step::Update { new: Box::new(changed), from });
    }
}

/// A ReplicaSet among a Deployment's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    New,
    /// By index.
    Old(usize),
}

/// Oldest first, then by name.
pub(crate) fn age_order(set: &ReplicaSet) -> (Option<Timestamp>, Option<&str>) {
    (set.metadata.creation_timestamp.as_ref().map(|time| time.0), set.metadata.name.as_deref())
}

fn new_replica_set(
    deployment: &Deployment,
    selector: &LabelSelector,
    template: &PodTemplateSpec,
    collisions: i32,
) -> ReplicaSet {
    let hash = template_hash(template, collisions);
    let mut template = template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(POD_TEMPLATE_HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = selector.clone();
    let pairs: &mut BTreeMap<_, _> = selector.match_labels.get_or_insert_default();
    pairs.insert(POD_TEMPLATE_HASH.to_owned(), hash.clone());
    // A name is at most 253 characters, and the hash must stay.
    let base: String = deployment_name(deployment).chars().take(253 - 1 - hash.len()).collect();
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{base}-{hash}")),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec { selector, template: Some(template), ..ReplicaSetSpec::default() },
        status: None,
    }
}

#[cfg(test)]
mod tests;
