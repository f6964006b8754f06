//! Requests and limits as the kernel takes them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use skep_cri::v1;

use crate::quantity;

const CPU_PERIOD_US: i64 = 100_000;
/// The kernel refuses a shorter quota.
const CPU_QUOTA_MIN_US: i64 = 1000;
const CPU_SHARES_MIN: i64 = 2;
const CPU_SHARES_MAX: i64 = 262_144;

/// What of the machine decides how resources are translated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host {
    pub(crate) memory_bytes: i64,
    /// The lowest `oom_score_adj` that may be asked for.
    pub(crate) oom_score_adj_min: i64,
}

type List = Option<BTreeMap<String, Quantity>>;

fn amount(list: &List, name: &str) -> Option<i64> {
    let quantity = list.as_ref()?.get(name)?;
    if name == "cpu" { quantity::milli(quantity) } else { quantity::whole(quantity) }
}

fn limit(container: &Container, name: &str) -> Option<i64> {
    container.resources.as_ref().and_then(|resources| amount(&resources.limits, name)).filter(|value| *value > 0)
}

/// A request; a limit without one stands for it.
fn request(container: &Container, name: &str) -> Option<i64> {
    let own = container.resources.as_ref().and_then(|resources| amount(&resources.requests, name));
    own.or_else(|| limit(container, name))
}

/// The pod's quality of service class.
pub(crate) fn qos_class(spec: &PodSpec) -> &'static str {
    let all = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let asks = |container: &Container| {
        ["cpu", "memory"].iter().any(|name| request(container, name).is_some_and(|value| value > 0))
    };
    let exact = |container: &Container| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = limit(container, name);
            limit.is_some() && limit == request(container, name)
        })
    };
    if !all().any(asks) {
        "BestEffort"
    } else if all().all(exact) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn shares(milli: i64) -> i64 {
    (milli * 1024 / 1000).clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)
}

fn quota(milli: i64) -> i64 {
    (milli * CPU_PERIOD_US / 1000).max(CPU_QUOTA_MIN_US)
}

/// One container's settings.
pub(crate) fn container_resources(spec: &PodSpec, container: &Container, host: Host) -> v1::LinuxContainerResources {
    v1::LinuxContainerResources {
        cpu_period: CPU_PERIOD_US,
        cpu_quota: limit(container, "cpu").map_or(0, quota),
        cpu_shares: shares(request(container, "cpu").unwrap_or(0)),
        memory_limit_in_bytes: limit(container, "memory").unwrap_or(0),
        oom_score_adj: oom_score_adj(spec, container, host),
        ..v1::LinuxContainerResources::default()
    }
}

/// Who the kernel kills first when memory runs out: the higher, the sooner.
fn oom_score_adj(spec: &PodSpec, container: &Container, host: Host) -> i64 {
    let wanted = match qos_class(spec) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let asked = request(container, "memory").unwrap_or(0);
            let share = asked.saturating_mul(1000).checked_div(host.memory_bytes).unwrap_or(0);
            (1000 - share).clamp(3, 999)
        }
    };
    wanted.max(host.oom_score_adj_min)
}

/// The whole pod's settings, for the cgroup above its containers: a limit only where every container has one.
pub(crate) fn pod_resources(spec: &PodSpec) -> v1::LinuxContainerResources {
    let total = |name: &str, of: fn(&Container, &str) -> Option<i64>| -> Option<i64> {
        let mains: Option<i64> = spec.containers.iter().map(|container| of(container, name)).sum();
        let inits: Option<Vec<i64>> =
            spec.init_containers.iter().flatten().map(|container| of(container, name)).collect();
        let inits = inits?;
        Some(mains?.max(inits.iter().copied().max().unwrap_or(0)) + sidecar_total(spec, name, of)?)
    };
    let or_zero = |container: &Container, name: &str| Some(request(container, name).unwrap_or(0));
    v1::LinuxContainerResources {
        cpu_period: CPU_PERIOD_US,
        cpu_quota: total("cpu", limit).map_or(-1, quota),
        cpu_shares: shares(total("cpu", or_zero).unwrap_or(0)),
        memory_limit_in_bytes: total("memory", limit).unwrap_or(-1),
        ..v1::LinuxContainerResources::default()
    }
}

fn sidecar_total(spec: &PodSpec, name: &str, of: fn(&Container, &str) -> Option<i64>) -> Option<i64> {
    let sidecars =
        spec.init_containers.iter().flatten().filter(|init| init.restart_policy.as_deref() == Some("Always"));
    sidecars.map(|container| of(container, name)).sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOST: Host = Host { memory_bytes: 1000, oom_score_adj_min: -1000 };

    fn spec(resources: &[serde_json::Value]) -> PodSpec {
        let containers: Vec<_> =
            resources.iter().map(|resources| json!({"name": "c", "resources": resources})).collect();
        serde_json::from_value(json!({"containers": containers})).unwrap()
    }

    #[test]
    fn class_follows_requests_and_limits() {
        let both = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        for (resources, class) in [
            (vec![json!({})], "BestEffort"),
            (vec![both.clone()], "Guaranteed"),
            (vec![both, json!({})], "Burstable"),
            (vec![json!({"requests": {"cpu": "1m"}})], "Burstable"),
        ] {
            assert_eq!(qos_class(&spec(&resources)), class, "{resources:?}");
        }
    }

    #[test]
    fn translates_cpu_and_memory() {
        let spec = spec(&[json!({"requests": {"cpu": "250m"}, "limits": {"cpu": "500m", "memory": "64Mi"}})]);
        let made = container_resources(&spec, &spec.containers[0], HOST);
        assert_eq!((made.cpu_shares, made.cpu_quota, made.memory_limit_in_bytes), (256, 50_000, 64 << 20));
        let pod = pod_resources(&spec);
        assert_eq!((pod.cpu_shares, pod.cpu_quota, pod.memory_limit_in_bytes), (256, 50_000, 64 << 20));
    }

    #[test]
    fn oom_score_is_never_below_what_the_host_allows() {
        let spec = spec(&[json!({"limits": {"cpu": "1", "memory": "100"}})]);
        assert_eq!(container_resources(&spec, &spec.containers[0], HOST).oom_score_adj, -997);
        let held = Host { oom_score_adj_min: 0, ..HOST };
        assert_eq!(container_resources(&spec, &spec.containers[0], held).oom_score_adj, 0);
    }
}
