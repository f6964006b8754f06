//! Which interface leads outside, and its address.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

/// The interface of the default route, that of IPv4 if there is one.
pub(crate) fn default_link() -> Result<String> {
    let routes = fs::read_to_string("/proc/thread-self/net/route").context("read the routes")?;
    // There is no such file where the kernel has no IPv6.
    let six = fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap_or_default();
    let link = parse_default_link(&routes).or_else(|| parse_default_link_v6(&six));
    link.context("no default route: name the node's interface with --link")
}

/// In `/proc/net/route` a line is: interface, destination, gateway, flags, …, all zero for the default destination.
fn parse_default_link(routes: &str) -> Option<String> {
    routes.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let (link, destination) = (fields.next()?, fields.next()?);
        (destination == "00000000").then(|| link.to_owned())
    })
}

/// In `/proc/net/ipv6_route` a line is: destination, length of its prefix, …, interface; all zero for the default destination. Those
/// by which nothing can be reached are of the loopback interface.
fn parse_default_link_v6(routes: &str) -> Option<String> {
    routes.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let link = fields.last().filter(|link| **link != "lo")?;
        (fields[0].bytes().all(|byte| byte == b'0') && fields.get(1) == Some(&"00")).then(|| (*link).to_owned())
    })
}

/// An address of an interface, of IPv4 if it has one, and otherwise one that is good beyond the link.
pub(crate) fn address_of(link: &str) -> Result<IpAddr> {
    let own = getifaddrs().context("list interfaces")?.filter(|interface| interface.interface_name == link);
    let addresses: Vec<IpAddr> = own.filter_map(|interface| ip(&interface.address?)).collect();
    let first = addresses.iter().find(|ip| ip.is_ipv4()).or(addresses.first());
    first.copied().with_context(|| format!("interface {link} has no address: give one with --node-ip"))
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let six = || address.as_sockaddr_in6().map(|six| six.ip()).filter(|six| !six.is_unicast_link_local());
    address.as_sockaddr_in().map(|four| four.ip().into()).or_else(|| six().map(IpAddr::V6))
}

#[cfg(test)]
mod tests {
    use super::{parse_default_link, parse_default_link_v6};

    #[test]
    fn default_route_of_ipv6_names_the_link() {
        let zero = "0".repeat(32);
        let none = format!("{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n");
        assert_eq!(parse_default_link_v6(&none), None);
        let routes =
            format!("{none}fd00 40 {zero} eth1\n{zero} 00 {zero} 00 fe80 00000400 00000001 00000000 00000003 eth0\n");
        assert_eq!(parse_default_link_v6(&routes).as_deref(), Some("eth0"));
    }

    #[test]
    fn default_route_names_the_link() {
        let routes = "Iface\tDestination\tGateway\neth1\t000012C6\t00000000\neth0\t00000000\t020012C6\n";
        assert_eq!(parse_default_link(routes).as_deref(), Some("eth0"));
        assert_eq!(parse_default_link("Iface\tDestination\n"), None);
    }
}
