//! Whole lists, as after a watch that began anew.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::PolicyModel;
use crate::ObjectName;

impl PolicyModel {
    /// These are all Pods there are.
    pub fn replace_pods<'a>(&mut self, pods: impl IntoIterator<Item = &'a Pod>) {
        let mut stale: BTreeSet<ObjectName> = self.pods.keys().cloned().collect();
        for pod in pods {
            stale.remove(&named(&pod.metadata));
            self.upsert_pod(pod);
        }
        for name in stale {
            self.remove_pod(&name.namespace, &name.name);
        }
    }

    /// These are all Namespaces there are.
    pub fn replace_namespaces<'a>(&mut self, namespaces: impl IntoIterator<Item = &'a Namespace>) {
        let existing = self.namespaces.iter().filter(|(_, entry)| entry.exists);
        let mut stale: BTreeSet<String> = existing.map(|(name, _)| name.clone()).collect();
        for namespace in namespaces {
            stale.remove(&named(&namespace.metadata).name);
            self.upsert_namespace(namespace);
        }
        for name in stale {
            self.remove_namespace(&name);
        }
    }

    /// These are all NetworkPolicies there are.
    pub fn replace_policies<'a>(&mut self, policies: impl IntoIterator<Item = &'a NetworkPolicy>) {
        let mut stale: BTreeSet<ObjectName> = self.policies.keys().cloned().collect();
        for policy in policies {
            stale.remove(&named(&policy.metadata));
            self.upsert_policy(policy);
        }
        for name in stale {
            self.remove_policy(&name.namespace, &name.name);
        }
    }
}

fn named(meta: &ObjectMeta) -> ObjectName {
    ObjectName::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}
