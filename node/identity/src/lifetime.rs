//! How long a certificate is good, and when to renew it.

use jiff::{SignedDuration, Timestamp};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::error::Error;

/// Renewal comes at a share of the lifetime between these, drawn anew for each certificate, so that nodes which joined together
/// do not renew together.
const RENEW_SHARE_MIN: f64 = 0.7;
const RENEW_SHARE_MAX: f64 = 0.9;

/// From when until when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) begins: Timestamp,
    pub(crate) ends: Timestamp,
}

impl Lifetime {
    /// That of the first certificate in a PEM text.
    pub(crate) fn of(pem: &str) -> Result<Self, Error> {
        let bad = |why: String| Error::malformed("a certificate of this node", why);
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|error| bad(error.to_string()))?;
        let (_, certificate) = X509Certificate::from_der(&block.contents).map_err(|error| bad(error.to_string()))?;
        let validity = certificate.validity();
        let time = |second: i64| Timestamp::from_second(second).map_err(|error| bad(error.to_string()));
        Ok(Self { begins: time(validity.not_before.timestamp())?, ends: time(validity.not_after.timestamp())? })
    }

    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        now >= self.ends
    }

    /// When to renew; `draw` is a number from 0 to 1.
    pub(crate) fn renew_at(&self, draw: f64) -> Timestamp {
        let share = RENEW_SHARE_MIN + (RENEW_SHARE_MAX - RENEW_SHARE_MIN) * draw.clamp(0.0, 1.0);
        let whole = self.ends.duration_since(self.begins);
        let part = SignedDuration::try_from_secs_f64(whole.as_secs_f64() * share).unwrap_or(whole);
        self.begins.checked_add(part).unwrap_or(self.ends)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_between_seven_and_nine_tenths() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let life = Lifetime { begins: at("2026-01-01T00:00:00Z"), ends: at("2026-01-01T01:40:00Z") };
        assert_eq!(life.renew_at(0.0), at("2026-01-01T01:10:00Z"));
        assert_eq!(life.renew_at(1.0), at("2026-01-01T01:30:00Z"));
        assert!(life.is_over(life.ends) && !life.is_over(life.renew_at(1.0)));
    }
}
