//! ClusterRoles that are made of others: `aggregationRule` picks them by label, and their rules are written to it.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use skep_reconcile::Reconciler;

use crate::context::Context;
use crate::error::Error;
use crate::objects::{ObjectKey, Objects};
use crate::selector::matches;

/// Runs the controller until it is stopped.
pub(crate) async fn run(context: Context) {
    let controller = Controller { roles: Objects::cluster(&context.informers) };
    let queue = context.queue::<Controller>();
    let (wake, roles) = (queue.clone(), controller.roles.clone());
    controller.roles.informer().on_change(move |_| {
        // Whichever role changed may be a part of any that is made of others; those are few.
        for role in roles.all().into_iter().filter(|role| role.aggregation_rule.is_some()) {
            wake.add(ObjectKey::of(&*role), "ClusterRole");
        }
    });
    context.run(controller, queue).await;
}

struct Controller {
    roles: Objects<ClusterRole>,
}

struct Observed {
    role: Arc<ClusterRole>,
    all: Vec<Arc<ClusterRole>>,
}

/// The rules that the role should have, if they are not those that it has.
fn plan(observed: &Observed) -> Option<Vec<PolicyRule>> {
    let selectors = observed.role.aggregation_rule.as_ref()?.cluster_role_selectors.iter().flatten();
    let name = |role: &ClusterRole| role.metadata.name.clone().unwrap_or_default();
    let own = name(&observed.role);
    let mut picked: Vec<&ClusterRole> = Vec::new();
    for selector in selectors {
        let mut found: Vec<&ClusterRole> = observed
            .all
            .iter()
            .map(|role| &**role)
            .filter(|role| name(role) != own && matches(selector, role.metadata.labels.as_ref()))
            .collect();
        found.sort_by_key(|role| name(role));
        picked.extend(found);
    }
    let rules = skep_rbac::aggregate(picked);
    (rules != observed.role.rules.clone().unwrap_or_default()).then_some(rules)
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Observed = Observed;
    type Plan = Option<Vec<PolicyRule>>;
    type Applied = ();
    type Error = Error;

    fn kind(&self) -> &'static str {
        "clusterrole"
    }

    fn keys(&self) -> Vec<ObjectKey> {
        let roles = self.roles.all();
        roles.iter().filter(|role| role.aggregation_rule.is_some()).map(|role| ObjectKey::of(&**role)).collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, Error> {
        let Some(role) = self.roles.get(key) else { return Ok(None) };
        Ok(Some(Observed { role, all: self.roles.all() }))
    }

    fn plan(observed: &Observed) -> Option<Vec<PolicyRule>> {
        plan(observed)
    }

    async fn apply(&self, _: &ObjectKey, observed: &Observed, plan: &Option<Vec<PolicyRule>>) -> Result<(), Error> {
        let Some(rules) = plan else { return Ok(()) };
        let mut role = ClusterRole::clone(&observed.role);
        role.rules = Some(rules.clone());
        self.roles.replace(&role).await.map(|_| ())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn role(value: Value) -> Arc<ClusterRole> {
        Arc::new(from_value(value).unwrap())
    }

    #[test]
    fn a_role_has_the_rules_of_those_it_picks_by_name() {
        let part = |name: &str, verb: &str| {
            role(json!({"metadata": {"name": name, "labels": {"to": "sum"}},
                "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]}))
        };
        let selectors =
            json!([{"matchLabels": {"to": "sum"}}, {"matchExpressions": [{"key": "to", "operator": "Exists"}]}]);
        let sum = role(json!({"metadata": {"name": "sum", "labels": {"to": "sum"}},
            "aggregationRule": {"clusterRoleSelectors": selectors}, "rules": [{"verbs": ["x"]}]}));
        let other = role(json!({"metadata": {"name": "other"}, "rules": [{"verbs": ["y"]}]}));
        let all = vec![part("b", "list"), sum.clone(), part("a", "get"), other, part("c", "get")];
        let rules = plan(&Observed { role: sum.clone(), all: all.clone() }).unwrap();
        let verbs: Vec<&str> = rules.iter().map(|rule| rule.verbs[0].as_str()).collect();
        assert_eq!(verbs, ["get", "list"]);
        let mut done = ClusterRole::clone(&sum);
        done.rules = Some(rules);
        assert_eq!(plan(&Observed { role: Arc::new(done), all }), None);
    }
}
