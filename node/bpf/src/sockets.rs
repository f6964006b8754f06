//! UDP sockets whose backend is gone: destroyed through sock_diag, so that their programs connect anew and not speak into the void.
//!
//! A connected UDP socket is translated once, at `connect`. What it was translated for stands in `UDP_ORIGIN` under its cookie, so that
//! only sockets which were sent to this backend by this service are touched, and none that chose it themselves.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use skep_abi::{Be16, Ip, Ip4, PROTO_UDP, UdpOriginKey};

use crate::error::Context as _;
use crate::{Error, Inspector};

const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
/// `TCP_ESTABLISHED`, which connected UDP sockets are in as well.
const CONNECTED: u32 = 1 << 1;

const HEADER_LEN: usize = 16;
const ID_LEN: usize = 48;
/// Where the socket's id begins in a message and in a request.
const MESSAGE_ID: usize = 4;

/// A datagram backend that a service has no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GoneBackend {
    /// Id of the service.
    pub service: u32,
    /// The backend's address.
    pub addr: Ip,
    /// The backend's port.
    pub port: Be16,
}

impl Inspector {
    /// Destroys the UDP sockets of the calling thread's network namespace that are connected to backends which are gone. Returns how many.
    ///
    /// # Errors
    /// The kernel does not show its sockets, or cannot destroy any (`CONFIG_INET_DIAG_DESTROY`).
    pub fn destroy_stale_sockets(&self, gone: &HashSet<GoneBackend>) -> Result<usize, Error> {
        let netlink = open().context(|| "open a socket of sock_diag".to_owned())?;
        let mut destroyed = 0;
        for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
            for id in dump(&netlink, family).context(|| "list UDP sockets".to_owned())? {
                if self.is_stale(family, &id, gone)?
                    && destroy(&netlink, family, &id).context(|| "destroy a UDP socket".to_owned())?
                {
                    destroyed += 1;
                }
            }
        }
        Ok(destroyed)
    }

    /// Whether a socket was sent to a backend that is gone, by the service that has lost it.
    fn is_stale(&self, family: u8, id: &SocketId, gone: &HashSet<GoneBackend>) -> Result<bool, Error> {
        let (addr, port) = destination(family, id);
        let mut services =
            gone.iter().filter(|one| one.addr == addr && one.port == port).map(|one| one.service).peekable();
        if services.peek().is_none() {
            return Ok(false);
        }
        let key = UdpOriginKey { cookie: cookie(id), backend: addr, port, pad: [0; 6] };
        let origin = self.maps.udp_origin.get(&key)?;
        Ok(origin.is_some_and(|origin| services.any(|service| service == origin.service)))
    }
}

type SocketId = [u8; ID_LEN];

