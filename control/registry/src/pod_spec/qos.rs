//! The quality-of-service class of a pod.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};

use crate::quantity::Quantity;

const COMPUTE: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`, from requests and limits of CPU and memory.
#[must_use]
pub fn qos_class(spec: &PodSpec) -> &'static str {
    let mut requests = BTreeMap::new();
    let mut limits = BTreeMap::new();
    let mut guaranteed = true;
    let of_pod = spec.resources.as_ref().filter(|r| r.requests.is_some() || r.limits.is_some());
    let all: Vec<Option<&ResourceRequirements>> = match of_pod {
        Some(resources) => vec![Some(resources)],
        None => {
            let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
            containers.map(|container| container.resources.as_ref()).collect()
        }
    };
    for resources in all {
        guaranteed &= sum(resources, &mut requests, &mut limits).len() == COMPUTE.len();
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if guaranteed && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Adds one container's amounts, and says which resources it limits.
fn sum<'a>(
    resources: Option<&'a ResourceRequirements>,
    requests: &mut BTreeMap<&'a str, Quantity>,
    limits: &mut BTreeMap<&'a str, Quantity>,
) -> BTreeSet<&'a str> {
    let mut limited = BTreeSet::new();
    let Some(resources) = resources else { return limited };
    for (list, totals, is_limit) in [(&resources.requests, requests, false), (&resources.limits, limits, true)] {
        for (name, quantity) in list.iter().flatten() {
            let amount = Quantity::try_from(quantity).unwrap_or_default();
            if COMPUTE.contains(&name.as_str()) && amount > Quantity::ZERO {
                let total = totals.entry(name).or_default();
                *total = *total + amount;
                if is_limit {
                    limited.insert(name.as_str());
                }
            }
        }
    }
    limited
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes() {
        let class = |resources: serde_json::Value| {
            let spec = json!({"containers": [{"name": "a", "resources": resources}]});
            qos_class(&crate::decode::decode(spec).unwrap().0)
        };
        let both = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
        assert_eq!(class(json!({"requests": both, "limits": both})), "Guaranteed");
        assert_eq!(class(json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": both})), "Burstable");
        assert_eq!(class(json!({"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": both})), "Guaranteed");
        assert_eq!(class(json!({"limits": {"cpu": "0"}})), "BestEffort");
    }
}
