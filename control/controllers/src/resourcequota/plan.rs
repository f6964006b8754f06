//! From a quota and what there is to its status.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaStatus};
use skep_admission::quota::{Counted, count_name};
use skep_admission::{Amount, Amounts};
use skep_registry::{ApiObject, TypedObject};

/// What a quota may have at most, as it is written now.
pub(crate) fn hard(quota: &ResourceQuota) -> Amounts {
    Amounts::from_api(quota.spec.as_ref().and_then(|spec| spec.hard.as_ref()))
}

/// What objects use together of what a quota measures of their resource; nothing is said of what it does not.
pub(crate) fn measure<T: ApiObject>(
    quota: &ResourceQuota,
    resource: Counted<'_>,
    objects: Vec<T>,
    now: Timestamp,
) -> Amounts {
    let hard = hard(quota);
    let names = resource.names(&hard);
    let mut used: Amounts = names.iter().map(|name| ((*name).to_owned(), Amount::of(0))).collect();
    for object in objects.into_iter().map(TypedObject) {
        if resource.is_within(quota, &object) {
            used.add(&resource.usage(&object, now).filter(|name, _| names.contains(&name)));
        }
    }
    used
}

/// The same for objects that only their number is known of. They are in no scope.
pub(crate) fn count(quota: &ResourceQuota, resource: Counted<'_>, number: i64) -> Amounts {
    let spec = quota.spec.as_ref();
    let scoped = spec.is_some_and(|spec| {
        let selector = spec.scope_selector.as_ref().and_then(|selector| selector.match_expressions.as_ref());
        spec.scopes.as_ref().is_some_and(|scopes| !scopes.is_empty()) || selector.is_some_and(|terms| !terms.is_empty())
    });
    let number = Amount::of(if scoped { 0 } else { number });
    resource.names(&hard(quota)).into_iter().map(|name| (name.to_owned(), number)).collect()
}

/// The quota with its new status; `None` where the old one still holds.
pub(crate) fn plan(quota: &ResourceQuota, measured: &Amounts) -> Option<ResourceQuota> {
    let hard = hard(quota);
    let status = quota.status.clone().unwrap_or_default();
    let (was_hard, was_used) = (Amounts::from_api(status.hard.as_ref()), Amounts::from_api(status.used.as_ref()));
    // What nobody measures keeps what it had.
    let mut used = was_used.filter(|name, _| hard.get(name).is_some());
    for (name, amount) in measured.iter() {
        used.set(name, amount);
    }
    if was_hard.equals(&hard) && was_used.equals(&used) {
        return None;
    }
    let hard: Option<BTreeMap<_, _>> = quota.spec.as_ref().and_then(|spec| spec.hard.clone());
    let status = ResourceQuotaStatus { hard, used: Some(used.to_api()) };
    Some(ResourceQuota { status: Some(status), ..quota.clone() })
}

/// Resources of which a quota counts the objects alone, by the names that it has for them.
pub(crate) fn counted_names(quota: &ResourceQuota) -> Vec<String> {
    const MEASURED: [Counted<'_>; 3] = [
        Counted { group: "", plural: "pods" },
        Counted { group: "", plural: "services" },
        Counted { group: "", plural: "persistentvolumeclaims" },
    ];
    const ALIASED: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];
    let measured = MEASURED.map(count_name);
    let hard = hard(quota);
    let full = hard.names().map(|name| if ALIASED.contains(&name) { format!("count/{name}") } else { name.to_owned() });
    full.filter(|name| name.starts_with("count/") && !measured.contains(name)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;

    const PODS: Counted<'_> = Counted { group: "", plural: "pods" };

    fn quota(spec: Value, status: Value) -> ResourceQuota {
        serde_json::from_value(json!({"metadata": {"name": "q"}, "spec": spec, "status": status})).unwrap()
    }

    #[test]
    fn pods_are_added_up_and_the_rest_is_counted() {
        let hard = json!({"pods": "5", "requests.cpu": "2", "secrets": "9", "count/deployments.apps": "3"});
        let quota = quota(json!({"hard": hard}), json!({}));
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "250m"}}}]},
        }))
        .unwrap();
        let mut used = measure(&quota, PODS, vec![pod.clone(), pod], Timestamp::UNIX_EPOCH);
        assert_eq!(used.to_string(), "pods=2,requests.cpu=500m");
        assert_eq!(counted_names(&quota), ["count/deployments.apps", "count/secrets"]);
        used.add(&count(&quota, Counted { group: "", plural: "secrets" }, 4));
        let planned = plan(&quota, &used).unwrap();
        assert_eq!(
            serde_json::to_value(planned.status.clone().unwrap()).unwrap(),
            json!({"hard": hard, "used": {"pods": "2", "requests.cpu": "500m", "secrets": "4"}})
        );
        assert_eq!(plan(&planned, &used), None);
    }

    #[test]
    fn what_is_in_no_scope_is_not_counted() {
        let quota = quota(json!({"hard": {"pods": "5", "count/secrets": "1"}, "scopes": ["Terminating"]}), json!({}));
        assert_eq!(count(&quota, Counted { group: "", plural: "secrets" }, 4).to_string(), "count/secrets=0");
        assert_eq!(measure::<Pod>(&quota, PODS, Vec::new(), Timestamp::UNIX_EPOCH).to_string(), "pods=0");
    }
}