fn open() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointer.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, NETLINK_SOCK_DIAG) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A netlink message around a payload.
fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + payload.len());
    bytes.extend(((HEADER_LEN + payload.len()) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(payload);
    bytes
}

/// `inet_diag_req_v2`
fn request(family: u8, states: u32, id: &SocketId) -> Vec<u8> {
    let mut bytes = vec![family, PROTO_UDP, 0, 0];
    bytes.extend(states.to_ne_bytes());
    bytes.extend(id);
    bytes
}

/// Where a socket is connected to; the id has its ports and addresses in network order.
fn destination(family: u8, id: &SocketId) -> (Ip, Be16) {
    const PORT: usize = 2;
    const ADDRESS: usize = 20;
    let mut addr = [0; 16];
    addr.copy_from_slice(&id[ADDRESS..ADDRESS + 16]);
    let four = Ip4([addr[0], addr[1], addr[2], addr[3]]);
    let addr = if family == libc::AF_INET as u8 { Ip::from_v4(four) } else { Ip(addr) };
    (addr, Be16::from_bytes([id[PORT], id[PORT + 1]]))
}

/// The kernel's name of a socket: two words, the lower one first.
fn cookie(id: &SocketId) -> u64 {
    const COOKIE: usize = 40;
    let word = |at: usize| u32::from_ne_bytes([id[at], id[at + 1], id[at + 2], id[at + 3]]);
    u64::from(word(COOKIE)) | u64::from(word(COOKIE + 4)) << 32
}

fn send(netlink: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the buffer is valid for its length; an unconnected netlink socket sends to the kernel.
    let sent = unsafe { libc::send(netlink.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn receive(netlink: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is valid for its length.
    let len = unsafe { libc::recv(netlink.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    if len < 0 { Err(io::Error::last_os_error()) } else { Ok(len as usize) }
}

/// The ids of the connected sockets of a family.
fn dump(netlink: &OwnedFd, family: u8) -> io::Result<Vec<SocketId>> {
    send(netlink, &message(SOCK_DIAG_BY_FAMILY, DUMP, &request(family, CONNECTED, &[0; ID_LEN])))?;
    let mut found = Vec::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let len = receive(netlink, &mut buffer)?;
        for (kind, payload) in Messages(&buffer[..len]) {
            match kind {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => return Err(error_of(payload)),
                SOCK_DIAG_BY_FAMILY => {
                    found.extend(payload.get(MESSAGE_ID..).and_then(|id| id.first_chunk::<ID_LEN>().copied()));
                }
                _ => {}
            }
        }
    }
}

/// `false` where the socket is gone by itself.
fn destroy(netlink: &OwnedFd, family: u8, id: &SocketId) -> io::Result<bool> {
    send(netlink, &message(SOCK_DESTROY, ACK, &request(family, u32::MAX, id)))?;
    let mut buffer = vec![0; 4_096];
    let len = receive(netlink, &mut buffer)?;
    for (kind, payload) in Messages(&buffer[..len]) {
        if kind == NLMSG_ERROR {
            let error = error_of(payload);
            return match error.raw_os_error() {
                Some(0) => Ok(true),
                Some(libc::ENOENT) => Ok(false),
                _ => Err(error),
            };
        }
    }
    Ok(false)
}

/// The error in an answer; 0 is none.
fn error_of(payload: &[u8]) -> io::Error {
    let code = payload.first_chunk().map_or(-libc::EBADMSG, |bytes| i32::from_ne_bytes(*bytes));
    io::Error::from_raw_os_error(-code)
}

/// The messages in a buffer, as kind and payload.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = u32::from_ne_bytes(*self.0.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(self.0.get(4..6)?.try_into().ok()?);
        let payload = self.0.get(HEADER_LEN..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_known_by_its_destination_and_cookie() {
        let mut id = [0; ID_LEN];
        id[2..4].copy_from_slice(&53u16.to_be_bytes());
        id[20..24].copy_from_slice(&[10, 42, 0, 5]);
        id[40..44].copy_from_slice(&7u32.to_ne_bytes());
        id[44..48].copy_from_slice(&1u32.to_ne_bytes());
        let four = (Ip::from_v4(Ip4([10, 42, 0, 5])), Be16::new(53));
        assert_eq!((destination(libc::AF_INET as u8, &id), cookie(&id)), (four, 7 | 1 << 32));
        assert_ne!(destination(libc::AF_INET6 as u8, &id), four);
    }

    #[test]
    fn messages_end_where_the_kernel_says() {
        let two = [message(NLMSG_DONE, 0, &[1, 2, 3, 4]), message(NLMSG_ERROR, ACK, &(-2i32).to_ne_bytes())].concat();
        let found: Vec<(u16, &[u8])> = Messages(&two).collect();
        assert_eq!(found[0], (NLMSG_DONE, &[1, 2, 3, 4][..]));
        assert_eq!(error_of(found[1].1).raw_os_error(), Some(libc::ENOENT));
        assert_eq!(Messages(&two[..10]).count(), 0);
    }
}
