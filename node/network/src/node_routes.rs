//! Routes to other nodes' pods. They carry a protocol number of their own, by which they are told from everybody else's.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;

use futures::TryStreamExt as _;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{Handle, RouteMessageBuilder};
use tokio::task::JoinHandle;

/// Not among the numbers that `rtnetlink.h` gives to other daemons.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(213);

/// The kernel refuses a route, or cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct RouteError {
    what: String,
    #[source]
    source: io::Error,
}

/// The node's routes to other nodes' pods, in the calling thread's network namespace.
pub struct NodeRoutes {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl NodeRoutes {
    /// # Errors
    /// No netlink socket.
    pub fn open() -> Result<Self, RouteError> {
        let opened = rtnetlink::new_connection();
        let (connection, handle, _) =
            opened.map_err(|source| RouteError { what: "netlink socket".to_owned(), source })?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// Makes the routes exactly these: by range, the address of the node that has it.
    ///
    /// # Errors
    /// The first route that cannot be written or removed, e.g. since the node's address is not on a link of this one.
    pub async fn replace(&self, wanted: &BTreeMap<Ipv4Net, Ipv4Addr>) -> Result<(), RouteError> {
        let held = self.held().await.map_err(|source| RouteError { what: "list routes".to_owned(), source })?;
        for (range, message) in &held {
            if !wanted.contains_key(range) {
                let removed = self.handle.route().del(message.clone()).execute().await;
                removed.map_err(|error| failed(format!("remove the route to {range}"), error))?;
                tracing::info!(%range, "route to a node removed");
            }
        }
        for (range, via) in wanted {
            if held.get(range).and_then(gateway) == Some(*via) {
                continue;
            }
            let route = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(range.network(), range.prefix_len())
                .gateway(*via)
                .protocol(PROTOCOL)
                .build();
            let added = self.handle.route().add(route).replace().execute().await;
            added.map_err(|error| failed(format!("add the route to {range} via {via}"), error))?;
            tracing::info!(%range, %via, "route to a node added");
        }
        Ok(())
    }

    async fn held(&self) -> io::Result<BTreeMap<Ipv4Net, RouteMessage>> {
        let query = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let routes: Vec<RouteMessage> =
            self.handle.route().get(query).execute().try_collect().await.map_err(io::Error::other)?;
        let own = routes.into_iter().filter(|route| route.header.protocol == PROTOCOL);
        Ok(own.filter_map(|route| Some((range(&route)?, route))).collect())
    }
}

impl Drop for NodeRoutes {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn failed(what: String, error: rtnetlink::Error) -> RouteError {
    let source = match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    };
    RouteError { what, source }
}

fn range(route: &RouteMessage) -> Option<Ipv4Net> {
    let destination = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    })?;
    Ipv4Net::new(destination, route.header.destination_prefix_length).ok()
}

fn gateway(route: &RouteMessage) -> Option<Ipv4Addr> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    })
}
