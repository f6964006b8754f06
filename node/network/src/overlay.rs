//! The tunnel's device: one per node, for all other nodes.

use std::io;
use std::path::Path;

use crate::link::Links;
use crate::netns::Netns;

/// The tunnel's device.
pub const OVERLAY: &str = "skep-vxlan";

/// What the tunnel adds to a packet whose outer header is IPv4: that, UDP, VXLAN and the inner Ethernet header.
pub const OVERHEAD_V4: u32 = 20 + 8 + 8 + 14;
/// The same where the outer header is IPv6.
pub const OVERHEAD_V6: u32 = 40 + 8 + 8 + 14;

/// Makes the tunnel's device in the node's namespace, or adopts it. `link` is what the tunnel's packets leave by, and `overhead` what they
/// add to those inside.
///
/// # Errors
/// The kernel has no VXLAN, or something else has the device's name.
pub async fn ensure_overlay(netns: Option<&Path>, link: &str, port: u16, overhead: u32) -> io::Result<()> {
    let node = open(netns)?;
    let links = Links::connect(&node).await?;
    let below =
        links.get(link).await?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no link {link}")))?;
    let mtu = below.mtu.saturating_sub(overhead);
    if links.get(OVERLAY).await?.is_none() {
        links.add_overlay(OVERLAY, port, mtu).await?;
    }
    let device = links.get(OVERLAY).await?.ok_or(io::ErrorKind::NotFound)?;
    if device.mtu != mtu {
        links.set_mtu(device.index, mtu).await?;
    }
    node.run(crate::sysctl::prepare_overlay).await?;
    links.set_up(device.index).await
}

/// Removes the tunnel's device; one that is not there is as wanted.
///
/// # Errors
/// Netlink's.
pub async fn remove_overlay(netns: Option<&Path>) -> io::Result<()> {
    let links = Links::connect(&open(netns)?).await?;
    match links.get(OVERLAY).await? {
        Some(device) => links.delete(device.index).await,
        None => Ok(()),
    }
}

fn open(netns: Option<&Path>) -> io::Result<Netns> {
    netns.map_or_else(Netns::current, Netns::open)
}
