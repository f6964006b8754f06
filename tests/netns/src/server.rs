//! A server in a pod: answers every connection and datagram with its own name and the caller's address.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use skep_testkit::Netns;

/// How often a server looks whether it is to end.
const TICK: Duration = Duration::from_millis(50);

/// TCP and UDP servers on one port. They end with their guard.
pub struct Server {
    stop: Arc<AtomicBool>,
    listener: Arc<TcpListener>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts them in a namespace.
    ///
    /// # Panics
    /// The port is taken.
    pub fn start(netns: &Netns, name: &str, port: u16) -> Self {
        Self::start_at(netns, name, (Ipv4Addr::UNSPECIFIED, port).into())
    }

    /// Starts them for both families.
    ///
    /// # Panics
    /// The port is taken.
    pub fn start_dual(netns: &Netns, name: &str, port: u16) -> Self {
        Self::start_at(netns, name, (Ipv6Addr::UNSPECIFIED, port).into())
    }

    fn start_at(netns: &Netns, name: &str, any: SocketAddr) -> Self {
        let (listener, datagrams) = netns
            .enter(|| (TcpListener::bind(any).expect("bind TCP"), UdpSocket::bind(any).expect("bind UDP")))
            .expect("enter the pod");
        let (listener, stop) = (Arc::new(listener), Arc::new(AtomicBool::new(false)));
        let tcp = {
            let (listener, stop, name) = (Arc::clone(&listener), Arc::clone(&stop), name.to_owned());
            std::thread::spawn(move || serve_tcp(&listener, &stop, &name))
        };
        let udp = {
            let (stop, name) = (Arc::clone(&stop), name.to_owned());
            std::thread::spawn(move || serve_udp(&datagrams, &stop, &name))
        };
        Self { stop, listener, threads: vec![tcp, udp] }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // SAFETY: the descriptor is the listener's, which lives; shutting it down wakes `accept`.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve_tcp(listener: &TcpListener, stop: &Arc<AtomicBool>, name: &str) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    while let Ok((stream, peer)) = listener.accept() {
        threads.retain(|thread| !thread.is_finished());
        let (stop, greeting) = (Arc::clone(stop), format!("{name} {}\n", canonical(peer)));
        threads.push(std::thread::spawn(move || {
            let _ = echo(stream, &stop, &greeting);
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// A greeting, then whatever the caller sends.
fn echo(mut stream: TcpStream, stop: &AtomicBool, greeting: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(TICK))?;
    stream.write_all(greeting.as_bytes())?;
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Acquire) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => stream.write_all(&buffer[..len])?,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    stream.shutdown(Shutdown::Both)
}

fn serve_udp(socket: &UdpSocket, stop: &AtomicBool, name: &str) {
    let _ = socket.set_read_timeout(Some(TICK));
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Acquire) {
        let Ok((len, peer)) = socket.recv_from(&mut buffer) else { continue };
        if buffer[..len] != *b"who" {
            let _ = socket.send_to(&buffer[..len], peer);
            continue;
        }
        let _ = socket.send_to(format!("{name} {}\n", canonical(peer)).as_bytes(), peer);
    }
}

/// An IPv4 peer of an IPv6 socket as what it is.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
