//! Settings of the kernel's network stack, of the namespace that the calling thread is in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What every node needs: pods' packets are forwarded, and none is dropped because its way back looks different, as it does
/// where programs redirect it.
pub(crate) fn prepare_node(link: Option<&str>, v6: bool) -> io::Result<()> {
    if v6 {
        // A kernel that forwards listens to routers no longer, unless told to: the link's own default route would run out.
        if let Some(link) = link
            && fs::read_to_string(path(&format!("ipv6/conf/{link}/accept_ra"))).is_ok_and(|held| held.trim() == "1")
        {
            set(&format!("ipv6/conf/{link}/accept_ra"), "2")?;
        }
        set("ipv6/conf/all/forwarding", "1")?;
    }
    set("ipv4/ip_forward", "1")?;
    set("ipv4/conf/all/rp_filter", "0")?;
    set("ipv4/conf/default/rp_filter", "0")
}

/// The node's end of a pod's veth.
pub(crate) fn prepare_host_link(ifname: &str, v6: bool) -> io::Result<()> {
    set(&format!("ipv4/conf/{ifname}/rp_filter"), "0")?;
    set(&format!("ipv4/conf/{ifname}/forwarding"), "1")?;
    set(&format!("ipv4/conf/{ifname}/send_redirects"), "0")?;
    if !v6 {
        return set_if_there(&format!("ipv6/conf/{ifname}/disable_ipv6"), "1");
    }
    silence(ifname)?;
    set(&format!("ipv6/conf/{ifname}/forwarding"), "1")?;
    set(&format!("ipv6/conf/{ifname}/disable_ipv6"), "0")
}

/// The tunnel's device: what comes out of it goes another way back where programs redirect it.
pub(crate) fn prepare_overlay() -> io::Result<()> {
    let name = crate::overlay::OVERLAY;
    set(&format!("ipv4/conf/{name}/rp_filter"), "0")?;
    set(&format!("ipv4/conf/{name}/forwarding"), "1")?;
    silence(name)
}

/// The pod's end: its configuration comes from the node alone.
pub(crate) fn prepare_pod_link(ifname: &str, v6: bool) -> io::Result<()> {
    silence(ifname)?;
    if v6 { set(&format!("ipv6/conf/{ifname}/disable_ipv6"), "0") } else { Ok(()) }
}

/// A link that makes up no address of its own, and neither asks nor listens for neighbours and routers.
fn silence(ifname: &str) -> io::Result<()> {
    const NO_ADDRESS: &str = "1";
    set_if_there(&format!("ipv6/conf/{ifname}/addr_gen_mode"), NO_ADDRESS)?;
    for name in ["accept_ra", "accept_dad", "router_solicitations"] {
        set_if_there(&format!("ipv6/conf/{ifname}/{name}"), "0")?;
    }
    Ok(())
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
