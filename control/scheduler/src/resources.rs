//! Amounts of resources, as the scheduler adds them up.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use skep_registry::Quantity;

/// What a container without a request counts as when nodes are compared, so that many such pods spread.
const CPU_MILLIS_UNASKED: i64 = 100;
const MEMORY_BYTES_UNASKED: i64 = 200 * 1024 * 1024;

/// Amounts by resource: thousandths for `cpu`, whole units for others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    amounts: BTreeMap<String, i64>,
}

impl Resources {
    /// The amounts of a resource list. What is not a quantity counts as 0; validation lets none through.
    pub fn of(list: Option<&BTreeMap<String, ApiQuantity>>) -> Self {
        let amount = |(name, quantity): (&String, &ApiQuantity)| {
            let quantity = Quantity::try_from(quantity).unwrap_or(Quantity::ZERO);
            (name.clone(), if name == "cpu" { quantity.millis() } else { quantity.value() })
        };
        Self { amounts: list.into_iter().flatten().map(amount).collect() }
    }

    /// The amount of a resource; 0 if there is none.
    pub fn get(&self, name: &str) -> i64 {
        self.amounts.get(name).copied().unwrap_or(0)
    }

    /// All amounts above 0.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.amounts.iter().filter(|(_, amount)| **amount > 0).map(|(name, amount)| (name.as_str(), *amount))
    }

    /// Adds each amount.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.amounts {
            let own = self.amounts.entry(name.clone()).or_default();
            *own = own.saturating_add(*amount);
        }
    }

    /// Takes each amount away.
    pub fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.amounts {
            let own = self.amounts.entry(name.clone()).or_default();
            *own = own.saturating_sub(*amount);
        }
    }

    fn raise_to(&mut self, other: &Self) {
        for (name, amount) in &other.amounts {
            let own = self.amounts.entry(name.clone()).or_default();
            *own = (*own).max(*amount);
        }
    }
}

/// What a pod asks for: its containers together, or what its most demanding init step needs, and its overhead.
pub(crate) fn pod_requests(spec: &PodSpec) -> Resources {
    let mut total = sum(spec, |container| Resources::of(requests(container)));
    if let Some(pod_level) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        total.amounts.extend(Resources::of(Some(pod_level)).amounts);
    }
    total.add(&Resources::of(spec.overhead.as_ref()));
    total
}

/// Like [`pod_requests`], for `cpu` and `memory` alone, where a container that asks for nothing counts as something.
pub(crate) fn pod_requests_for_scoring(spec: &PodSpec) -> Resources {
    let of_container = |container: &Container| {
        let asked = requests(container);
        let amounts = Resources::of(asked);
        let or = |name: &str, unasked| {
            let is_asked = asked.is_some_and(|asked| asked.contains_key(name));
            (name.to_owned(), if is_asked { amounts.get(name) } else { unasked })
        };
        Resources { amounts: [or("cpu", CPU_MILLIS_UNASKED), or("memory", MEMORY_BYTES_UNASKED)].into() }
    };
    let mut total = sum(spec, of_container);
    total.add(&Resources::of(spec.overhead.as_ref()));
    total
}

fn requests(container: &Container) -> Option<&BTreeMap<String, ApiQuantity>> {
    container.resources.as_ref()?.requests.as_ref()
}

fn sum(spec: &PodSpec, of_container: impl Fn(&Container) -> Resources) -> Resources {
    let mut running = Resources::default();
    for container in &spec.containers {
        running.add(&of_container(container));
    }
    // Init containers run one after the other, each beside the sidecars that were started before it.
    let mut sidecars = Resources::default();
    let mut init_most = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let mut step = of_container(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&step);
            step = sidecars.clone();
        } else {
            step.add(&sidecars);
        }
        init_most.raise_to(&step);
    }
    running.add(&sidecars);
    running.raise_to(&init_most);
    running
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn container(cpu: &str, policy: Option<&str>) -> Value {
        json!({"name": "c", "restartPolicy": policy, "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn init_containers_and_sidecars_count_as_upstream() {
        let spec: PodSpec = from_value(json!({
            "containers": [container("100m", None), container("200m", None)],
            "initContainers": [container("350m", None), container("50m", Some("Always")), container("320m", None)],
            "overhead": {"cpu": "1m"},
        }))
        .unwrap();
        // The last init container runs beside the sidecar: 370m, which is more than 350m for all that run later.
        assert_eq!(pod_requests(&spec).get("cpu"), 371);
    }

    #[test]
    fn unasked_resources_count_when_nodes_are_compared() {
        let spec: PodSpec = from_value(json!({"containers": [{"name": "a"}, container("0", None)]})).unwrap();
        let requests = pod_requests_for_scoring(&spec);
        assert_eq!(requests.get("cpu"), 100);
        assert_eq!(requests.get("memory"), 2 * MEMORY_BYTES_UNASKED);
        assert_eq!(pod_requests(&spec).get("memory"), 0);
    }
}
