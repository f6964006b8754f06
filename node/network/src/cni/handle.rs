//! One call, from request to the JSON that is printed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::{Address, Config, Error, Interface, Outcome, Request, Route};
use crate::lease::{Attachment, Key};
use crate::link::host_len;
use crate::network::{Network, Pod, gateway};

/// Does what `request` asks, and returns the JSON of its success; empty for commands that answer nothing.
///
/// # Errors
/// With the codes of the specification.
pub async fn handle(network: &Network, request: &Request) -> Result<String, Error> {
    let config = Config::decode(&request.config)?;
    let answer = dispatch(network, request, &config).await;
    answer.map_err(|error| Error { cni_version: config.cni_version.clone(), ..error })
}

async fn dispatch(network: &Network, request: &Request, config: &Config) -> Result<String, Error> {
    match request.command.as_str() {
        "STATUS" => {
            network.status().await?;
            Ok(String::new())
        }
        "GC" => {
            let Some(valid) = &config.valid_attachments else {
                let details = "cni.dev/valid-attachments is missing".to_owned();
                return Err(Error::new(Error::INVALID_CONFIG, "GC without its list", details));
            };
            network.collect(&valid.iter().cloned().collect::<BTreeSet<Key>>()).await?;
            Ok(String::new())
        }
        "ADD" => {
            request.validate()?;
            let mappings = &config.runtime_config.port_mappings;
            let pod = Pod {
                key: key(request),
                netns: request.netns.clone(),
                namespace: request.arg("K8S_POD_NAMESPACE").to_owned(),
                name: request.arg("K8S_POD_NAME").to_owned(),
                uid: request.arg("K8S_POD_UID").to_owned(),
                // Runtimes list ports of the pod that no port of the node leads to as well.
                port_mappings: mappings.iter().filter(|mapping| mapping.host_port != 0).cloned().collect(),
            };
            let attachment = network.add(pod).await?;
            Ok(outcome(&attachment).to_json(&config.cni_version).to_string())
        }
        "DEL" => {
            request.validate()?;
            network.delete(&key(request)).await?;
            Ok(String::new())
        }
        "CHECK" => {
            request.validate()?;
            let attachment = network.check(&key(request), &request.netns).await?;
            compare(config.prev_result.as_ref(), &attachment)?;
            Ok(String::new())
        }
        other => Err(Error::environment("CNI_COMMAND", other)),
    }
}

fn key(request: &Request) -> Key {
    Key { container_id: request.container_id.clone(), ifname: request.ifname.clone() }
}

fn outcome(attachment: &Attachment) -> Outcome {
    let sandbox = Some(attachment.netns.to_string_lossy().into_owned());
    let (name, mac) = (attachment.ifname.clone(), attachment.pod_mac.to_string());
    let pod = Interface { name, mac, mtu: attachment.mtu, sandbox };
    let (name, mac) = (attachment.host_ifname.clone(), attachment.host_mac.to_string());
    let host = Interface { name, mac, mtu: attachment.mtu, sandbox: None };
    let ip = |&address: &IpAddr| Address {
        address: format!("{address}/{}", host_len(address)),
        gateway: Some(gateway(address).to_string()),
        interface: 1,
    };
    let route = |&address: &IpAddr| Route {
        dst: if address.is_ipv4() { "0.0.0.0/0" } else { "::/0" }.to_owned(),
        gw: gateway(address).to_string(),
    };
    Outcome {
        interfaces: vec![host, pod],
        ips: attachment.addresses.iter().map(ip).collect(),
        routes: attachment.addresses.iter().map(route).collect(),
    }
}

/// The runtime must hold what we hold. A runtime that sends no earlier result has nothing to compare.
fn compare(prev_result: Option<&Value>, attachment: &Attachment) -> Result<(), Error> {
    let Some(ips) = prev_result.and_then(|prev| prev.get("ips")).and_then(Value::as_array) else { return Ok(()) };
    for &address in &attachment.addresses {
        let ours = format!("{address}/{}", host_len(address));
        let known = |ip: &Value| ip.get("address").and_then(Value::as_str) == Some(ours.as_str());
        if !ips.iter().any(known) {
            let details = format!("prevResult does not hold {ours}");
            return Err(Error::new(Error::CHECK_FAILED, format!("attachment of {}", attachment.container_id), details));
        }
    }
    Ok(())
}
