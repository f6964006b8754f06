//! Rules for names and other short strings, with upstream's messages. A rule returns what is wrong; nothing is fine.

use crate::field::{Errors, Path};

const LABEL_1123: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_1123: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_RULE: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// Longest DNS label.
pub(crate) const LABEL_BYTES_MAX: usize = 63;
/// Longest DNS subdomain.
pub(crate) const SUBDOMAIN_BYTES_MAX: usize = 253;

/// A rule's text with its examples and its pattern.
fn pattern(rule: &str, pattern: &str, examples: &[&str]) -> String {
    let mut text = format!("{rule} (");
    for (i, example) in examples.iter().enumerate() {
        text.push_str(if i == 0 { "e.g. '" } else { " or '" });
        text.push_str(example);
        text.push_str("', ");
    }
    text.push_str("regex used for validation is '");
    text.push_str(pattern);
    text.push_str("')");
    text
}

/// The message for a string of more than `max` bytes.
#[must_use]
pub(crate) fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// A `generateName` may end in a dash, since something follows it.
#[must_use]
pub(crate) fn without_suffix_dash(name: &str, prefix: bool) -> &str {
    if prefix && name.len() > 1 { name.strip_suffix('-').unwrap_or(name) } else { name }
}

fn lower_or_digit(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_label(s: &str, first: fn(u8) -> bool) -> bool {
    let b = s.as_bytes();
    match (b.first(), b.last()) {
        (Some(&start), Some(&end)) => {
            first(start) && lower_or_digit(end) && b.iter().all(|&c| lower_or_digit(c) || c == b'-')
        }
        _ => false,
    }
}

fn is_qualified_part(s: &str) -> bool {
    let b = s.as_bytes();
    match (b.first(), b.last()) {
        (Some(start), Some(end)) => {
            start.is_ascii_alphanumeric()
                && end.is_ascii_alphanumeric()
                && b.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
        }
        _ => false,
    }
}

fn checked(value: &str, max: usize, ok: bool, message: impl FnOnce() -> String) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > max {
        errors.push(too_long(max));
    }
    if !ok {
        errors.push(message());
    }
    errors
}

/// RFC 1123 label.
#[must_use]
pub fn dns1123_label(value: &str) -> Vec<String> {
    checked(value, LABEL_BYTES_MAX, is_label(value, lower_or_digit), || {
        pattern(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
             end with an alphanumeric character",
            LABEL_1123,
            &["my-name", "123-abc"],
        )
    })
}

/// RFC 1123 subdomain: labels joined by dots.
#[must_use]
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    let ok = value.split('.').all(|label| is_label(label, lower_or_digit));
    checked(value, SUBDOMAIN_BYTES_MAX, ok, || {
        pattern(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character",
            SUBDOMAIN_1123,
            &["example.com"],
        )
    })
}

/// RFC 1035 label: begins with a letter.
#[must_use]
pub fn dns1035_label(value: &str) -> Vec<String> {
    checked(value, LABEL_BYTES_MAX, is_label(value, |b| b.is_ascii_lowercase()), || {
        pattern(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character",
            LABEL_1035,
            &["my-name", "abc-123"],
        )
    })
}

