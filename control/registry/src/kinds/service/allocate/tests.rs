use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::*;

/// Pools whose values in use are listed.
struct Fixed {
    cidr: &'static str,
    ports: RangeInclusive<u16>,
    used: Vec<Claim>,
    seed: u64,
}

impl Pools for Fixed {
    fn is_claimed(&self, claim: &Claim) -> bool {
        self.used.contains(claim)
    }
    fn service_cidr(&self) -> IpNet {
        self.cidr.parse().unwrap()
    }
    fn node_ports(&self) -> RangeInclusive<u16> {
        self.ports.clone()
    }
    fn seed(&self) -> u64 {
        self.seed
    }
}

fn pools() -> Fixed {
    Fixed { cidr: "10.96.0.0/16", ports: 30_000..=32_767, used: Vec::new(), seed: 0 }
}

fn spec(value: Value) -> ServiceSpec {
    let mut spec = crate::decode::decode(value).unwrap().0;
    super::super::default_spec(&mut spec);
    spec
}

fn text(result: Allocated) -> Vec<String> {
    result.unwrap_err().iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
}

#[test]
fn an_address_comes_from_above_the_static_band() {
    let mut service = spec(json!({"ports": [{"port": 80}]}));
    allocate(&mut service, None, &pools()).unwrap();
    assert_eq!(service.cluster_ip.as_deref(), Some("10.96.1.1"));
    assert_eq!(service.cluster_ips.as_deref(), Some(&["10.96.1.1".to_owned()][..]));
    assert_eq!(service.ip_families.as_deref(), Some(&["IPv4".to_owned()][..]));
    assert_eq!(service.ip_family_policy.as_deref(), Some("SingleStack"));
    assert_eq!(claims(&service), [ip_claim("10.96.1.1")]);
}

#[test]
fn a_range_is_used_up_but_for_the_first_address() {
    let mut pools = Fixed { cidr: "10.0.0.0/28", ..pools() };
    for seed in 0..13 {
        pools.seed = seed * 7;
        let mut service = spec(json!({}));
        allocate(&mut service, None, &pools).unwrap();
        let claim = claims(&service).pop().unwrap();
        assert_ne!(claim.value, "10.0.0.1");
        assert!(!pools.used.contains(&claim));
        pools.used.push(claim);
    }
    let errors = text(allocate(&mut spec(json!({})), None, &pools));
    assert_eq!(errors, ["spec.clusterIPs: Internal error: failed to allocate a serviceIP: range is full"]);
    allocate(&mut spec(json!({"clusterIP": "10.0.0.1"})), None, &pools).unwrap();
}

#[test]
fn an_address_asked_for_is_checked() {
    let mut pools = pools();
    let asked = |ip: &str| spec(json!({"clusterIP": ip}));
    assert_eq!(
        text(allocate(&mut asked("10.0.0.1"), None, &pools)),
        [
            "spec.clusterIPs: Invalid value: [\"10.0.0.1\"]: failed to allocate IP 10.0.0.1: the provided IP (10.0.0.1) is \
          not in the valid range. The range of valid IPs is 10.96.0.0/16"
        ]
    );
    pools.used.push(ip_claim("10.96.0.10"));
    assert_eq!(
        text(allocate(&mut asked("10.96.0.10"), None, &pools)),
        ["spec.clusterIPs: Invalid value: [\"10.96.0.10\"]: failed to allocate IP 10.96.0.10: provided IP is already \
          allocated"]
    );
    assert!(allocate(&mut asked("10.96.255.255"), None, &pools).is_err());
    let mut held = asked("10.96.0.10");
    held.cluster_ips = Some(vec!["10.96.0.10".to_owned()]);
    allocate(&mut held.clone(), Some(&held), &pools).unwrap();
}

#[test]
fn headless_and_external_name_hold_nothing() {
    for value in
        [json!({"clusterIP": "None", "selector": {"a": "b"}}), json!({"type": "ExternalName", "externalName": "a.b"})]
    {
        let mut service = spec(value);
        allocate(&mut service, None, &pools()).unwrap();
        assert!(claims(&service).is_empty());
    }
}

#[test]
fn node_ports_are_given_checked_and_shared_between_protocols() {
    let mut pools = pools();
    let mut service = spec(json!({"type": "NodePort", "ports": [
        {"name": "a", "port": 53, "protocol": "UDP"}, {"name": "b", "port": 53}, {"name": "c", "port": 80}]}));
    allocate(&mut service, None, &pools).unwrap();
    let given: Vec<i32> = service.ports.iter().flatten().filter_map(|port| port.node_port).collect();
    assert_eq!(given, [30_086, 30_086, 30_087]);

    pools.used.push(port_claim(30_080));
    let asked = |port: i32| spec(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}));
    assert_eq!(
        text(allocate(&mut asked(30_080), None, &pools)),
        ["spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"]
    );
    assert_eq!(
        text(allocate(&mut asked(80), None, &pools)),
        [
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports \
          is 30000-32767"
        ]
    );
}

#[test]
fn an_update_keeps_what_was_given() {
    let mut old = spec(json!({"type": "NodePort", "ports": [{"port": 80}]}));
    allocate(&mut old, None, &pools()).unwrap();
    let mut new = spec(json!({"type": "NodePort", "ports": [{"port": 80, "targetPort": 8080}]}));
    carry_over(&mut new, &old);
    allocate(&mut new, Some(&old), &pools()).unwrap();
    assert_eq!(claims(&new), claims(&old));
}

#[test]
fn a_change_of_type_releases_and_takes() {
    let mut old = spec(json!({"type": "NodePort", "ports": [{"port": 80}]}));
    allocate(&mut old, None, &pools()).unwrap();
    let mut plain = ServiceSpec { type_: Some("ClusterIP".to_owned()), ..old.clone() };
    carry_over(&mut plain, &old);
    allocate(&mut plain, Some(&old), &pools()).unwrap();
    assert_eq!(claims(&plain), [ip_claim("10.96.1.1")]);
    assert_eq!(plain.external_traffic_policy, None);

    let mut name = ServiceSpec { type_: Some("ExternalName".to_owned()), ..old.clone() };
    carry_over(&mut name, &old);
    allocate(&mut name, Some(&old), &pools()).unwrap();
    assert!(claims(&name).is_empty());
    assert_eq!(name.cluster_ip, None);

    let mut balanced = spec(json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]}));
    carry_over(&mut balanced, &plain);
    allocate(&mut balanced, Some(&plain), &pools()).unwrap();
    assert_eq!(claims(&balanced).len(), 3);
    let mut again = balanced.clone();
    again.external_traffic_policy = Some("Cluster".to_owned());
    carry_over(&mut again, &balanced);
    assert_eq!(claims(&again).len(), 2);
}
