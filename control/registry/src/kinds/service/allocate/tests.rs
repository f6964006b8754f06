use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::*;

/// Pools whose values in use are listed.
struct Fixed {
    cidrs: Vec<IpNet>,
    ports: RangeInclusive<u16>,
    used: Vec<Claim>,
    seed: u64,
}

impl Pools for Fixed {
    fn is_claimed(&self, claim: &Claim) -> bool {
        self.used.contains(claim)
    }
    fn service_cidrs(&self) -> &[IpNet] {
        &self.cidrs
    }
    fn node_ports(&self) -> RangeInclusive<u16> {
        self.ports.clone()
    }
    fn seed(&self) -> u64 {
        self.seed
    }
}

fn cidrs(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn dual() -> Fixed {
    Fixed { cidrs: cidrs(&["10.96.0.0/16", "fd00:96::/112"]), ..pools() }
}

fn pools() -> Fixed {
    Fixed { cidrs: cidrs(&["10.96.0.0/16"]), ports: 30_000..=32_767, used: Vec::new(), seed: 0 }
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
    let mut pools = Fixed { cidrs: cidrs(&["10.0.0.0/28"]), ..pools() };
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

fn families(spec: &ServiceSpec) -> (Vec<String>, Vec<String>) {
    (spec.ip_families.clone().unwrap_or_default(), spec.cluster_ips.clone().unwrap_or_default())
}

#[test]
fn one_family_or_two_as_the_policy_and_the_cluster_have_it() {
    for (value, pools, expected) in [
        (json!({}), dual(), (vec!["IPv4"], vec!["10.96.1.1"])),
        (json!({"ipFamilies": ["IPv6"]}), dual(), (vec!["IPv6"], vec!["fd00:96::101"])),
        (json!({"clusterIP": "fd00:96::7"}), dual(), (vec!["IPv6"], vec!["fd00:96::7"])),
        (json!({"ipFamilyPolicy": "PreferDualStack"}), pools(), (vec!["IPv4"], vec!["10.96.1.1"])),
        (
            json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6"]}),
            dual(),
            (vec!["IPv6", "IPv4"], vec!["fd00:96::101", "10.96.1.1"]),
        ),
        (
            json!({"ipFamilyPolicy": "RequireDualStack", "clusterIPs": ["10.96.0.9"], "clusterIP": "10.96.0.9"}),
            dual(),
            (vec!["IPv4", "IPv6"], vec!["10.96.0.9", "fd00:96::101"]),
        ),
        (json!({"clusterIP": "None"}), pools(), (vec!["IPv4", "IPv6"], vec!["None"])),
        (json!({"clusterIP": "None", "selector": {"a": "b"}}), dual(), (vec!["IPv4"], vec!["None"])),
    ] {
        let mut service = spec(value.clone());
        allocate(&mut service, None, &pools).unwrap();
        let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(families(&service), (owned(expected.0), owned(expected.1)), "{value}");
    }
}

#[test]
fn families_that_are_not_there_are_named() {
    for (value, expected) in [
        (
            json!({"ipFamilyPolicy": "RequireDualStack"}),
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
        ),
        (
            json!({"ipFamilies": ["IPv6"]}),
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
        (
            json!({"clusterIP": "fd00:96::7"}),
            "spec.clusterIPs[0]: Invalid value: [\"fd00:96::7\"]: IPv6 is not configured on this cluster",
        ),
        (
            json!({"ipFamilies": ["IPv4", "IPv6"]}),
            "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when \
             multiple IP families are specified",
        ),
    ] {
        assert_eq!(text(allocate(&mut spec(value), None, &pools())), [expected]);
    }
}

#[test]
fn a_second_family_comes_and_goes_by_the_policy() {
    let mut single = spec(json!({}));
    allocate(&mut single, None, &dual()).unwrap();
    let mut both = ServiceSpec { ip_family_policy: Some("RequireDualStack".to_owned()), ..single.clone() };
    allocate(&mut both, Some(&single), &dual()).unwrap();
    assert_eq!(families(&both).1, ["10.96.1.1", "fd00:96::101"]);
    assert_eq!(claims(&both).len(), 2);

    let mut fewer = both.clone();
    fewer.cluster_ips.as_mut().unwrap().truncate(1);
    let errors = text(allocate(&mut fewer, Some(&both), &dual()));
    assert!(errors[0].ends_with("must be 'SingleStack' to release the secondary cluster IP"), "{errors:?}");

    let mut back = ServiceSpec { ip_family_policy: Some("SingleStack".to_owned()), ..both.clone() };
    allocate(&mut back, Some(&both), &dual()).unwrap();
    assert_eq!(families(&back), (vec!["IPv4".to_owned()], vec!["10.96.1.1".to_owned()]));

    let prefers = ServiceSpec { ip_family_policy: Some("PreferDualStack".to_owned()), ..single };
    let mut again = prefers.clone();
    allocate(&mut again, Some(&prefers), &dual()).unwrap();
    assert_eq!(families(&again).0, ["IPv4"], "an update that asks for nothing changes nothing");
}
