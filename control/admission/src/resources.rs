//! What a whole pod asks for.

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};

use crate::amounts::Amounts;

/// Which of the two lists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Requests,
    Limits,
}

impl Side {
    pub(crate) fn of(self, resources: Option<&ResourceRequirements>) -> Amounts {
        let list = resources.and_then(|resources| match self {
            Self::Requests => resources.requests.as_ref(),
            Self::Limits => resources.limits.as_ref(),
        });
        Amounts::from_api(list)
    }
}

/// Containers that run throughout together, or what the most demanding init step needs if that is more; what is said of the pod as
/// a whole stands above both, and its overhead comes on top.
pub(crate) fn of_pod(spec: &PodSpec, side: Side) -> Amounts {
    let mut total = Amounts::default();
    let of = |container: &Container| side.of(container.resources.as_ref());
    spec.containers.iter().for_each(|container| total.add(&of(container)));
    // Sidecars run beside all that comes after them.
    let (mut sidecars, mut peak) = (Amounts::default(), Amounts::default());
    for container in spec.init_containers.iter().flatten() {
        let mut step = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            total.add(&step);
            sidecars.add(&step);
            step = sidecars.clone();
        } else {
            step.add(&sidecars);
        }
        peak.raise(&step);
    }
    total.raise(&peak);
    for (name, amount) in side.of(spec.resources.as_ref()).iter() {
        total.set(name, amount);
    }
    let overhead = Amounts::from_api(spec.overhead.as_ref());
    match side {
        Side::Requests => total.add(&overhead),
        // What has no limit gets none from its overhead.
        Side::Limits => total.add(&overhead.filter(|name, _| total.get(name).is_some_and(|a| !a.quantity.is_zero()))),
    }
    total
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn init_steps_and_sidecars_count_where_they_run() {
        let of = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
        let spec: PodSpec = serde_json::from_value(json!({
            "overhead": {"cpu": "10m", "memory": "1Mi"},
            "initContainers": [
                {"name": "a", "resources": of("900m")},
                {"name": "s", "restartPolicy": "Always", "resources": of("200m")},
                {"name": "b", "resources": of("800m")},
            ],
            "containers": [{"name": "c", "resources": of("100m")}, {"name": "d", "resources": of("300m")}],
        }))
        .unwrap();
        assert_eq!(of_pod(&spec, Side::Requests).to_string(), "cpu=1010m,memory=1Mi");
        assert_eq!(of_pod(&spec, Side::Limits).to_string(), "cpu=1010m");
    }
}
