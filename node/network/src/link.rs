//! Links, addresses, routes and neighbours of one namespace, by route netlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt as _;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteScope};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, LinkVxlan, RouteMessageBuilder};
use tokio::task::JoinHandle;

use crate::mac::Mac;
use crate::netns::Netns;

/// A netlink socket in one namespace, and the task that serves it.
#[derive(Debug)]
pub(crate) struct Links {
    handle: Handle,
    connection: JoinHandle<()>,
}

/// What is asked for when a pair is made.
pub(crate) struct Pair<'a> {
    pub(crate) host_ifname: &'a str,
    pub(crate) host_mac: Mac,
    pub(crate) pod_ifname: &'a str,
    pub(crate) pod_mac: Mac,
    pub(crate) pod_netns: &'a Netns,
    pub(crate) mtu: u32,
}

/// A link as the kernel holds it.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    pub(crate) mac: Option<Mac>,
}

impl Links {
    /// A socket inside of `netns`. It stays there whatever thread uses it.
    pub(crate) async fn connect(netns: &Netns) -> io::Result<Self> {
        let (connection, handle, _messages) = netns.run(rtnetlink::new_connection).await?;
        Ok(Links { handle, connection: tokio::spawn(connection) })
    }

    /// Makes both ends of a veth pair at once, the pod's one directly in its namespace. Neither can be up before both are.
    pub(crate) async fn add_pair(&self, pair: &Pair<'_>) -> io::Result<()> {
        let pod_end = rtnetlink::LinkMessageBuilder::<LinkUnspec>::new()
            .name(pair.pod_ifname)
            .address(pair.pod_mac.0.to_vec())
            .mtu(pair.mtu)
            .setns_by_fd(pair.pod_netns.raw_fd())
            .build();
        let message = LinkVeth::new(pair.host_ifname, pair.pod_ifname)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(pod_end)))
            .address(pair.host_mac.0.to_vec())
            .mtu(pair.mtu)
            .build();
        self.handle.link().add(message).execute().await.map_err(into_io)
    }

    pub(crate) async fn set_up(&self, index: u32) -> io::Result<()> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().change(message).execute().await.map_err(into_io)
    }

    /// The link of that name, if there is one.
    pub(crate) async fn get(&self, name: &str) -> io::Result<Option<Link>> {
        let mut found = std::pin::pin!(self.handle.link().get().match_name(name).execute());
        match found.try_next().await.map_err(into_io) {
            Ok(message) => Ok(message.as_ref().map(decode_link)),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn list(&self) -> io::Result<Vec<Link>> {
        self.handle.link().get().execute().map_ok(|message| decode_link(&message)).try_collect().await.map_err(into_io)
    }

    /// Removes the link; one that is gone already is no error.
    pub(crate) async fn delete(&self, index: u32) -> io::Result<()> {
        match self.handle.link().del(index).execute().await.map_err(into_io) {
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(()),
            other => other,
        }
    }

    /// Gives the link an address that it is alone with. Nobody else can have it: it is used at once.
    pub(crate) async fn add_address(&self, index: u32, address: IpAddr) -> io::Result<()> {
        let mut request = self.handle.address().add(index, address, host_len(address)).replace();
        if address.is_ipv6() {
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        request.execute().await.map_err(into_io)
    }

    /// The addresses of a link.
    pub(crate) async fn addresses(&self, index: u32) -> io::Result<Vec<IpAddr>> {
        let found = self.handle.address().get().set_link_index_filter(index).execute();
        let messages: Vec<AddressMessage> = found.try_collect().await.map_err(into_io)?;
        let attributes = messages.into_iter().flat_map(|message| message.attributes);
        Ok(attributes.filter_map(|one| if let AddressAttribute::Address(ip) = one { Some(ip) } else { None }).collect())
    }

    /// A route to one address that is on the link itself. `source` is what the node calls itself there.
    pub(crate) async fn add_host_route(&self, to: IpAddr, index: u32, source: Option<IpAddr>) -> io::Result<()> {
        let route = route_to(to, host_len(to))?.output_interface(index).scope(RouteScope::Link);
        let route = match source {
            Some(source) => route.pref_source(source).map_err(io::Error::other)?,
            None => route,
        };
        self.replace_route(route.build()).await
    }

    pub(crate) async fn add_default_route(&self, via: IpAddr, index: u32) -> io::Result<()> {
        let any = match via {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let route = route_to(any, 0)?.gateway(via).map_err(io::Error::other)?.output_interface(index);
        self.replace_route(route.build()).await
    }

    pub(crate) async fn replace_route(&self, route: RouteMessage) -> io::Result<()> {
        self.handle.route().add(route).replace().execute().await.map_err(into_io)
    }

    /// Removes a route; one that is gone already is no error.
    pub(crate) async fn remove_route(&self, route: RouteMessage) -> io::Result<()> {
        match self.handle.route().del(route).execute().await.map_err(into_io) {
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Every route of both families.
    pub(crate) async fn routes(&self) -> io::Result<Vec<RouteMessage>> {
        let queries = [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
        let mut routes = Vec::new();
        for query in queries {
            let found: Vec<_> = self.handle.route().get(query).execute().try_collect().await.map_err(into_io)?;
            routes.extend(found);
        }
        Ok(routes)
    }

    /// Makes a device whose packets each say which tunnel they are for, and that asks for no neighbours.
    pub(crate) async fn add_overlay(&self, name: &str, port: u16, mtu: u32) -> io::Result<()> {
        let link = LinkVxlan::new(name, 0).collect_metadata(true).learning(false).port(port).mtu(mtu).arp(false);
        self.handle.link().add(link.build()).execute().await.map_err(into_io)
    }

    pub(crate) async fn set_mtu(&self, index: u32, mtu: u32) -> io::Result<()> {
        let message = LinkUnspec::new_with_index(index).mtu(mtu).build();
        self.handle.link().change(message).execute().await.map_err(into_io)
    }

    /// A neighbour that is never asked for.
    pub(crate) async fn add_neighbour(&self, index: u32, address: IpAddr, mac: Mac) -> io::Result<()> {
        let request = self.handle.neighbours().add(index, address);
        request.link_layer_address(&mac.0).replace().execute().await.map_err(into_io)
    }

    /// The MTU of the link that the default route leaves by.
    pub(crate) async fn uplink_mtu(&self) -> io::Result<Option<u32>> {
        let query = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let routes: Vec<_> = self.handle.route().get(query).execute().try_collect().await.map_err(into_io)?;
        let default = routes.iter().find(|route| route.header.destination_prefix_length == 0);
        let index = default.and_then(|route| {
            route
                .attributes
                .iter()
                .find_map(|one| if let RouteAttribute::Oif(index) = one { Some(*index) } else { None })
        });
        let Some(index) = index else { return Ok(None) };
        Ok(self.list().await?.into_iter().find(|link| link.index == index).map(|link| link.mtu))
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A route to a prefix.
pub(crate) fn route_to(to: IpAddr, len: u8) -> io::Result<RouteMessageBuilder<IpAddr>> {
    RouteMessageBuilder::<IpAddr>::new().destination_prefix(to, len).map_err(io::Error::other)
}

/// The length of a prefix that is one address.
pub(crate) const fn host_len(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn decode_link(message: &LinkMessage) -> Link {
    let mut link = Link { index: message.header.index, name: String::new(), mtu: 0, mac: None };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().ok().map(Mac),
            _ => {}
        }
    }
    link
}

fn into_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}
