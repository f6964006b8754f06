//! Service.

mod allocate;
mod table;
mod validate;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ClientIPConfig, Service, ServiceSpec, ServiceStatus, SessionAffinityConfig};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::kind::Kind;
use crate::names;
use crate::strategy::{Allocated, Cell, Claim, Column, FieldError, Pools, Subresource};

const AFFINITY_SECONDS: i32 = 10_800;

/// Services.
pub(crate) struct Services;

impl Kind for Services {
    type Object = Service;

    const CREATES_ON_UPDATE: bool = true;
    const SINGULAR: &'static str = "service";
    const SHORT_NAMES: &'static [&'static str] = &["svc"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status, Subresource::Proxy];
    const COLUMNS: &'static [Column] = table::COLUMNS;
    const FIELDS: &'static [&'static str] = &["metadata.name", "metadata.namespace", "spec.clusterIP", "spec.type"];

    fn default(object: &mut Service) {
        default_spec(object.spec.get_or_insert_default());
        let balanced = object.spec.as_ref().is_some_and(|spec| kind(spec) == "LoadBalancer");
        let status = object.status.iter_mut().filter(|_| balanced);
        for ingress in status.flat_map(|s| &mut s.load_balancer).flat_map(|lb| lb.ingress.iter_mut().flatten()) {
            if ingress.ip.is_some() {
                ingress.ip_mode.get_or_insert_with(|| "VIP".to_owned());
            }
        }
    }

    fn set_status(object: &mut Service, from: Option<&Service>) {
        let status = from.and_then(|from| from.status.clone());
        object.status = Some(
            status.unwrap_or_else(|| ServiceStatus { load_balancer: Some(Default::default()), ..Default::default() }),
        );
    }

    fn prepare_for_update(new: &mut Service, old: &Service) {
        Self::set_status(new, Some(old));
        if let (Some(spec), Some(was)) = (&mut new.spec, &old.spec) {
            allocate::carry_over(spec, was);
            if kind(spec) != "LoadBalancer"
                && let Some(status) = &mut new.status
            {
                status.load_balancer = Some(Default::default());
            }
        }
    }

    fn allocate(new: &mut Service, old: Option<&Service>, pools: &dyn Pools) -> Allocated {
        let old = old.and_then(|old| old.spec.as_ref());
        allocate::allocate(new.spec.get_or_insert_default(), old, pools)
    }

    fn claims(object: &Service) -> Vec<Claim> {
        object.spec.as_ref().map(allocate::claims).unwrap_or_default()
    }

    fn validate(object: &Service) -> Vec<FieldError> {
        validate::service(object)
    }

    fn validate_update(new: &Service, old: &Service) -> Vec<FieldError> {
        validate::update(new, old)
    }

    fn validate_status_update(new: &Service, _old: &Service) -> Vec<FieldError> {
        validate::status(new)
    }

    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        names::dns1035_label(names::without_suffix_dash(name, prefix))
    }

    fn row(object: &Service, now: Timestamp) -> Vec<Cell> {
        table::row(object, now)
    }

    fn fields(object: &Service) -> Vec<(&'static str, String)> {
        let spec = object.spec.as_ref();
        vec![
            ("spec.clusterIP", spec.and_then(|spec| spec.cluster_ip.clone()).unwrap_or_default()),
            ("spec.type", spec.map(|spec| kind(spec).to_owned()).unwrap_or_default()),
        ]
    }
}

/// `spec.type`.
fn kind(spec: &ServiceSpec) -> &str {
    spec.type_.as_deref().unwrap_or_default()
}

/// Whether the type comes with cluster addresses.
fn has_cluster_ips(spec: &ServiceSpec) -> bool {
    matches!(kind(spec), "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// Whether `clusterIP` is `None`.
fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ips.iter().flatten().next().or(spec.cluster_ip.as_ref()).is_some_and(|ip| ip == "None")
}

/// Whether the type may have node ports.
fn may_have_node_ports(spec: &ServiceSpec) -> bool {
    matches!(kind(spec), "NodePort" | "LoadBalancer")
}

/// Whether node ports are given to ports that ask for none.
fn gets_node_ports(spec: &ServiceSpec) -> bool {
    match kind(spec) {
        "NodePort" => true,
        "LoadBalancer" => spec.allocate_load_balancer_node_ports != Some(false),
        _ => false,
    }
}

/// Whether load balancers outside ask a port on the node for its local endpoints.
fn has_health_check_port(spec: &ServiceSpec) -> bool {
    kind(spec) == "LoadBalancer" && spec.external_traffic_policy.as_deref() == Some("Local")
}

/// Whether traffic from outside can reach it.
fn is_external(spec: &ServiceSpec) -> bool {
    may_have_node_ports(spec)
        || (kind(spec) == "ClusterIP" && spec.external_ips.as_deref().is_some_and(|ips| !ips.is_empty()))
}

fn default_spec(spec: &mut ServiceSpec) {
    let set = |field: &mut Option<String>, default: &str| {
        if field.as_deref().unwrap_or_default().is_empty() {
            *field = Some(default.to_owned());
        }
    };
    set(&mut spec.session_affinity, "None");
    match spec.session_affinity.as_deref() {
        Some("None") => spec.session_affinity_config = None,
        Some("ClientIP") => {
            let config = spec.session_affinity_config.get_or_insert_with(SessionAffinityConfig::default);
            let client = config.client_ip.get_or_insert_with(ClientIPConfig::default);
            client.timeout_seconds.get_or_insert(AFFINITY_SECONDS);
        }
        _ => {}
    }
    set(&mut spec.type_, "ClusterIP");
    for port in spec.ports.iter_mut().flatten() {
        set(&mut port.protocol, "TCP");
        let unset = match &port.target_port {
            None | Some(IntOrString::Int(0)) => true,
            Some(IntOrString::String(name)) => name.is_empty(),
            Some(IntOrString::Int(_)) => false,
        };
        if unset {
            port.target_port = Some(IntOrString::Int(port.port));
        }
    }
    if is_external(spec) {
        set(&mut spec.external_traffic_policy, "Cluster");
    }
    if has_cluster_ips(spec) {
        spec.internal_traffic_policy.get_or_insert_with(|| "Cluster".to_owned());
    }
    if kind(spec) == "LoadBalancer" {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
}
