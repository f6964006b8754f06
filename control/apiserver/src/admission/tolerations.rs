//! DefaultTolerationSeconds: how long a pod stays on a node that is not ready or not reachable, where it does not say.

use k8s_openapi::api::core::v1::{Pod, Toleration};
use skep_registry::{Object, typed_mut};

use super::Request;
use crate::status::ApiError;

const SECONDS: i64 = 300;

pub(super) fn fill(request: &Request<'_>, object: &mut dyn Object) -> Result<(), ApiError> {
    if !request.is_for("", "pods") {
        return Ok(());
    }
    let Some(spec) = typed_mut::<Pod>(object).and_then(|pod| pod.spec.as_mut()) else { return Ok(()) };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = spec.tolerations.iter().flatten().any(|toleration| {
            let any_key = toleration.key.as_deref().unwrap_or_default();
            let any_effect = toleration.effect.as_deref().unwrap_or_default();
            (any_key.is_empty() || any_key == key) && (any_effect.is_empty() || any_effect == "NoExecute")
        });
        if !tolerated {
            spec.tolerations.get_or_insert_default().push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(SECONDS),
                value: None,
            });
        }
    }
    Ok(())
}
