//! Links, addresses, routes and neighbours of one namespace, by route netlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt as _;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteScope};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};
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

    pub(crate) async fn add_address(&self, index: u32, address: Ipv4Addr) -> io::Result<()> {
        self.handle.address().add(index, IpAddr::V4(address), 32).replace().execute().await.map_err(into_io)
    }

    /// A route to one address that is on the link itself. `source` is what the node calls itself there.
    pub(crate) async fn add_host_route(&self, to: Ipv4Addr, index: u32, source: Option<Ipv4Addr>) -> io::Result<()> {
        let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to, 32)
            .output_interface(index)
            .scope(RouteScope::Link);
        if let Some(source) = source {
            route = route.pref_source(source);
        }
        self.handle.route().add(route.build()).replace().execute().await.map_err(into_io)
    }

    pub(crate) async fn add_default_route(&self, via: Ipv4Addr, index: u32) -> io::Result<()> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(via).output_interface(index).build();
        self.handle.route().add(route).replace().execute().await.map_err(into_io)
    }

    /// A neighbour that is never asked for.
    pub(crate) async fn add_neighbour(&self, index: u32, address: Ipv4Addr, mac: Mac) -> io::Result<()> {
        let request = self.handle.neighbours().add(index, IpAddr::V4(address));
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
