//! IPAddress.

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::IPAddress;

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::names;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

/// IPAddresses.
pub(crate) struct IpAddresses;

impl Kind for IpAddresses {
    type Object = IPAddress;

    const SINGULAR: &'static str = "ipaddress";
    const SHORT_NAMES: &'static [&'static str] = &["ip"];
    const COLUMNS: &'static [Column] =
        &[table::NAME, table::text("ParentRef", "The object that the address is for."), table::AGE];

    fn validate(object: &IPAddress) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (path, parent) = (Path::root("spec.parentRef"), &object.spec.parent_ref);
        for (field, value) in [("resource", &parent.resource), ("name", &parent.name)] {
            if value.is_empty() {
                errors.required(&path.child(field), "");
            } else {
                errors.invalid_each(&path.child(field), value, names::path_segment(value));
            }
        }
        if let Some(group) = parent.group.as_deref().filter(|group| !group.is_empty()) {
            errors.invalid_each(&path.child("group"), group, names::dns1123_subdomain(group));
        }
        if let Some(namespace) = parent.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
            errors.invalid_each(&path.child("namespace"), namespace, names::path_segment(namespace));
        }
        errors.into_vec()
    }

    fn validate_update(new: &IPAddress, old: &IPAddress) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        errors.immutable(&Path::root("spec.parentRef"), &new.spec.parent_ref, &old.spec.parent_ref);
        errors.into_vec()
    }

    fn validate_name(name: &str, _prefix: bool) -> Vec<String> {
        match names::ip(name) {
            Ok(ip) if ip.to_string() == name => Vec::new(),
            Ok(_) => vec!["must be a canonical form IP address".to_owned()],
            Err(detail) => vec![detail.to_owned()],
        }
    }

    fn row(object: &IPAddress, now: Timestamp) -> Vec<Cell> {
        let parent = &object.spec.parent_ref;
        let part = |prefix: &str, value: Option<&str>, suffix: &str| match value.unwrap_or_default() {
            "" => String::new(),
            value => format!("{prefix}{value}{suffix}"),
        };
        let resource = format!("{}{}", parent.resource, part(".", parent.group.as_deref(), "")).to_lowercase();
        let namespace = part("", parent.namespace.as_deref(), "/");
        let shown = if parent.resource.is_empty() {
            "<none>".to_owned()
        } else {
            format!("{resource}/{namespace}{}", parent.name)
        };
        vec![table::name(&object.metadata), Cell::from(shown), table::age(&object.metadata, now)]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_name_is_the_address() {
        assert!(IpAddresses::validate_name("2001:db8::1", false).is_empty());
        assert_eq!(IpAddresses::validate_name("2001:DB8::1", false), ["must be a canonical form IP address"]);
        assert_eq!(IpAddresses::validate_name("a", false).len(), 1);
        let value = json!({"metadata": {"name": "192.0.2.1"}, "spec": {"parentRef": {"group": "g", "resource": "services",
            "namespace": "n", "name": "s"}}});
        let object: IPAddress = crate::decode::decode(value).unwrap().0;
        assert!(IpAddresses::validate(&object).is_empty());
        assert_eq!(IpAddresses::row(&object, Timestamp::UNIX_EPOCH)[1], "services.g/n/s");
        let fields: Vec<String> = IpAddresses::validate(&IPAddress::default()).into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["spec.parentRef.resource", "spec.parentRef.name"]);
    }
}
