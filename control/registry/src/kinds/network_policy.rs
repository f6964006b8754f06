//! NetworkPolicy.

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::field::{Errors, Path};
use crate::kind::{Kind, with_generations};
use crate::metadata::validate_label_selector;
use crate::names;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;
use crate::workload::selector_text;

const TYPES: &[&str] = &["Egress", "Ingress"];

/// NetworkPolicies.
pub(crate) struct NetworkPolicies;

impl Kind for NetworkPolicies {
    type Object = NetworkPolicy;

    const SINGULAR: &'static str = "networkpolicy";
    const SHORT_NAMES: &'static [&'static str] = &["netpol"];
    const COLUMNS: &'static [Column] = &[table::NAME, table::text("Pod-Selector", "Which pods it is for."), table::AGE];

    fn default(object: &mut NetworkPolicy) {
        let Some(spec) = &mut object.spec else { return };
        spec.pod_selector.get_or_insert_default();
        let ingress = spec.ingress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut());
        let egress = spec.egress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut());
        for port in ingress.chain(egress).flatten() {
            port.protocol.get_or_insert_with(|| "TCP".to_owned());
        }
        if spec.policy_types.as_ref().is_none_or(Vec::is_empty) {
            let mut types = vec!["Ingress".to_owned()];
            if spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()) {
                types.push("Egress".to_owned());
            }
            spec.policy_types = Some(types);
        }
    }

    fn validate(object: &NetworkPolicy) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let spec = object.spec.clone().unwrap_or_default();
        let path = Path::root("spec");
        validate_label_selector(&mut errors, &path.child("podSelector"), &spec.pod_selector.unwrap_or_default());
        let at = path.child("ingress");
        for (i, rule) in spec.ingress.iter().flatten().enumerate() {
            let at = at.index(i);
            validate_ports(&mut errors, &at.child("ports"), rule.ports.as_deref());
            validate_peers(&mut errors, &at.child("from"), rule.from.as_deref());
        }
        let at = path.child("egress");
        for (i, rule) in spec.egress.iter().flatten().enumerate() {
            let at = at.index(i);
            validate_ports(&mut errors, &at.child("ports"), rule.ports.as_deref());
            validate_peers(&mut errors, &at.child("to"), rule.to.as_deref());
        }
        validate_types(&mut errors, &path.child("policyTypes"), spec.policy_types.as_deref().unwrap_or_default());
        errors.into_vec()
    }

    with_generations!(NetworkPolicy);

    fn row(object: &NetworkPolicy, now: Timestamp) -> Vec<Cell> {
        let selector = object.spec.as_ref().and_then(|spec| spec.pod_selector.clone()).unwrap_or_default();
        vec![table::name(&object.metadata), Cell::from(selector_text(&selector)), table::age(&object.metadata, now)]
    }
}

fn validate_types(errors: &mut Errors, path: &Path<'_>, types: &[String]) {
    if types.len() > TYPES.len() {
        errors.invalid(path, types.to_vec(), "may not specify more than two policyTypes");
        return;
    }
    for (i, one) in types.iter().enumerate() {
        if !TYPES.contains(&one.as_str()) {
            errors.not_supported(&path.index(i), one.as_str(), TYPES);
        }
    }
}

fn validate_ports(errors: &mut Errors, path: &Path<'_>, ports: Option<&[NetworkPolicyPort]>) {
    for (i, port) in ports.into_iter().flatten().enumerate() {
        let path = path.index(i);
        let protocol = port.protocol.as_deref();
        if let Some(other) = protocol.filter(|name| !matches!(*name, "TCP" | "UDP" | "SCTP")) {
            errors.not_supported(&path.child("protocol"), other, &["TCP", "UDP", "SCTP"]);
        }
        let at = path.child("endPort");
        match (&port.port, port.end_port) {
            (None, Some(end)) => errors.invalid(&at, end, "may not be specified when `port` is not specified"),
            (None, None) => {}
            (Some(IntOrString::String(name)), end) => {
                if let Some(end) = end {
                    errors.invalid(&at, end, "may not be specified when `port` is non-numeric");
                }
                errors.invalid_each(&path.child("port"), name, names::port_name(name));
            }
            (Some(IntOrString::Int(number)), end) => {
                if let Some(detail) = names::port_number(*number) {
                    errors.invalid(&path.child("port"), *number, detail);
                }
                let Some(end) = end else { continue };
                if end < *number {
                    errors.invalid(&at, end, "must be greater than or equal to `port`");
                }
                if let Some(detail) = names::port_number(end) {
                    errors.invalid(&at, end, detail);
                }
            }
        }
    }
}

fn validate_peers(errors: &mut Errors, path: &Path<'_>, peers: Option<&[NetworkPolicyPeer]>) {
    for (i, peer) in peers.into_iter().flatten().enumerate() {
        let path = path.index(i);
        let selectors = [("podSelector", &peer.pod_selector), ("namespaceSelector", &peer.namespace_selector)];
        let selects = selectors.iter().any(|(_, selector)| selector.is_some());
        for (field, selector) in selectors {
            if let Some(selector) = selector {
                validate_label_selector(errors, &path.child(field), selector);
            }
        }
        if let Some(block) = &peer.ip_block {
            validate_block(errors, &path.child("ipBlock"), block);
        }
        match (selects, peer.ip_block.is_some()) {
            (false, false) => errors.required(&path, "must specify a peer"),
            (true, true) => errors.forbidden(&path, "may not specify both ipBlock and another peer"),
            _ => {}
        }
    }
}

