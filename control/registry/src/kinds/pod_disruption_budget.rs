//! PodDisruptionBudget.

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::field::{Errors, Path};
use crate::kind::{Kind, with_generations};
use crate::metadata::validate_label_selector;
use crate::strategy::{Cell, Column, FieldError, Subresource};
use crate::table;
use crate::workload::{self, not_negative};

/// PodDisruptionBudgets.
pub(crate) struct PodDisruptionBudgets;

impl Kind for PodDisruptionBudgets {
    type Object = PodDisruptionBudget;

    const SINGULAR: &'static str = "poddisruptionbudget";
    const SHORT_NAMES: &'static [&'static str] = &["pdb"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("Min Available", "The minimum number of pods that must be available."),
        table::text("Max Unavailable", "The maximum number of pods that may be unavailable."),
        table::number("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
        table::AGE,
    ];

    with_generations!(PodDisruptionBudget);

    fn set_status(object: &mut PodDisruptionBudget, from: Option<&PodDisruptionBudget>) {
        let none = || PodDisruptionBudgetStatus {
            current_healthy: Some(0),
            desired_healthy: Some(0),
            disruptions_allowed: Some(0),
            expected_pods: Some(0),
            ..Default::default()
        };
        object.status = Some(from.and_then(|from| from.status.clone()).unwrap_or_else(none));
    }

    fn validate(object: &PodDisruptionBudget) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let path = Path::root("spec");
        let spec = object.spec.clone().unwrap_or_default();
        if spec.min_available.is_some() && spec.max_unavailable.is_some() {
            let value = serde_json::to_value(&spec).unwrap_or_default();
            errors.invalid(&path, value, "minAvailable and maxUnavailable cannot be both set");
        }
        for (field, share) in [("minAvailable", &spec.min_available), ("maxUnavailable", &spec.max_unavailable)] {
            let Some(share) = share else { continue };
            workload::validate_share(&mut errors, &path.child(field), share);
            workload::validate_share_of_whole(&mut errors, &path.child(field), Some(share));
        }
        validate_label_selector(&mut errors, &path.child("selector"), &spec.selector.unwrap_or_default());
        let policies = ["AlwaysAllow", "IfHealthyBudget"];
        let policy = spec.unhealthy_pod_eviction_policy.as_deref();
        if let Some(policy) = policy.filter(|policy| !policies.contains(policy)) {
            errors.not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, &policies);
        }
        errors.into_vec()
    }

    fn validate_status_update(new: &PodDisruptionBudget, _old: &PodDisruptionBudget) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let status = new.status.clone().unwrap_or_default();
        for (field, count) in [
            ("disruptionsAllowed", status.disruptions_allowed),
            ("currentHealthy", status.current_healthy),
            ("desiredHealthy", status.desired_healthy),
            ("expectedPods", status.expected_pods),
        ] {
            not_negative(&mut errors, &Path::root("status").child(field), count.map(i64::from));
        }
        errors.into_vec()
    }

    fn row(object: &PodDisruptionBudget, now: Timestamp) -> Vec<Cell> {
        let spec = object.spec.clone().unwrap_or_default();
        let share = |share: Option<IntOrString>| match share {
            None => Cell::from("N/A"),
            Some(IntOrString::Int(number)) => Cell::from(number.to_string()),
            Some(IntOrString::String(text)) => Cell::from(text),
        };
        let allowed = object.status.as_ref().and_then(|status| status.disruptions_allowed).unwrap_or(0);
        vec![
            table::name(&object.metadata),
            share(spec.min_available),
            share(spec.max_unavailable),
            Cell::from(allowed),
            table::age(&object.metadata, now),
        ]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn budget(spec: &Value) -> PodDisruptionBudget {
        crate::decode::decode(json!({"metadata": {"name": "b"}, "spec": spec})).unwrap().0
    }

    fn faults(spec: &Value) -> Vec<String> {
        let errors = PodDisruptionBudgets::validate(&budget(spec));
        errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn faults_read_as_upstream() {
        assert_eq!(faults(&json!({"minAvailable": "50%", "selector": {}})), Vec::<String>::new());
        assert_eq!(
            faults(&json!({"minAvailable": 1, "maxUnavailable": "101%"})),
            [
                "spec: Invalid value: {\"maxUnavailable\":\"101%\",\"minAvailable\":1}: minAvailable and maxUnavailable \
                 cannot be both set",
                "spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ]
        );
        assert_eq!(
            faults(&json!({"unhealthyPodEvictionPolicy": "x"})),
            ["spec.unhealthyPodEvictionPolicy: Unsupported value: \"x\": supported values: \"AlwaysAllow\", \
              \"IfHealthyBudget\""]
        );
    }

    #[test]
    fn the_row_is_kubectls() {
        let mut object = budget(&json!({"minAvailable": 2}));
        PodDisruptionBudgets::prepare_for_create(&mut object);
        let row = PodDisruptionBudgets::row(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(row), json!(["b", "2", "N/A", 0, "<unknown>"]));
    }
}
