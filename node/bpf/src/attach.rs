//! Attachments, each a pinned link: made, taken over with their program replaced in place, or given up.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::Context as _;
use crate::load::Programs;
use crate::pin::Pins;
use crate::{Error, sys};

/// Programs at the node's cgroup, with their `bpf_attach_type`.
const AT_CGROUP: [(&str, u32); 10] = [
    ("connect4", 10),
    ("connect6", 11),
    ("post_bind4", 12),
    ("post_bind6", 13),
    ("sendmsg4", 14),
    ("sendmsg6", 15),
    ("recvmsg4", 19),
    ("recvmsg6", 20),
    ("getpeername4", 29),
    ("getpeername6", 30),
];

pub(crate) const TCX_INGRESS: u32 = 46;
pub(crate) const TCX_EGRESS: u32 = 47;

/// Link types of the kernel.
pub(crate) const LINK_CGROUP: u32 = 3;
pub(crate) const LINK_TCX: u32 = 11;

/// Programs of a pod's veth, at its host side, with the prefixes of their pins. What the pod may get is looked at before it can ask.
const AT_POD: [(&str, &str, u32); 2] = [("podin_", "pod_ingress", TCX_EGRESS), ("pod_", "pod_egress", TCX_INGRESS)];

/// Attaches the socket programs. `recvmsg` and `getpeername` come first, so that no reply of a translated socket is seen raw.
pub(crate) fn attach_cgroup(pins: &Pins, programs: &Programs, cgroup: &Path) -> Result<(), Error> {
    let dir = File::open(cgroup).context(|| format!("open {}", cgroup.display()))?;
    let id = dir.metadata().context(|| format!("inspect {}", cgroup.display()))?.ino();
    for (program, attach_type) in AT_CGROUP.into_iter().rev() {
        let target = Target { fd_or_ifindex: dir.as_raw_fd() as u32, id, attach_type };
        attach(pins, &format!("cgroup_{program}"), programs.get(program).as_fd(), &target)?;
    }
    Ok(())
}

/// Attaches the programs of the node's link.
pub(crate) fn attach_uplink(pins: &Pins, programs: &Programs, ifindex: u32) -> Result<(), Error> {
    // What came in can be answered only if its replies find the way back, so the way out comes first.
    for (program, attach_type) in [("host_egress", TCX_EGRESS), ("host_ingress", TCX_INGRESS)] {
        attach(pins, program, programs.get(program).as_fd(), &Target::link(ifindex, attach_type))?;
    }
    Ok(())
}

/// Attaches the program of the tunnel's device, or gives it up where the node has none.
pub(crate) fn attach_overlay(pins: &Pins, programs: &Programs, ifindex: Option<u32>) -> Result<(), Error> {
    const NAME: &str = "overlay_ingress";
    match ifindex {
        Some(ifindex) => attach(pins, NAME, programs.get(NAME).as_fd(), &Target::link(ifindex, TCX_INGRESS)),
        None => unpin(&pins.link(NAME)),
    }
}

/// Attaches the programs of a pod's veth, at its host side.
pub(crate) fn attach_pod(pins: &Pins, programs: &Programs, ifindex: u32) -> Result<(), Error> {
    for (prefix, program, attach_type) in AT_POD {
        let target = Target::link(ifindex, attach_type);
        attach(pins, &format!("{prefix}{ifindex}"), programs.get(program).as_fd(), &target)?;
    }
    Ok(())
}

/// Gives up a pod's attachments.
pub(crate) fn detach_pod(pins: &Pins, ifindex: u32) -> Result<(), Error> {
    AT_POD.iter().try_for_each(|(prefix, _, _)| unpin(&pins.link(&format!("{prefix}{ifindex}"))))
}

/// Replaces the programs of every pod's veth that a former daemon attached, and forgets those whose veth is gone.
pub(crate) fn adopt_pods(pins: &Pins, programs: &Programs) -> Result<(), Error> {
    for name in pins.links()? {
        let known = AT_POD.iter().find_map(|&(prefix, program, attach_type)| {
            Some((name.strip_prefix(prefix)?.parse().ok()?, program, attach_type))
        });
        let Some((ifindex, program, attach_type)) = known else { continue };
        let path = pins.link(&name);
        if !replace(&path, programs.get(program).as_fd(), &Target::link(ifindex, attach_type))? {
            unpin(&path)?;
        }
    }
    Ok(())
}

/// The index of a link in the calling thread's network namespace.
pub(crate) fn link_index(name: &str) -> Result<u32, Error> {
    nix::net::if_::if_nametoindex(name).map_err(|_| Error::NoLink { name: name.to_owned() })
}

struct Target {
    fd_or_ifindex: u32,
    /// As the link's information shows it.
    id: u64,
    attach_type: u32,
}

impl Target {
    fn link(ifindex: u32, attach_type: u32) -> Self {
        Self { fd_or_ifindex: ifindex, id: u64::from(ifindex) | u64::from(attach_type) << 32, attach_type }
    }
}

fn attach(pins: &Pins, name: &str, program: BorrowedFd<'_>, target: &Target) -> Result<(), Error> {
    let path = pins.link(name);
    if replace(&path, program, target)? {
        return Ok(());
    }
    unpin(&path)?;
    let link =
        sys::link_create(program, target.fd_or_ifindex, target.attach_type).context(|| format!("attach {name}"))?;
    sys::pin(link.as_fd(), &path).context(|| format!("pin link {name}"))
}

/// Puts the program behind a pinned link; `false` where there is none, or it is attached to something else or to nothing any more.
fn replace(path: &Path, program: BorrowedFd<'_>, target: &Target) -> Result<bool, Error> {
    let Some(link) = sys::open_pin(path).context(|| format!("open {}", path.display()))? else { return Ok(false) };
    let info: sys::LinkInfo = sys::info(link.as_fd()).context(|| format!("inspect {}", path.display()))?;
    if info.target != target.id {
        return Ok(false);
    }
    match sys::link_update(link.as_fd(), program) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(false),
        Err(error) => Err(error).context(|| format!("replace the program of {}", path.display())),
    }
}

fn unpin(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
