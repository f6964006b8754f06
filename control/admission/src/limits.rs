//! What LimitRanges ask: defaults for containers, bounds for containers, pods and claims.

use k8s_openapi::api::core::v1::{
    Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod, ResourceRequirements,
};
use skep_registry::Quantity;

use crate::amounts::{Amount, Amounts};
use crate::resources::{Side, of_pod};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

fn items<'a>(range: &'a LimitRange, kind: &'a str) -> impl Iterator<Item = &'a LimitRangeItem> {
    range.spec.iter().flat_map(|spec| &spec.limits).filter(move |item| item.type_ == kind)
}

/// Fills in the requests and limits that a range has for containers which say nothing, and writes down which.
pub fn fill(range: &LimitRange, pod: &mut Pod) {
    let (mut requests, mut limits) = (Amounts::default(), Amounts::default());
    for item in items(range, "Container") {
        Amounts::from_api(item.default_request.as_ref()).iter().for_each(|(name, amount)| requests.set(name, amount));
        Amounts::from_api(item.default.as_ref()).iter().for_each(|(name, amount)| limits.set(name, amount));
    }
    let Some(spec) = &mut pod.spec else { return };
    let mut filled = Vec::new();
    for container in &mut spec.containers {
        filled.extend(fill_container(container, "container", &requests, &limits));
    }
    for container in spec.init_containers.iter_mut().flatten() {
        filled.extend(fill_container(container, "init container", &requests, &limits));
    }
    if !filled.is_empty() {
        let text = format!("LimitRanger plugin set: {}", filled.join("; "));
        pod.metadata.annotations.get_or_insert_default().insert(ANNOTATION.to_owned(), text);
    }
}

fn fill_container(container: &mut Container, what: &str, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let resources = container.resources.get_or_insert_with(ResourceRequirements::default);
    let mut filled = Vec::new();
    for (side, list, defaults) in
        [("request", &mut resources.requests, requests), ("limit", &mut resources.limits, limits)]
    {
        let mut names = Vec::new();
        for (name, amount) in defaults.to_api() {
            let list = list.get_or_insert_default();
            if !list.contains_key(&name) {
                list.insert(name.clone(), amount);
                names.push(name);
            }
        }
        if !names.is_empty() {
            filled.push(format!("{} {side} for {what} {}", names.join(", "), container.name));
        }
    }
    filled
}

/// What of a pod is out of a range's bounds, in upstream's words.
#[must_use]
pub fn check_pod(range: &LimitRange, pod: &Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let mut faults = Vec::new();
    for item in range.spec.iter().flat_map(|spec| &spec.limits) {
        match item.type_.as_str() {
            "Container" => {
                for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
                    let resources = container.resources.as_ref();
                    check(item, &Side::Requests.of(resources), &Side::Limits.of(resources), &mut faults);
                }
            }
            "Pod" => check(item, &of_pod(spec, Side::Requests), &of_pod(spec, Side::Limits), &mut faults),
            _ => {}
        }
    }
    faults
}

/// What of a claim is out of a range's bounds, in upstream's words.
#[must_use]
pub fn check_claim(range: &LimitRange, claim: &PersistentVolumeClaim) -> Vec<String> {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let requests = Amounts::from_api(resources.and_then(|resources| resources.requests.as_ref()));
    let mut faults = Vec::new();
    for item in items(range, "PersistentVolumeClaim") {
        let kind = &item.type_;
        for (name, least) in Amounts::from_api(item.min.as_ref()).iter() {
            faults.extend(below(name, kind, least, requests.get(name), None));
        }
        for (name, most) in Amounts::from_api(item.max.as_ref()).iter() {
            match requests.get(name) {
                None => faults.push(format!("maximum {name} usage per {kind} is {most}.  No request is specified")),
                Some(asked) if asked.quantity > most.quantity => {
                    faults.push(format!("maximum {name} usage per {kind} is {most}, but request is {asked}"));
                }
                Some(_) => {}
            }
        }
    }
    faults
}

fn check(item: &LimitRangeItem, requests: &Amounts, limits: &Amounts, faults: &mut Vec<String>) {
    let kind = &item.type_;
    for (name, least) in Amounts::from_api(item.min.as_ref()).iter() {
        faults.extend(below(name, kind, least, requests.get(name), limits.get(name)));
    }
    for (name, most) in Amounts::from_api(item.max.as_ref()).iter() {
        faults.extend(above(name, kind, most, requests.get(name), limits.get(name)));
    }
    for (name, ratio) in Amounts::from_api(item.max_limit_request_ratio.as_ref()).iter() {
        faults.extend(too_far_apart(name, kind, ratio, requests.get(name), limits.get(name)));
    }
}

fn below(name: &str, kind: &str, least: Amount, request: Option<Amount>, limit: Option<Amount>) -> Option<String> {
    let minimum = format!("minimum {name} usage per {kind} is {least}");
    let Some(request) = request else { return Some(format!("{minimum}.  No request is specified")) };
    if request.quantity < least.quantity {
        return Some(format!("{minimum}, but request is {request}"));
    }
    let limit = limit.filter(|limit| limit.quantity < least.quantity)?;
    Some(format!("{minimum}, but limit is {limit}"))
}

