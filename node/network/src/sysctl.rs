//! Settings of the kernel's network stack, of the namespace that the calling thread is in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What every node needs: pods' packets are forwarded, and none is dropped because its way back looks different, as it does
/// where programs redirect it.
pub(crate) fn prepare_node() -> io::Result<()> {
    set("ipv4/ip_forward", "1")?;
    set("ipv4/conf/all/rp_filter", "0")?;
    set("ipv4/conf/default/rp_filter", "0")
}

/// The node's end of a pod's veth.
pub(crate) fn prepare_host_link(ifname: &str) -> io::Result<()> {
    set(&format!("ipv4/conf/{ifname}/rp_filter"), "0")?;
    set(&format!("ipv4/conf/{ifname}/forwarding"), "1")?;
    set(&format!("ipv4/conf/{ifname}/send_redirects"), "0")?;
    // Its link-local address would only bring neighbour and router discovery to it.
    set_if_there(&format!("ipv6/conf/{ifname}/disable_ipv6"), "1")
}

/// The pod's end: its configuration comes from the node alone.
pub(crate) fn prepare_pod_link(ifname: &str) -> io::Result<()> {
    set_if_there(&format!("ipv6/conf/{ifname}/accept_ra"), "0")
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(name)
}

fn set(name: &str, value: &str) -> io::Result<()> {
    let path = path(name);
    // Read first: some hosts mount these files read-only with the right value in them.
    if fs::read_to_string(&path).is_ok_and(|held| held.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// For what a kernel may be built without.
fn set_if_there(name: &str, value: &str) -> io::Result<()> {
    if path(name).exists() { set(name, value) } else { Ok(()) }
}
