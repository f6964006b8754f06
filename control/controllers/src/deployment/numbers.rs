//! The numbers of a rollout: surge, unavailable, sums.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// How pods are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// All old ones go before a new one comes.
    Recreate,
    /// At most `surge` more, at most `unavailable` fewer than wanted.
    Rolling {
        /// Pods above the wanted number.
        surge: i32,
        /// Pods that may be missing.
        unavailable: i32,
    },
}

/// A Deployment's settings with upstream's defaults.
pub(crate) struct Settings {
    pub(crate) replicas: i32,
    pub(crate) strategy: Strategy,
    pub(crate) paused: bool,
    pub(crate) min_ready_seconds: i32,
    /// None: the rollout may take for ever.
    pub(crate) progress_deadline_seconds: Option<i32>,
    pub(crate) revision_history_limit: Option<i32>,
}

impl Settings {
    pub(crate) fn of(spec: &DeploymentSpec) -> Self {
        let replicas = spec.replicas.unwrap_or(1);
        Self {
            replicas,
            strategy: strategy(spec, replicas),
            paused: spec.paused.unwrap_or(false),
            min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
            // The greatest number is how clients of older API versions say "never".
            progress_deadline_seconds: spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX),
            revision_history_limit: spec.revision_history_limit.filter(|limit| *limit != i32::MAX),
        }
    }

    /// Pods above the wanted number.
    pub(crate) fn max_surge(&self) -> i32 {
        match self.strategy {
            Strategy::Rolling { surge, .. } => surge,
            Strategy::Recreate => 0,
        }
    }

    /// Pods that may be missing, never more than wanted.
    pub(crate) fn max_unavailable(&self) -> i32 {
        match self.strategy {
            Strategy::Rolling { unavailable, .. } => unavailable.min(self.replicas),
            Strategy::Recreate => 0,
        }
    }
}

fn strategy(spec: &DeploymentSpec, replicas: i32) -> Strategy {
    let strategy = spec.strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
        return Strategy::Recreate;
    }
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let quarter = IntOrString::String("25%".to_owned());
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
    let surge = scaled(surge, replicas, true);
    let unavailable = scaled(unavailable, replicas, false);
    // Both can round to 0; one pod must be allowed to go, or nothing would ever move.
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    Strategy::Rolling { surge, unavailable }
}

/// A number, or a percentage of `total`. What validation lets through parses; anything else is 0.
fn scaled(value: &IntOrString, total: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok()).unwrap_or(0);
            let product = percent.saturating_mul(i64::from(total));
            let scaled = if round_up { product.saturating_add(99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(scaled).unwrap_or(i32::MAX)
        }
    }
}

/// Wanted replicas of a ReplicaSet.
pub(crate) fn wanted(replica_set: &ReplicaSet) -> i32 {
    replica_set.spec.replicas.unwrap_or(1)
}

/// Available replicas of a ReplicaSet.
pub(crate) fn available(replica_set: &ReplicaSet) -> i32 {
    replica_set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// Replicas of a ReplicaSet that are there.
pub(crate) fn actual(replica_set: &ReplicaSet) -> i32 {
    replica_set.status.as_ref().map_or(0, |status| status.replicas)
}

/// `metadata.name`.
pub(crate) fn deployment_name(deployment: &Deployment) -> &str {
    deployment.metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentages_round_as_upstream() {
        let percent = |text: &str| IntOrString::String(text.to_owned());
        assert_eq!(scaled(&percent("25%"), 10, true), 3);
        assert_eq!(scaled(&percent("25%"), 10, false), 2);
        assert_eq!(scaled(&percent("25%"), 1, true), 1);
        assert_eq!(scaled(&percent("25%"), 1, false), 0);
        assert_eq!(scaled(&percent("100%"), 7, false), 7);
        assert_eq!(scaled(&IntOrString::Int(4), 7, false), 4);
        assert_eq!(scaled(&percent("junk"), 7, false), 0);
    }

    proptest! {
        #[test]
        fn something_may_always_move(surge in 0..200i64, unavailable in 0..100i64, replicas in 0..1000) {
            let spec: DeploymentSpec = serde_json::from_value(serde_json::json!({
                "selector": {}, "template": {},
                "strategy": {"rollingUpdate": {"maxSurge": format!("{surge}%"), "maxUnavailable": format!("{unavailable}%")}},
            })).expect("a valid spec");
            let super::Strategy::Rolling { surge, unavailable } = strategy(&spec, replicas) else { panic!("rolling") };
            prop_assert!(surge + unavailable > 0);
        }
    }
}