fn above(name: &str, kind: &str, most: Amount, request: Option<Amount>, limit: Option<Amount>) -> Option<String> {
    let maximum = format!("maximum {name} usage per {kind} is {most}");
    let Some(limit) = limit else { return Some(format!("{maximum}.  No limit is specified")) };
    if limit.quantity > most.quantity {
        return Some(format!("{maximum}, but limit is {limit}"));
    }
    let request = request.filter(|request| request.quantity > most.quantity)?;
    Some(format!("{maximum}, but request is {request}"))
}

fn too_far_apart(
    name: &str,
    kind: &str,
    most: Amount,
    request: Option<Amount>,
    limit: Option<Amount>,
) -> Option<String> {
    let start = format!("{name} max limit to request ratio per {kind} is {most}, but");
    let is_given = |amount: &Amount| amount.quantity != Quantity::ZERO;
    let Some(request) = request.filter(is_given) else {
        return Some(format!("{start} no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(is_given) else {
        return Some(format!("{start} no limit is specified or limit is 0"));
    };
    #[allow(clippy::cast_precision_loss)]
    let ratio = limit.quantity.millis() as f64 / request.quantity.millis() as f64;
    #[allow(clippy::cast_precision_loss)]
    let allowed = most.quantity.millis() as f64 / 1000.0;
    (ratio > allowed).then(|| format!("{start} provided ratio is {ratio:.6}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn range(items: Value) -> LimitRange {
        serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": {"limits": items}})).unwrap()
    }

    fn pod(containers: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": containers}})).unwrap()
    }

    #[test]
    fn silence_is_filled_in_and_written_down() {
        let range = range(json!([{
            "type": "Container", "default": {"cpu": "500m", "memory": "500Mi"}, "defaultRequest": {"cpu": "100m"},
        }]));
        let mut pod = pod(json!([{"name": "a"}, {"name": "b", "resources": {"limits": {"cpu": "300m"}}}]));
        fill(&range, &mut pod);
        let value = serde_json::to_value(&pod).unwrap();
        assert_eq!(
            value["spec"]["containers"][0]["resources"],
            json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "500m", "memory": "500Mi"}})
        );
        assert_eq!(value["spec"]["containers"][1]["resources"]["limits"], json!({"cpu": "300m", "memory": "500Mi"}));
        assert_eq!(
            value["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; cpu, memory limit for container a; cpu request for \
             container b; memory limit for container b"
        );
    }

    #[test]
    fn each_bound_has_its_words() {
        let faults = |item: Value, resources: Value| {
            let pod = pod(json!([{"name": "a", "resources": resources}]));
            check_pod(&range(json!([item])), &pod).join("; ")
        };
        let container = |bounds: Value| {
            let mut item = bounds;
            item["type"] = "Container".into();
            item
        };
        let min = || container(json!({"min": {"memory": "100Mi"}}));
        assert_eq!(faults(min(), json!({})), "minimum memory usage per Container is 100Mi.  No request is specified");
        assert_eq!(
            faults(min(), json!({"requests": {"memory": "50Mi"}})),
            "minimum memory usage per Container is 100Mi, but request is 50Mi"
        );
        let max = || container(json!({"max": {"cpu": "1"}}));
        assert_eq!(faults(max(), json!({})), "maximum cpu usage per Container is 1.  No limit is specified");
        assert_eq!(
            faults(max(), json!({"limits": {"cpu": "1500m"}})),
            "maximum cpu usage per Container is 1, but limit is 1500m"
        );
        assert_eq!(faults(max(), json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}})), "");
        let ratio = || container(json!({"maxLimitRequestRatio": {"cpu": "2"}}));
        assert_eq!(
            faults(ratio(), json!({"limits": {"cpu": "1"}})),
            "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0"
        );
        assert_eq!(
            faults(ratio(), json!({"limits": {"cpu": "1"}, "requests": {"cpu": "400m"}})),
            "cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000"
        );
        assert_eq!(
            faults(json!({"type": "Pod", "max": {"cpu": "100m"}}), json!({"limits": {"cpu": "200m"}})),
            "maximum cpu usage per Pod is 100m, but limit is 200m"
        );
    }

    #[test]
    fn claims_stay_within_bounds() {
        let range =
            range(json!([{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}]));
        let claim = |size: &str| -> PersistentVolumeClaim {
            serde_json::from_value(json!({"metadata": {}, "spec": {"resources": {"requests": {"storage": size}}}}))
                .unwrap()
        };
        assert!(check_claim(&range, &claim("1536Mi")).is_empty());
        assert_eq!(
            check_claim(&range, &claim("1Mi")),
            ["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"]
        );
        assert_eq!(
            check_claim(&range, &claim("3Gi")),
            ["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"]
        );
    }
}
