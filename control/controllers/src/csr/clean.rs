//! When a request has served its purpose.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

use super::{has, is_issued};

/// After a decision.
const DECIDED: SignedDuration = SignedDuration::from_hours(1);
/// Without one.
const PENDING: SignedDuration = SignedDuration::from_hours(24);

/// How long the request stays; none or negative is not at all.
pub(super) fn time_left(csr: &CertificateSigningRequest, now: Timestamp) -> SignedDuration {
    let conditions = || csr.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let decided = conditions().filter_map(|held| held.last_update_time.as_ref()).map(|time| time.0).max();
    let created = csr.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let done = is_issued(csr) || has(csr, "Denied") || has(csr, "Failed");
    let (since, keep) = if done { (decided.unwrap_or(created), DECIDED) } else { (created, PENDING) };
    keep - now.duration_since(since)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn decided_ones_go_after_an_hour_and_others_after_a_day() {
        let left = |status: Value| {
            let meta = json!({"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"});
            let csr = serde_json::from_value(json!({"metadata": meta, "spec": {}, "status": status})).unwrap();
            time_left(&csr, "2026-01-01T02:00:00Z".parse().unwrap()).as_hours()
        };
        assert_eq!(left(json!({})), 22);
        let decided = |what: &str| json!([{"type": what, "status": "True", "lastUpdateTime": "2026-01-01T00:30:00Z"}]);
        assert_eq!(left(json!({"conditions": decided("Approved")})), 22, "it may still be signed");
        assert_eq!(left(json!({"conditions": decided("Denied")})), 0);
        assert_eq!(left(json!({"conditions": decided("Approved"), "certificate": "eA=="})), 0);
    }
}