fn validate_block(errors: &mut Errors, path: &Path<'_>, block: &IPBlock) {
    if block.cidr.is_empty() {
        errors.required(&path.child("cidr"), "");
        return;
    }
    let at = path.child("cidr");
    let Some(cidr) = validate_cidr(errors, &at, &block.cidr) else { return };
    let at = path.child("except");
    for (i, text) in block.except.iter().flatten().enumerate() {
        let at = at.index(i);
        let Some(except) = validate_cidr(errors, &at, text) else { continue };
        if except.prefix_len() <= cidr.prefix_len() || !cidr.contains(&except.network()) {
            errors.invalid(&at, text.as_str(), "must be a strict subset of `cidr`");
        }
    }
}

fn validate_cidr(errors: &mut Errors, path: &Path<'_>, text: &str) -> Option<IpNet> {
    match names::cidr(text) {
        Ok(net) => Some(net),
        Err(detail) => {
            errors.invalid(path, text, detail);
            None
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(spec: &Value) -> NetworkPolicy {
        let mut policy = crate::decode::decode(json!({"spec": spec})).unwrap().0;
        NetworkPolicies::default(&mut policy);
        policy
    }

    fn faults(spec: &Value) -> Vec<String> {
        let errors = NetworkPolicies::validate(&policy(spec));
        errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn defaults_say_which_ways_it_is_for() {
        for (spec, types) in [
            (json!({"podSelector": {}}), json!(["Ingress"])),
            (json!({"podSelector": {}, "egress": []}), json!(["Ingress"])),
            (json!({"podSelector": {}, "egress": [{}]}), json!(["Ingress", "Egress"])),
            (json!({"podSelector": {}, "policyTypes": ["Egress"]}), json!(["Egress"])),
        ] {
            assert_eq!(faults(&spec), Vec::<String>::new());
            assert_eq!(json!(policy(&spec).spec.unwrap().policy_types), types);
        }
        let spec = policy(&json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]})).spec.unwrap();
        assert_eq!(spec.ingress.unwrap()[0].ports.as_ref().unwrap()[0].protocol.as_deref(), Some("TCP"));
    }

    #[test]
    fn faults_read_as_upstream() {
        let ports = |ports: Value| faults(&json!({"podSelector": {}, "ingress": [{"ports": ports}]}));
        assert_eq!(
            ports(json!([{"protocol": "tcp", "port": 0}, {"port": 80, "endPort": 79}, {"endPort": 9}, {"port": "a b"},
                {"port": "web", "endPort": 70_000}])),
            [
                "spec.ingress[0].ports[0].protocol: Unsupported value: \"tcp\": supported values: \"TCP\", \"UDP\", \"SCTP\"",
                "spec.ingress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ingress[0].ports[1].endPort: Invalid value: 79: must be greater than or equal to `port`",
                "spec.ingress[0].ports[2].endPort: Invalid value: 9: may not be specified when `port` is not specified",
                "spec.ingress[0].ports[3].port: Invalid value: \"a b\": must contain only alpha-numeric characters (a-z, 0-9), \
                 and hyphens (-)",
                "spec.ingress[0].ports[4].endPort: Invalid value: 70000: may not be specified when `port` is non-numeric",
            ]
        );
        let peers = |peers: Value| faults(&json!({"podSelector": {}, "egress": [{"to": peers}]}));
        assert_eq!(
            peers(json!([{}, {"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}, {"ipBlock": {"cidr": ""}},
                {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16", "10.0.0.0/8", "10.1.0.0/16"]}}])),
            [
                "spec.egress[0].to[0]: Required value: must specify a peer",
                "spec.egress[0].to[1]: Forbidden: may not specify both ipBlock and another peer",
                "spec.egress[0].to[2].ipBlock.cidr: Required value",
                "spec.egress[0].to[3].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
                "spec.egress[0].to[3].ipBlock.except[1]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
            ]
        );
        assert_eq!(
            faults(&json!({"podSelector": {}, "policyTypes": ["Both"]})),
            ["spec.policyTypes[0]: Unsupported value: \"Both\": supported values: \"Egress\", \"Ingress\""]
        );
        assert_eq!(faults(&json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}})).len(), 1);
    }

    #[test]
    fn generations_follow_the_spec() {
        let (a, b) =
            (policy(&json!({"podSelector": {}})), policy(&json!({"podSelector": {"matchLabels": {"a": "b"}}})));
        assert!(NetworkPolicies::spec_changed(&a, &b) && !NetworkPolicies::spec_changed(&a, &a));
        assert_eq!(NetworkPolicies::row(&b, Timestamp::UNIX_EPOCH)[1], "a=b");
    }
}
