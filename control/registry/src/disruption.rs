//! Disruption budgets: which pods they guard, and whether one more may go.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::selector::LabelSelector;

/// Evictions that the controller has not yet seen.
const PENDING_MAX: usize = 2_000;
const ALLOWED: &str = "DisruptionAllowed";

/// Why a budget does not let a pod go; each with upstream's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DisruptionRefusal {
    /// The budget has changed, and what it allows is not yet known.
    Processing(String),
    /// There is none left.
    Exhausted(String),
    /// Its status cannot be right.
    Broken(String),
}

/// Whether a pod's going disrupts anything: one that does not run does no harm.
#[must_use]
pub fn is_guarded(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, "Succeeded" | "Failed" | "Pending")
}

/// Whether a budget of the pod's namespace is for the pod.
#[must_use]
pub fn covers_pod(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let Some(selector) = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else { return false };
    LabelSelector::from_api(selector).is_ok_and(|selector| selector.matches(pod.metadata.labels.as_ref()))
}

/// Whether the pod is not ready, so that without it the budget has no less.
#[must_use]
pub fn is_free_to_go(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        return false;
    }
    let policy = budget.spec.as_ref().and_then(|spec| spec.unhealthy_pod_eviction_policy.as_deref());
    let status = budget.status.clone().unwrap_or_default();
    let (healthy, wanted) = (status.current_healthy.unwrap_or(0), status.desired_healthy.unwrap_or(0));
    policy == Some("AlwaysAllow") || (healthy >= wanted && wanted > 0)
}

/// Takes one disruption for a pod and writes it down.
///
/// # Errors
/// Why there is none to take.
pub fn take_disruption(budget: &mut PodDisruptionBudget, pod: &str, now: Timestamp) -> Result<(), DisruptionRefusal> {
    let name = budget.metadata.name.clone().unwrap_or_default();
    let generation = budget.metadata.generation;
    let status = budget.status.get_or_insert_default();
    if status.observed_generation.unwrap_or(0) < generation.unwrap_or(0) {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(DisruptionRefusal::Processing(why));
    }
    let allowed = status.disruptions_allowed.unwrap_or(0);
    if allowed < 0 {
        return Err(DisruptionRefusal::Broken("pdb disruptions allowed is negative".to_owned()));
    }
    let pending = status.disrupted_pods.get_or_insert_default();
    if pending.len() > PENDING_MAX {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(DisruptionRefusal::Broken(why.to_owned()));
    }
    if allowed == 0 {
        let conditions = status.conditions.as_deref().unwrap_or_default();
        let failed = conditions.iter().find(|condition| condition.type_ == ALLOWED && condition.reason == "SyncFailed");
        let why = match failed {
            Some(condition) => format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
                condition.message
            ),
            None => format!(
                "The disruption budget {name} needs {} healthy pods and has {} currently",
                status.desired_healthy.unwrap_or(0),
                status.current_healthy.unwrap_or(0)
            ),
        };
        return Err(DisruptionRefusal::Exhausted(why));
    }
    pending.insert(pod.to_owned(), Time(now));
    status.disruptions_allowed = Some(allowed - 1);
    if allowed == 1 {
        let conditions = status.conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != ALLOWED);
        conditions.push(Condition {
            type_: ALLOWED.to_owned(),
            status: "False".to_owned(),
            reason: "InsufficientPods".to_owned(),
            message: String::new(),
            observed_generation: status.observed_generation,
            last_transition_time: Time(now),
        });
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn budget(status: &Value) -> PodDisruptionBudget {
        let value = json!({"metadata": {"name": "b", "generation": 2}, "status": status,
            "spec": {"selector": {"matchLabels": {"app": "a"}}}});
        crate::decode::decode(value).unwrap().0
    }

    fn pod(phase: &str, ready: &str) -> Pod {
        let value = json!({"metadata": {"name": "p", "labels": {"app": "a"}},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
        crate::decode::decode(value).unwrap().0
    }

    #[test]
    fn a_budget_is_used_up() {
        let mut held = budget(
            &json!({"observedGeneration": 2, "disruptionsAllowed": 1, "desiredHealthy": 2, "currentHealthy": 3}),
        );
        take_disruption(&mut held, "p", Timestamp::UNIX_EPOCH).unwrap();
        assert!(held.status.as_ref().unwrap().disrupted_pods.as_ref().unwrap().contains_key("p"));
        assert_eq!(
            take_disruption(&mut held, "q", Timestamp::UNIX_EPOCH),
            Err(DisruptionRefusal::Exhausted(
                "The disruption budget b needs 2 healthy pods and has 3 currently".to_owned()
            ))
        );
        let mut stale = budget(&json!({"observedGeneration": 1, "disruptionsAllowed": 1}));
        assert!(matches!(
            take_disruption(&mut stale, "p", Timestamp::UNIX_EPOCH),
            Err(DisruptionRefusal::Processing(_))
        ));
        let mut broken = budget(&json!({"observedGeneration": 2, "disruptionsAllowed": -1}));
        assert!(matches!(take_disruption(&mut broken, "p", Timestamp::UNIX_EPOCH), Err(DisruptionRefusal::Broken(_))));
    }

    #[test]
    fn pods_that_do_not_count_are_free() {
        assert!(is_guarded(&pod("Running", "True")) && !is_guarded(&pod("Pending", "False")));
        let held = budget(&json!({"desiredHealthy": 1, "currentHealthy": 1}));
        assert!(covers_pod(&held, &pod("Running", "True")));
        assert!(is_free_to_go(&held, &pod("Running", "False")) && !is_free_to_go(&held, &pod("Running", "True")));
        let short = budget(&json!({"desiredHealthy": 2, "currentHealthy": 1}));
        assert!(!is_free_to_go(&short, &pod("Running", "False")));
        let mut always = short;
        always.spec.as_mut().unwrap().unhealthy_pod_eviction_policy = Some("AlwaysAllow".to_owned());
        assert!(is_free_to_go(&always, &pod("Running", "False")));
        assert!(!covers_pod(&PodDisruptionBudget::default(), &pod("Running", "True")));
    }
}
