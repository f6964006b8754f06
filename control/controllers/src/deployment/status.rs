//! A Deployment's status: numbers and conditions.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::numbers::{Settings, actual, available, deployment_name, wanted};
use super::plan::Work;

const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// A Deployment's conditions, while they are planned.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Conditions(Vec<DeploymentCondition>);

impl Conditions {
    pub(crate) fn of(deployment: &Deployment) -> Self {
        Self(deployment.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default())
    }

    fn get(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.0.iter().find(|condition| condition.type_.as_deref() == Some(kind))
    }

    fn remove(&mut self, kind: &str) {
        self.0.retain(|condition| condition.type_.as_deref() != Some(kind));
    }

    /// Sets a condition, unless status and reason are as before. The transition time changes with the status only.
    fn set(&mut self, kind: &str, status: &str, reason: &str, message: String, now: Timestamp) {
        let current = self.get(kind);
        if current.is_some_and(|current| {
            current.status.as_deref() == Some(status) && current.reason.as_deref() == Some(reason)
        }) {
            return;
        }
        self.renew(kind, status, reason, message, now);
    }

    /// Sets a condition, its update time in any case.
    fn renew(&mut self, kind: &str, status: &str, reason: &str, message: String, now: Timestamp) {
        let current = self.get(kind).filter(|current| current.status.as_deref() == Some(status));
        let transition = current.and_then(|current| current.last_transition_time.clone()).unwrap_or(Time(now));
        self.remove(kind);
        self.0.push(DeploymentCondition {
            type_: Some(kind.to_owned()),
            status: Some(status.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_update_time: Some(Time(now)),
            last_transition_time: Some(transition),
        });
    }

    fn progressing_reason(&self) -> Option<&str> {
        self.get(PROGRESSING)?.reason.as_deref()
    }

    /// The clock of the deadline stands still while paused.
    pub(crate) fn note_paused(&mut self, settings: &Settings, now: Timestamp) {
        let reason = self.progressing_reason();
        if settings.progress_deadline_seconds.is_none() || reason == Some("ProgressDeadlineExceeded") {
            return;
        }
        let noted = reason == Some("DeploymentPaused");
        if settings.paused && !noted {
            self.set(PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused".to_owned(), now);
        } else if !settings.paused && noted {
            self.set(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed".to_owned(), now);
        }
    }

    /// A ReplicaSet with the template was there.
    pub(crate) fn note_found(&mut self, settings: &Settings, name: &str, now: Timestamp) {
        if settings.progress_deadline_seconds.is_some() && self.get(PROGRESSING).is_none() {
            self.set(PROGRESSING, "True", "FoundNewReplicaSet", format!("Found new replica set {name:?}"), now);
        }
    }

    /// A ReplicaSet for the template is being created.
    pub(crate) fn note_created(&mut self, settings: &Settings, name: &str, now: Timestamp) {
        if settings.progress_deadline_seconds.is_some() {
            self.set(PROGRESSING, "True", "NewReplicaSetCreated", format!("Created new replica set {name:?}"), now);
        }
    }

    fn into_list(self) -> Option<Vec<DeploymentCondition>> {
        (!self.0.is_empty()).then_some(self.0)
    }
}

/// The status with the ReplicaSetCreateError condition, after a ReplicaSet was refused.
pub(crate) fn note_create_error(status: &mut DeploymentStatus, message: String, now: Timestamp) {
    let mut conditions = Conditions(status.conditions.take().unwrap_or_default());
    conditions.set(PROGRESSING, "False", "ReplicaSetCreateError", message, now);
    status.conditions = conditions.into_list();
}

/// Whether the status, as it would be written now, says that the rollout is over.
pub(crate) fn is_complete(work: &Work<'_>) -> bool {
    complete(&numbers(work), &work.settings)
}

fn complete(status: &DeploymentStatus, settings: &Settings) -> bool {
    let wanted = Some(settings.replicas);
    status.updated_replicas == wanted && status.replicas == wanted && status.available_replicas == wanted
}

fn numbers(work: &Work<'_>) -> DeploymentStatus {
    let available_total: i32 = work.all().map(available).sum();
    let wanted_total: i32 = work.all().map(wanted).sum();
    let of = |number: fn(&ReplicaSet) -> Option<i32>| work.all().filter_map(number).sum();
    DeploymentStatus {
        observed_generation: work.deployment.metadata.generation,
        replicas: Some(work.all().map(actual).sum()),
        updated_replicas: Some(work.new.as_ref().map_or(0, actual)),
        ready_replicas: Some(of(|set| set.status.as_ref()?.ready_replicas)),
        available_replicas: Some(available_total),
        unavailable_replicas: Some((wanted_total - available_total).max(0)),
        terminating_replicas: Some(of(|set| set.status.as_ref()?.terminating_replicas)),
        collision_count: work.deployment.status.as_ref().and_then(|status| status.collision_count),
        conditions: None,
    }
}

/// The status after the plan's steps, and when the rollout will have taken too long.
pub(crate) fn plan_status(work: &mut Work<'_>, rolling_out: bool) -> (DeploymentStatus, Option<SignedDuration>) {
    let mut status = numbers(work);
    let mut conditions = std::mem::take(&mut work.conditions);
    let enough = available_enough(&status, &work.settings);
    let (value, reason, verb) = if enough {
        ("True", "MinimumReplicasAvailable", "has")
    } else {
        ("False", "MinimumReplicasUnavailable", "does not have")
    };
    conditions.set(AVAILABLE, value, reason, format!("Deployment {verb} minimum availability."), work.now);
    let mut deadline_in = None;
    if rolling_out {
        plan_progressing(work, &status, &mut conditions);
        plan_failure(work, &mut conditions);
        deadline_in = time_left(&status, &conditions, &work.settings, work.now);
    }
    status.conditions = conditions.into_list();
    (status, deadline_in)
}

fn available_enough(status: &DeploymentStatus, settings: &Settings) -> bool {
    status.available_replicas.unwrap_or(0) >= settings.replicas - settings.max_unavailable()
}

fn plan_progressing(work: &Work<'_>, status: &DeploymentStatus, conditions: &mut Conditions) {
    let Some(deadline) = work.settings.progress_deadline_seconds else {
        conditions.remove(PROGRESSING);
        return;
    };
    let over =
        status.replicas == status.updated_replicas && conditions.progressing_reason() == Some("NewReplicaSetAvailable");
    if over {
        return;
    }
    let subject = match work.new.as_ref().and_then(|new| new.metadata.name.as_deref()) {
        Some(name) => format!("ReplicaSet {name:?}"),
        None => format!("Deployment {:?}", deployment_name(work.deployment)),
    };
    let none = DeploymentStatus::default();
    let before = work.deployment.status.as_ref().unwrap_or(&none);
    if complete(status, &work.settings) {
        let message = format!("{subject} has successfully progressed.");
        conditions.set(PROGRESSING, "True", "NewReplicaSetAvailable", message, work.now);
    } else if progressed(before, status) {
        let message = format!("{subject} is progressing.");
        conditions.renew(PROGRESSING, "True", "ReplicaSetUpdated", message, work.now);
    } else if timed_out(conditions, deadline, work.now) {
        let message = format!("{subject} has timed out progressing.");
        conditions.set(PROGRESSING, "False", "ProgressDeadlineExceeded", message, work.now);
    }
}

/// Whether anything moved since the last status.
fn progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let old = |status: &DeploymentStatus| status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0);
    after.updated_replicas.unwrap_or(0) > before.updated_replicas.unwrap_or(0)
        || old(after) < old(before)
        || after.ready_replicas.unwrap_or(0) > before.ready_replicas.unwrap_or(0)
        || after.available_replicas.unwrap_or(0) > before.available_replicas.unwrap_or(0)
}

fn timed_out(conditions: &Conditions, deadline_seconds: i32, now: Timestamp) -> bool {
    match conditions.progressing_reason() {
        None | Some("NewReplicaSetAvailable") => false,
        Some("ProgressDeadlineExceeded") => true,
        Some(_) => left(conditions, deadline_seconds, now).is_some_and(|left| left.is_negative()),
    }
}

fn left(conditions: &Conditions, deadline_seconds: i32, now: Timestamp) -> Option<SignedDuration> {
    let since = conditions.get(PROGRESSING)?.last_update_time.as_ref()?.0;
    Some(SignedDuration::from_secs(i64::from(deadline_seconds)) - now.duration_since(since))
}

/// How long a rollout that stands still may go on; a second more, so that it is over then.
fn time_left(
    status: &DeploymentStatus,
    conditions: &Conditions,
    settings: &Settings,
    now: Timestamp,
) -> Option<SignedDuration> {
    let deadline = settings.progress_deadline_seconds?;
    let done = matches!(conditions.progressing_reason(), Some("NewReplicaSetAvailable" | "ProgressDeadlineExceeded"));
    if done || complete(status, settings) {
        return None;
    }
    left(conditions, deadline, now).map(|left| left.max(SignedDuration::ZERO) + SignedDuration::from_secs(1))
}

/// Takes over the ReplicaFailure condition of a ReplicaSet, the new one's before others'.
fn plan_failure(work: &Work<'_>, conditions: &mut Conditions) {
    let failure = work.new.iter().chain(&work.old).find_map(|set| {
        set.status
            .as_ref()?
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_.as_deref() == Some(REPLICA_FAILURE))
    });
    match failure {
        Some(failure) => conditions.set(
            REPLICA_FAILURE,
            failure.status.as_deref().unwrap_or("True"),
            failure.reason.as_deref().unwrap_or_default(),
            failure.message.clone().unwrap_or_default(),
            work.now,
        ),
        None => conditions.remove(REPLICA_FAILURE),
    }
}

/// Whether two statuses say the same; an absent number is 0.
pub(crate) fn same_status(a: &DeploymentStatus, b: &DeploymentStatus) -> bool {
    let numbers = |status: &DeploymentStatus| {
        [
            status.replicas,
            status.updated_replicas,
            status.ready_replicas,
            status.available_replicas,
            status.unavailable_replicas,
            status.terminating_replicas,
            status.collision_count,
        ]
        .map(Option::unwrap_or_default)
    };
    let conditions = |status: &DeploymentStatus| {
        let mut conditions = status.conditions.clone().unwrap_or_default();
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        conditions
    };
    numbers(a) == numbers(b)
        && a.observed_generation.unwrap_or_default() == b.observed_generation.unwrap_or_default()
        && conditions(a) == conditions(b)
}
