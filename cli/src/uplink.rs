//! Which interface leads outside, and its address.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use nix::ifaddrs::getifaddrs;

/// The interface of the IPv4 default route.
pub(crate) fn default_link() -> Result<String> {
    let routes = fs::read_to_string("/proc/thread-self/net/route").context("read the routes")?;
    parse_default_link(&routes).context("no default route: name the node's interface with --link")
}

/// In `/proc/net/route` a line is: interface, destination, gateway, flags, …, all zero for the default destination.
fn parse_default_link(routes: &str) -> Option<String> {
    routes.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let (link, destination) = (fields.next()?, fields.next()?);
        (destination == "00000000").then(|| link.to_owned())
    })
}

/// The first IPv4 address of an interface.
pub(crate) fn address_of(link: &str) -> Result<Ipv4Addr> {
    getifaddrs()
        .context("list interfaces")?
        .filter(|interface| interface.interface_name == link)
        .find_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()))
        .with_context(|| format!("interface {link} has no IPv4 address: give one with --node-ip"))
}

#[cfg(test)]
mod tests {
    use super::parse_default_link;

    #[test]
    fn default_route_names_the_link() {
        let routes = "Iface\tDestination\tGateway\neth1\t000012C6\t00000000\neth0\t00000000\t020012C6\n";
        assert_eq!(parse_default_link(routes).as_deref(), Some("eth0"));
        assert_eq!(parse_default_link("Iface\tDestination\n"), None);
    }
}
