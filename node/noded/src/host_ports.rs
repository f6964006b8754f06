//! Pods' ports of the node, from the leases of the network to the service tables.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use skep_netmodel::{HostPort, HostPorts, ObjectName};
use skep_network::{Attachment, PortMapping};
use tokio::sync::watch;

use crate::services::Input;

/// The pods that have ports of the node: now, and after each change.
pub(crate) fn follow(mut ported: watch::Receiver<Vec<Attachment>>) -> BoxStream<'static, Input> {
    ported.mark_changed();
    let next = |mut ported: watch::Receiver<Vec<Attachment>>| async move {
        ported.changed().await.ok()?;
        let pods = by_pod(&ported.borrow_and_update());
        Some((Input::HostPorts(pods), ported))
    };
    stream::unfold(ported, next).boxed()
}

/// No pod has any, and none will.
pub(crate) fn none() -> BoxStream<'static, Input> {
    stream::iter([Input::HostPorts(BTreeMap::new())]).boxed()
}

/// Of two sandboxes of one pod, the one that was made last counts: the other is on its way out.
fn by_pod(attachments: &[Attachment]) -> BTreeMap<ObjectName, HostPorts> {
    let mut newest: BTreeMap<ObjectName, &Attachment> = BTreeMap::new();
    for one in attachments {
        let name = if one.pod_name.is_empty() { &one.container_id } else { &one.pod_name };
        let held = newest.entry(ObjectName::new(&one.pod_namespace, name)).or_insert(one);
        if held.host_ifindex < one.host_ifindex {
            *held = one;
        }
    }
    let ports = |one: &Attachment| HostPorts {
        pod: one.addresses.clone(),
        ports: one.port_mappings.iter().map(port).collect(),
    };
    newest.into_iter().map(|(pod, one)| (pod, ports(one))).collect()
}

fn port(mapping: &PortMapping) -> HostPort {
    HostPort {
        host_ip: mapping.host_ip,
        host_port: mapping.host_port,
        container_port: mapping.container_port,
        protocol: mapping.protocol.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sandbox(id: &str, pod: &str, ifindex: u32, address: [u8; 4]) -> Attachment {
        let json = serde_json::json!({
            "containerId": id, "ifname": "eth0", "podNamespace": "shop", "podName": pod, "netns": "/run/netns/x",
            "addresses": [std::net::IpAddr::from(address)], "hostIfname": "skp1", "hostIfindex": ifindex,
            "hostMac": "0a:68:0a:2a:00:05", "podMac": "0a:70:0a:2a:00:05", "mtu": 1500,
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "127.0.0.1"}],
        });
        serde_json::from_value(json).unwrap()
    }

    #[tokio::test]
    async fn the_last_sandbox_of_a_pod_has_its_ports() {
        let (sender, receiver) = watch::channel(vec![sandbox("a", "web", 7, [10, 42, 0, 5])]);
        let mut pods = follow(receiver);
        let mut next = async || match pods.next().await {
            Some(Input::HostPorts(pods)) => pods,
            _ => panic!("only host ports come this way"),
        };
        let web = ObjectName::new("shop", "web");
        let first = next().await;
        assert_eq!(first[&web].pod, [std::net::IpAddr::from([10, 42, 0, 5])]);
        assert_eq!((first[&web].ports[0].host_port, first[&web].ports[0].container_port), (8080, 80));
        sender.send(vec![sandbox("b", "web", 9, [10, 42, 0, 6]), sandbox("a", "web", 7, [10, 42, 0, 5])]).unwrap();
        assert_eq!(next().await[&web].pod, [std::net::IpAddr::from([10, 42, 0, 6])]);
        sender.send(Vec::new()).unwrap();
        assert!(next().await.is_empty());
    }
}
