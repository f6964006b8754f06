//! Ingress.

mod validate;

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{Ingress, IngressSpec};

use crate::endpoint::abridged;
use crate::field::{Errors, Path};
use crate::kind::{Kind, with_generations, with_status};
use crate::strategy::{Cell, Column, FieldError, Subresource};
use crate::table;

/// Where the class stood before it was a field.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// Ingresses.
pub(crate) struct Ingresses;

impl Kind for Ingresses {
    type Object = Ingress;

    const SINGULAR: &'static str = "ingress";
    const SHORT_NAMES: &'static [&'static str] = &["ing"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("Class", "The name of the IngressClass resource that should be used for additional configuration"),
        table::text("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
        table::text("Address", "Address is a list containing ingress points for the load-balancer"),
        table::text("Ports", "Ports of TLS configurations that open"),
        table::AGE,
    ];

    with_status!(Ingress);
    with_generations!(Ingress);

    fn validate(object: &Ingress) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let spec = object.spec.clone().unwrap_or_default();
        let annotations = object.metadata.annotations.as_ref();
        if let Some(class) = annotations.and_then(|annotations| annotations.get(CLASS_ANNOTATION))
            && spec.ingress_class_name.is_some()
        {
            let path = Path::root("annotations");
            errors.invalid(
                &path.key(CLASS_ANNOTATION),
                class.as_str(),
                "can not be set when the class field is also set",
            );
        }
        validate::spec(&mut errors, &Path::root("spec"), &spec);
        errors.into_vec()
    }

    fn validate_update(new: &Ingress, _old: &Ingress) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate::spec(&mut errors, &Path::root("spec"), &new.spec.clone().unwrap_or_default());
        errors.into_vec()
    }

    fn validate_status_update(new: &Ingress, _old: &Ingress) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate::status(&mut errors, &Path::root("status"), &new.status.clone().unwrap_or_default());
        errors.into_vec()
    }

    fn row(object: &Ingress, now: Timestamp) -> Vec<Cell> {
        let spec = object.spec.clone().unwrap_or_default();
        let balancer = object.status.clone().and_then(|status| status.load_balancer).unwrap_or_default();
        let points = balancer.ingress.unwrap_or_default().into_iter();
        let addresses: Vec<String> =
            points.filter_map(|point| point.ip.filter(|ip| !ip.is_empty()).or(point.hostname)).collect();
        vec![
            table::name(&object.metadata),
            table::or_none(spec.ingress_class_name.as_deref()),
            Cell::from(abridged(&hosts(&spec), "*")),
            Cell::from(addresses.join(",")),
            Cell::from(if spec.tls.is_some_and(|tls| !tls.is_empty()) { "80, 443" } else { "80" }),
            table::age(&object.metadata, now),
        ]
    }
}

fn hosts(spec: &IngressSpec) -> Vec<String> {
    let hosts = spec.rules.iter().flatten().filter_map(|rule| rule.host.clone());
    hosts.filter(|host| !host.is_empty()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ingress(spec: &Value) -> Ingress {
        crate::decode::decode(json!({"metadata": {"name": "i"}, "spec": spec})).unwrap().0
    }

    fn faults(spec: &Value) -> Vec<String> {
        let errors = Ingresses::validate(&ingress(spec));
        errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    fn rule(path: &Value) -> Value {
        json!({"rules": [{"host": "a.example.com", "http": {"paths": [path]}}]})
    }

    #[test]
    fn faults_read_as_upstream() {
        let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
        assert_eq!(faults(&json!({"defaultBackend": backend})), Vec::<String>::new());
        assert_eq!(
            faults(&rule(&json!({"path": "/", "pathType": "Prefix", "backend": backend}))),
            Vec::<String>::new()
        );
        assert_eq!(
            faults(&json!({})),
            ["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"]
        );
        assert_eq!(
            faults(&rule(&json!({"path": "a/../b", "pathType": "Exact", "backend": {"service": {"name": "s"}}}))),
            [
                "spec.rules[0].http.paths[0].path: Invalid value: \"a/../b\": must be an absolute path",
                "spec.rules[0].http.paths[0].path: Invalid value: \"a/../b\": must not contain '/../'",
                "spec.rules[0].http.paths[0].backend: Required value: port name or number is required",
            ]
        );
        assert_eq!(
            faults(&rule(&json!({"pathType": "x", "backend": {}}))),
            [
                "spec.rules[0].http.paths[0].pathType: Unsupported value: \"x\": supported values: \"Exact\", \
                 \"ImplementationSpecific\", \"Prefix\"",
                "spec.rules[0].http.paths[0].backend: Invalid value: \"\": resource or service backend is required",
            ]
        );
        let tls = json!({"defaultBackend": backend, "tls": [{"hosts": ["*.a.b", "A"]}], "ingressClassName": "X"});
        assert_eq!(faults(&tls).len(), 2);
        let ip = json!({"rules": [{"host": "1.2.3.4"}]});
        assert_eq!(
            faults(&ip),
            ["spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"]
        );
    }

    #[test]
    fn the_row_is_kubectls() {
        let mut object = ingress(&json!({"ingressClassName": "c", "tls": [{}],
            "rules": [{"host": "a"}, {"host": "b"}, {"host": "c"}, {"host": "d"}]}));
        object.status =
            crate::decode::decode(json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "h"}]}}))
                .unwrap()
                .0;
        let row = Ingresses::row(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(row), json!(["i", "c", "a,b,c + 1 more...", "192.0.2.1,h", "80, 443", "<unknown>"]));
    }
}
