//! ServiceCIDR.

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::ServiceCIDR;

use crate::field::{Errors, Path};
use crate::kind::{Kind, with_status};
use crate::names;
use crate::strategy::{Cell, Column, FieldError, Subresource};
use crate::table;

/// ServiceCIDRs.
pub(crate) struct ServiceCidrs;

impl Kind for ServiceCidrs {
    type Object = ServiceCIDR;

    const SINGULAR: &'static str = "servicecidr";
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column] =
        &[table::NAME, table::text("CIDRs", "The ranges, one of each address family."), table::AGE];

    with_status!(ServiceCIDR);

    fn validate(object: &ServiceCIDR) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (path, cidrs) = (Path::root("spec.cidrs"), cidrs(object));
        let value = || serde_json::to_value(&object.spec).unwrap_or_default();
        let families = cidrs.iter().filter_map(|cidr| cidr.parse::<IpNet>().ok()).map(|net| net.addr().is_ipv4());
        let families: Vec<bool> = families.collect();
        match cidrs {
            [] => errors.required(&path, "at least one CIDR required"),
            [_] => {}
            [_, _] if families.contains(&true) && families.contains(&false) => {}
            [_, _] => {
                let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96";
                errors.invalid(&path, value(), detail);
                return errors.into_vec();
            }
            _ => {
                errors.invalid(&path, value(), "may only hold up to 2 values");
                return errors.into_vec();
            }
        }
        for (i, cidr) in cidrs.iter().enumerate() {
            match names::cidr(cidr) {
                Ok(net) if net.trunc() == net => {}
                Ok(net) => {
                    let detail = format!("must be in canonical form ({:?})", net.trunc().to_string());
                    errors.invalid(&path.index(i), cidr.as_str(), &detail);
                }
                Err(detail) => errors.invalid(&path.index(i), cidr.as_str(), detail),
            }
        }
        errors.into_vec()
    }

    fn validate_update(new: &ServiceCIDR, old: &ServiceCIDR) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (now, before) = (cidrs(new), cidrs(old));
        // A second family may be added, and removed again.
        let kept = now.first() == before.first() && (now.len() != before.len() || now == before);
        if !kept {
            errors.immutable(&Path::root("spec.cidrs"), &now, &before);
        }
        errors.extend(Self::validate(new));
        errors.into_vec()
    }

    fn row(object: &ServiceCIDR, now: Timestamp) -> Vec<Cell> {
        vec![table::name(&object.metadata), Cell::from(cidrs(object).join(",")), table::age(&object.metadata, now)]
    }
}

fn cidrs(object: &ServiceCIDR) -> &[String] {
    object.spec.as_ref().and_then(|spec| spec.cidrs.as_deref()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ranges(cidrs: &[&str]) -> ServiceCIDR {
        crate::decode::decode(json!({"metadata": {"name": "r"}, "spec": {"cidrs": cidrs}})).unwrap().0
    }

    #[test]
    fn there_is_one_of_each_family() {
        let text = |cidrs: &[&str]| -> Vec<String> {
            ServiceCidrs::validate(&ranges(cidrs)).into_iter().map(|error| error.message).collect()
        };
        assert_eq!(text(&["10.0.0.0/24", "2001:db8::/64"]), Vec::<String>::new());
        assert_eq!(text(&[]), ["Required value: at least one CIDR required"]);
        assert_eq!(
            text(&["10.0.0.1/24"]),
            ["Invalid value: \"10.0.0.1/24\": must be in canonical form (\"10.0.0.0/24\")"]
        );
        assert!(text(&["10.0.0.0/24", "10.1.0.0/24"])[0].contains("may specify no more than one IP"));
        assert!(
            ServiceCidrs::validate_update(&ranges(&["10.0.0.0/24", "fd00::/64"]), &ranges(&["10.0.0.0/24"])).is_empty()
        );
        assert_eq!(ServiceCidrs::validate_update(&ranges(&["10.1.0.0/24"]), &ranges(&["10.0.0.0/24"])).len(), 1);
    }
}
