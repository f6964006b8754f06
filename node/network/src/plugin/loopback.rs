//! containerd asks a plugin called `loopback` for each pod, before any other.

use std::net::Ipv4Addr;

use crate::cni::{Address, Config, Error, Interface, Outcome, Request};
use crate::link::Links;
use crate::netns::Netns;

pub(super) async fn answer(request: &Request, config: &Config) -> Result<String, Error> {
    match request.command.as_str() {
        "ADD" | "CHECK" => {
            request.validate()?;
            set_up(request).await.map_err(|error| Error::io("loopback", &error))?;
            Ok(if request.command == "ADD" {
                outcome(request).to_json(&config.cni_version).to_string()
            } else {
                String::new()
            })
        }
        // It goes with its namespace.
        "DEL" | "GC" | "STATUS" => Ok(String::new()),
        other => Err(Error::environment("CNI_COMMAND", other)),
    }
}

async fn set_up(request: &Request) -> std::io::Result<()> {
    let netns = Netns::open(&request.netns)?;
    let links = Links::connect(&netns).await?;
    let link = links.get(&request.ifname).await?.ok_or(std::io::ErrorKind::NotFound)?;
    links.set_up(link.index).await
}

fn outcome(request: &Request) -> Outcome {
    let sandbox = Some(request.netns.to_string_lossy().into_owned());
    let mac = "00:00:00:00:00:00".to_owned();
    let address = format!("{}/8", Ipv4Addr::LOCALHOST);
    Outcome {
        interfaces: vec![Interface { name: request.ifname.clone(), mac, mtu: 65536, sandbox }],
        ips: vec![Address { address, gateway: None, interface: 0 }],
        routes: Vec::new(),
    }
}
