//! Rules that Endpoints and EndpointSlices share.

use std::net::IpAddr;

use crate::field::{Errors, Path};
use crate::names;

/// An address that traffic can be sent to.
pub(crate) fn validate_ip(errors: &mut Errors, path: &Path<'_>, ip: &str) {
    let address = match names::ip(ip) {
        Ok(address) => address,
        Err(detail) => {
            errors.invalid(path, ip, detail);
            return;
        }
    };
    if address.is_unspecified() {
        errors.invalid(path, ip, &format!("may not be unspecified ({ip})"));
    }
    if address.is_loopback() {
        errors.invalid(path, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (unicast, multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    if unicast {
        errors.invalid(path, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if multicast {
        errors.invalid(path, ip, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// A transport protocol.
pub(crate) fn validate_protocol(errors: &mut Errors, path: &Path<'_>, protocol: Option<&str>) {
    match protocol.unwrap_or_default() {
        "TCP" | "UDP" | "SCTP" => {}
        "" => errors.required(path, ""),
        other => errors.not_supported(path, other, &["SCTP", "TCP", "UDP"]),
    }
}

/// The protocol spoken over a port.
pub(crate) fn validate_app_protocol(errors: &mut Errors, path: &Path<'_>, protocol: Option<&str>) {
    if let Some(protocol) = protocol {
        errors.invalid_each(path, protocol, names::qualified_name(protocol));
    }
}

/// The first three of a list, and how many more there are.
pub(crate) fn abridged(items: &[String], none: &str) -> String {
    const SHOWN_MAX: usize = 3;
    if items.is_empty() {
        return none.to_owned();
    }
    let shown = items.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(",");
    match items.len().saturating_sub(SHOWN_MAX) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_no_endpoint_has_are_refused() {
        for ip in ["1.2.3", "0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "::", "::1", "fe80::1", "ff02::1"] {
            let mut errors = Errors::new();
            validate_ip(&mut errors, &Path::root("ip"), ip);
            assert_eq!(errors.len(), 1, "{ip}");
        }
        let mut errors = Errors::new();
        validate_ip(&mut errors, &Path::root("ip"), "10.42.0.2");
        assert!(errors.is_empty());
    }
}
