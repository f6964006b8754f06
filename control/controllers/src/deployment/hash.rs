//! The label that tells the pods of one template from those of another.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use sha2::{Digest, Sha256};

/// The label's key.
pub(crate) const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// Letters and digits that spell no word and are not mistaken for each other.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A short name for a template. `collisions` sets apart templates of which an earlier one has the same name.
pub(crate) fn template_hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let json = serde_json::to_vec(template).expect("a template's keys are strings");
    let digest = Sha256::new().chain_update(json).chain_update(collisions.to_be_bytes()).finalize();
    let number = digest.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let mut rest = number;
    (0..10)
        .map(|_| {
            let digit = usize::try_from(rest % 27).unwrap_or(0);
            rest /= 27;
            char::from(SAFE[digit])
        })
        .collect()
}

/// Whether two templates make the same pods.
pub(crate) fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    without_hash(a) == without_hash(b)
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let meta = template.metadata.get_or_insert_default();
    if let Some(labels) = &mut meta.labels {
        labels.remove(POD_TEMPLATE_HASH);
    }
    meta.labels.take_if(|labels| labels.is_empty());
    meta.annotations.take_if(|annotations| annotations.is_empty());
    meta.creation_timestamp = None;
    template
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn the_hash_is_stable_and_the_label_is_ignored() {
        let plain: PodTemplateSpec =
            from_value(json!({"metadata": {}, "spec": {"containers": [{"name": "c"}]}})).unwrap();
        let labelled: PodTemplateSpec = from_value(
            json!({"metadata": {"labels": {POD_TEMPLATE_HASH: "x"}}, "spec": {"containers": [{"name": "c"}]}}),
        )
        .unwrap();
        assert_eq!(template_hash(&plain, 0), template_hash(&plain, 0));
        assert_ne!(template_hash(&plain, 0), template_hash(&plain, 1));
        assert_eq!(template_hash(&plain, 0).len(), 10);
        assert!(same_template(&plain, &labelled));
    }
}
