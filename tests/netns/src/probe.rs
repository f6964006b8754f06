//! Who reaches whom: every party asks every other one at once, over real sockets.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::time::{Duration, Instant};

use skep_testkit::Netns;

/// How long what is allowed may take, and what is dropped may take to be counted.
const WITHIN: Duration = Duration::from_secs(5);

/// A connection to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Try {
    /// Who asks.
    pub from: Ipv4Addr,
    /// Who is asked.
    pub to: SocketAddrV4,
    /// Over UDP, or else TCP.
    pub udp: bool,
}

enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

/// Tries all at once; those that `expected` says are allowed are waited for, and as many drops as there are others. Gives back what was
/// reached.
///
/// # Panics
/// No sockets can be had, or neither comes in time.
pub fn try_all(
    parties: &BTreeMap<Ipv4Addr, &Netns>,
    tries: &[Try],
    expected: impl Fn(&Try) -> bool,
    drops: impl Fn() -> u64,
) -> BTreeMap<Try, bool> {
    let before = drops();
    let mut open: Vec<(Try, Socket)> = Vec::new();
    for (address, netns) in parties {
        let own = tries.iter().filter(|one| one.from == *address);
        let sockets = netns.enter(|| own.map(|one| (*one, start(one))).collect::<Vec<_>>()).expect("enter a party");
        open.extend(sockets);
    }
    let denied = tries.iter().filter(|one| !expected(one)).count() as u64;
    let mut reached: BTreeMap<Try, bool> = tries.iter().map(|one| (*one, false)).collect();
    let began = Instant::now();
    loop {
        open.retain_mut(|(one, socket)| {
            let answered = is_answered(socket);
            if answered {
                reached.insert(*one, true);
            }
            !answered
        });
        let waiting = open.iter().any(|(one, _)| expected(one));
        let late = began.elapsed() > WITHIN;
        if late || (!waiting && drops() - before >= denied) {
            return reached;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn start(one: &Try) -> Socket {
    if one.udp {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("bind");
        socket.set_nonblocking(true).expect("not block");
        let _ = socket.send_to(b"who", one.to);
        return Socket::Udp(socket);
    }
    // SAFETY: the call takes no pointer; the descriptor is owned from here on.
    let socket = unsafe {
        TcpStream::from_raw_fd(libc::socket(
            libc::AF_INET,
            libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            0,
        ))
    };
    let to = nix::sys::socket::SockaddrIn::from(one.to);
    let _ = nix::sys::socket::connect(socket.as_raw_fd(), &to);
    Socket::Tcp(socket)
}

/// Whether the other end has said something.
fn is_answered(socket: &mut Socket) -> bool {
    let mut buffer = [0; 128];
    let outcome = match socket {
        Socket::Tcp(stream) => stream.read(&mut buffer),
        Socket::Udp(socket) => socket.recv(&mut buffer),
    };
    match outcome {
        Ok(len) => len > 0,
        Err(error) => {
            assert!(
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::HostUnreachable),
                "{error}"
            );
            false
        }
    }
}
