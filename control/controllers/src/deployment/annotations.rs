//! What a Deployment notes on its ReplicaSets.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::numbers::Settings;

pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
/// Annotations that are the Deployment's alone or the ReplicaSet's alone.
const NOT_COPIED: [&str; 6] = [LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS, ROLLBACK_TO];
const HISTORY_CHARS_MAX: usize = 2000;

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The revision noted on an object; 0 if none.
pub(crate) fn revision(meta: &ObjectMeta) -> i64 {
    annotation(meta, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The Deployment's replicas when it last scaled this ReplicaSet.
pub(crate) fn desired_replicas(replica_set: &ReplicaSet) -> Option<i32> {
    annotation(&replica_set.metadata, DESIRED_REPLICAS)?.parse().ok()
}

/// Replicas and surge of the Deployment when it last scaled this ReplicaSet.
pub(crate) fn max_replicas(replica_set: &ReplicaSet) -> Option<i32> {
    annotation(&replica_set.metadata, MAX_REPLICAS)?.parse().ok()
}

/// Notes the Deployment's size.
pub(crate) fn note_size(replica_set: &mut ReplicaSet, settings: &Settings) {
    let annotations = replica_set.metadata.annotations.get_or_insert_default();
    annotations.insert(DESIRED_REPLICAS.to_owned(), settings.replicas.to_string());
    annotations.insert(MAX_REPLICAS.to_owned(), (settings.replicas + settings.max_surge()).to_string());
}

/// Whether the size noted is not the Deployment's.
pub(crate) fn size_outdated(replica_set: &ReplicaSet, settings: &Settings) -> bool {
    desired_replicas(replica_set) != Some(settings.replicas)
        || max_replicas(replica_set) != Some(settings.replicas + settings.max_surge())
}

/// Copies the Deployment's annotations, and notes the revision if it is higher than the one there.
pub(crate) fn note_revision(replica_set: &mut ReplicaSet, deployment: &Deployment, new_revision: i64) {
    let annotations = replica_set.metadata.annotations.get_or_insert_default();
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let old = annotations.get(REVISION).cloned();
    let old_revision = old.as_deref().and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    if old_revision < new_revision {
        annotations.insert(REVISION.to_owned(), new_revision.to_string());
        if let Some(old) = old {
            append_history(annotations, &old);
        }
    }
}

fn append_history(annotations: &mut BTreeMap<String, String>, revision: &str) {
    let mut entries: Vec<String> =
        annotations.get(REVISION_HISTORY).map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default();
    entries.push(revision.to_owned());
    // The oldest entries go when the note becomes too long.
    while entries.len() > 1 && entries.iter().map(|entry| entry.len() + 1).sum::<usize>() > HISTORY_CHARS_MAX {
        entries.remove(0);
    }
    annotations.insert(REVISION_HISTORY.to_owned(), entries.join(","));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_reused_replica_set_remembers_its_revisions() {
        let deployment: Deployment = from_value(json!({
            "metadata": {"annotations": {"team": "a", LAST_APPLIED: "{}", REVISION: "3"}},
        }))
        .unwrap();
        let mut replica_set: ReplicaSet =
            from_value(json!({"metadata": {"annotations": {REVISION: "1"}}, "status": {"replicas": 0}})).unwrap();
        note_revision(&mut replica_set, &deployment, 4);
        note_revision(&mut replica_set, &deployment, 4);
        note_revision(&mut replica_set, &deployment, 6);
        let annotations = replica_set.metadata.annotations.unwrap();
        assert_eq!(annotations[REVISION], "6");
        assert_eq!(annotations[REVISION_HISTORY], "1,4");
        assert_eq!(annotations["team"], "a");
        assert!(!annotations.contains_key(LAST_APPLIED));
    }
}