/// A label or annotation key: an optional DNS prefix and a name.
#[must_use]
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(dns1123_subdomain(prefix).into_iter().map(|e| format!("prefix part {e}")));
            }
            name
        }
        _ => {
            let rule = pattern(QUALIFIED_RULE, QUALIFIED, &["MyName", "my.name", "123-abc"]);
            return vec![format!(
                "a qualified name {rule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_BYTES_MAX {
        errors.push(format!("name part {}", too_long(LABEL_BYTES_MAX)));
    }
    if !is_qualified_part(name) {
        errors.push(format!("name part {}", pattern(QUALIFIED_RULE, QUALIFIED, &["MyName", "my.name", "123-abc"])));
    }
    errors
}

/// A label's value.
#[must_use]
pub(crate) fn label_value(value: &str) -> Vec<String> {
    checked(value, LABEL_BYTES_MAX, value.is_empty() || is_qualified_part(value), || {
        pattern(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        )
    })
}

/// A port's name: an IANA service name.
#[must_use]
pub(crate) fn port_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 15 {
        errors.push(too_long(15));
    }
    if value.is_empty() || !value.bytes().all(|b| lower_or_digit(b) || b == b'-') {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// A port's number.
#[must_use]
pub(crate) fn port_number(value: i32) -> Option<&'static str> {
    (!(1..=65535).contains(&value)).then_some("must be between 1 and 65535, inclusive")
}

/// An environment variable's name.
#[must_use]
pub(crate) fn env_var_name(value: &str) -> Vec<String> {
    if value.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if value.bytes().all(|b| (b == b' ' || b.is_ascii_graphic()) && b != b'=') {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

/// A key of a ConfigMap or Secret.
#[must_use]
pub(crate) fn config_map_key(value: &str) -> Vec<String> {
    let ok = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let mut errors = checked(value, SUBDOMAIN_BYTES_MAX, ok, || {
        pattern(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        )
    });
    match value {
        "." => errors.push("must not be '.'".to_owned()),
        ".." => errors.push("must not be '..'".to_owned()),
        _ if value.starts_with("..") => errors.push("must not start with '..'".to_owned()),
        _ => {}
    }
    errors
}

/// An HTTP header's name.
#[must_use]
pub(crate) fn http_header_name(value: &str) -> Vec<String> {
    let ok = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    checked(value, usize::MAX, ok, || {
        pattern(
            "a valid HTTP header must consist of alphanumeric characters or '-'",
            "[-A-Za-z0-9]+",
            &["X-Header-Name"],
        )
    })
}

/// An address: four decimal octets without leading zeros, or IPv6.
///
/// # Errors
/// Upstream's message.
pub(crate) fn ip(value: &str) -> Result<std::net::IpAddr, &'static str> {
    value.parse().map_err(|_| "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
}

/// A network in CIDR form.
///
/// # Errors
/// Upstream's message.
pub(crate) fn cidr(value: &str) -> Result<ipnet::IpNet, &'static str> {
    value.parse().map_err(|_| "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
}

/// A percentage in a string; `None` where it is not one.
#[must_use]
pub(crate) fn percent(value: &str) -> Option<i32> {
    let digits = value.strip_suffix('%')?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The message for what [`percent`] refuses.
#[must_use]
pub(crate) fn percent_rule() -> String {
    pattern("a valid percent string must be a numeric string followed by an ending '%'", "[0-9]+%", &["1%", "93%"])
}

/// A subdomain whose first label is a wildcard.
#[must_use]
pub(crate) fn wildcard_subdomain(value: &str) -> Vec<String> {
    let ok = value.strip_prefix("*.").is_some_and(|rest| rest.split('.').all(|label| is_label(label, lower_or_digit)));
    checked(value, SUBDOMAIN_BYTES_MAX, ok, || {
        pattern(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of \
             lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            "\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
            &["*.example.com"],
        )
    })
}

/// A segment of a path.
#[must_use]
pub(crate) fn path_segment(value: &str) -> Vec<String> {
    if matches!(value, "." | "..") {
        return vec![format!("may not be '{value}'")];
    }
    let taken = ["/", "%"].into_iter().filter(|taken| value.contains(taken));
    taken.map(|taken| format!("may not contain '{taken}'")).collect()
}

/// A path in a domain: `example.com/name`.
pub(crate) fn validate_domain_path(errors: &mut Errors, path: &Path<'_>, value: &str) {
    if value.is_empty() {
        errors.required(path, "");
        return;
    }
    match value.split_once('/') {
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            errors.invalid_each(path, domain, dns1123_subdomain(domain));
        }
        _ => errors.invalid(path, value, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
}

/// The name of a CSI driver.
pub(crate) fn validate_csi_driver(errors: &mut Errors, path: &Path<'_>, name: &str) {
    if name.is_empty() {
        errors.required(path, "");
    }
    if name.len() > LABEL_BYTES_MAX {
        errors.too_long(path, LABEL_BYTES_MAX);
    }
    // Upper case is let through, because drivers of the first hour have it.
    errors.invalid_each(path, name, dns1123_subdomain(&name.to_lowercase()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_upstream() {
        assert_eq!(
            dns1123_label("A_b"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
              end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
              '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(qualified_name("/x"), ["prefix part must be non-empty"]);
        assert_eq!(qualified_name("a/b/c").len(), 1);
        assert_eq!(label_value(&"a".repeat(64)), ["must be no more than 63 bytes"]);
        assert_eq!(port_name("80"), ["must contain at least one letter (a-z)"]);
        assert_eq!(config_map_key("..a"), ["must not start with '..'"]);
    }

    #[test]
    fn good_names_pass() {
        for name in ["a", "a-b", "0a", "a.b-c.d"] {
            assert!(dns1123_subdomain(name).is_empty(), "{name}");
        }
        for name in ["a", "app.kubernetes.io/name", "A_b.c", "x/y"] {
            assert!(qualified_name(name).is_empty(), "{name}");
        }
        assert!(dns1123_subdomain(without_suffix_dash("web-", true)).is_empty());
        assert!(!dns1123_subdomain(without_suffix_dash("web-", false)).is_empty());
        assert!(!dns1035_label("0a").is_empty());
        assert!(label_value("").is_empty());
        assert!(env_var_name("a.b c-1").is_empty());
        assert!(!env_var_name("a=b").is_empty());
        assert_eq!(percent("25%"), Some(25));
        assert_eq!(percent("%"), None);
    }
}
