//! NetworkPolicy: three namespaces of three pods, a client outside, two ports, TCP and UDP; every pair is tried over real
//! connections, and what is reached is what the policies say when they are read plainly.

mod cases;
mod flows;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};
use skep_abi::Metric;
use skep_netmodel::PolicyModel;
use skep_netmodel::reference::{Cluster, Party, Target, allowed};
use skep_netns::{CLIENT, NODE, Server, Try, World, counter, try_all};

const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const PODS: [&str; 3] = ["a", "b", "c"];
const PORTS: [u16; 2] = [80, 81];

/// A world whose pods are those of a cluster, and the policies in force there.
struct Stage {
    world: World,
    model: PolicyModel,
    cluster: Cluster,
    _servers: Vec<Server>,
}

impl Stage {
    fn new() -> Self {
        let world = World::new(9);
        world.client.ip(&["route", "add", "10.42.0.0/24", "via", &NODE.to_string()]).unwrap();
        let mut servers = Vec::new();
        for port in PORTS {
            servers.extend(world.pods.iter().map(|pod| Server::start(&pod.netns, &pod.name, port)));
            servers.push(Server::start(&world.client, "client", port));
        }
        let mut model = PolicyModel::new([]);
        model.set_complete();
        let mut stage = Self { world, model, cluster: Cluster::default(), _servers: servers };
        for (at, namespace) in NAMESPACES.into_iter().enumerate() {
            stage.set_namespace(namespace, json!({"ns": namespace}));
            for (place, name) in PODS.into_iter().enumerate() {
                let address = stage.world.pods[at * 3 + place].address;
                stage.model.attach(IpAddr::V4(address), namespace, name);
                stage.set_pod(namespace, name, json!({"pod": name}));
            }
        }
        stage
    }

    fn address(&self, namespace: &str, pod: &str) -> Ipv4Addr {
        let at = NAMESPACES.iter().position(|one| *one == namespace).unwrap();
        let place = PODS.iter().position(|one| *one == pod).unwrap();
        self.world.pods[at * 3 + place].address
    }

    fn set_namespace(&mut self, name: &str, mut labels: Value) {
        labels["kubernetes.io/metadata.name"] = name.into();
        let object: Namespace = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap();
        self.model.upsert_namespace(&object);
        self.cluster.namespaces.retain(|one| one.metadata.name.as_deref() != Some(name));
        self.cluster.namespaces.push(object);
    }

    fn set_pod(&mut self, namespace: &str, name: &str, labels: Value) {
        let port = |number: u16, protocol: &str| json!({"name": format!("serve-{number}-{}", protocol.to_lowercase()), "containerPort": number, "protocol": protocol});
        let ports = [port(80, "TCP"), port(81, "TCP"), port(80, "UDP"), port(81, "UDP")];
        let object: Pod = serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": name, "labels": labels},
            "spec": {"containers": [{"name": "c", "ports": ports}]},
            "status": {"phase": "Running", "podIPs": [{"ip": self.address(namespace, name).to_string()}]},
        }))
        .unwrap();
        self.model.upsert_pod(&object);
        let is = |one: &Pod| {
            one.metadata.namespace.as_deref() == Some(namespace) && one.metadata.name.as_deref() == Some(name)
        };
        self.cluster.pods.retain(|one| !is(one));
        self.cluster.pods.push(object);
    }

    fn set_policy(&mut self, namespace: &str, name: &str, spec: &Value) {
        let value = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
        let object: NetworkPolicy = serde_json::from_value(value).unwrap();
        self.model.upsert_policy(&object);
        self.forget(namespace, name);
        self.cluster.policies.push(object);
    }

    fn remove_policy(&mut self, namespace: &str, name: &str) {
        self.model.remove_policy(namespace, name);
        self.forget(namespace, name);
    }

    fn clear(&mut self) {
        for policy in std::mem::take(&mut self.cluster.policies) {
            self.model.remove_policy(&policy.metadata.namespace.unwrap(), &policy.metadata.name.unwrap());
        }
    }

    fn forget(&mut self, namespace: &str, name: &str) {
        self.cluster.policies.retain(|one| {
            one.metadata.namespace.as_deref() != Some(namespace) || one.metadata.name.as_deref() != Some(name)
        });
    }

    /// Writes what is pending, and finds the kernel to hold what it should.
    fn write(&mut self) {
        let delta = self.model.take_delta();
        assert_eq!(delta.problems, []);
        self.world.datapath().apply_policy(&delta, self.model.state()).unwrap();
        assert_eq!(self.world.datapath().inspect().verify_policy(self.model.state()).unwrap(), []);
    }

    fn allows(&self, one: &Try) -> bool {
        let party = |address: Ipv4Addr| {
            let is = |pod: &&Pod| {
                let status = pod.status.as_ref().and_then(|status| status.pod_ips.as_ref());
                status.is_some_and(|ips| ips[0].ip == address.to_string())
            };
            Party { address: address.into(), pod: self.cluster.pods.iter().find(is) }
        };
        // A node always reaches its own pods.
        let target = Target { protocol: if one.udp { "UDP" } else { "TCP" }, port: one.to.port() };
        one.from == NODE || allowed(&self.cluster, party(one.from), party(*one.to.ip()), target)
    }

    /// Tries everything, and compares.
    fn check(&mut self, what: &str) {
        self.write();
        let mut parties: BTreeMap<Ipv4Addr, _> = self.world.pods.iter().map(|pod| (pod.address, &pod.netns)).collect();
        parties.insert(CLIENT, &self.world.client);
        parties.insert(NODE, &self.world.node);
        let mut tries = Vec::new();
        for &from in parties.keys() {
            for &to in parties.keys().filter(|to| **to != NODE && (**to != CLIENT || from != NODE)) {
                for port in PORTS {
                    tries.extend([false, true].map(|udp| Try { from, to: SocketAddrV4::new(to, port), udp }));
                }
            }
        }
        let drops = || counter(&self.world, Metric::DropIngressPolicy) + counter(&self.world, Metric::DropEgressPolicy);
        let reached = try_all(&parties, &tries, |one| self.allows(one), drops);
        let wrong: Vec<String> = reached
            .iter()
            .filter(|(one, reached)| self.allows(one) != **reached)
            .map(|(one, reached)| format!("{} -> {} udp={} reached={reached}", one.from, one.to, one.udp))
            .collect();
        let allowed = reached.values().filter(|reached| **reached).count();
        println!("{what}: {allowed} of {} reached", reached.len());
        assert_eq!(wrong, Vec::<String>::new(), "{what}");
    }
}
