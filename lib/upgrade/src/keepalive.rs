//! What a socket that carries streams needs.

use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};

/// Idle time before the other end is asked for a sign of life, and between two questions.
const IDLE_S: u32 = 15;
const QUESTIONS_MAX: u32 = 9;

/// Sends small writes at once, such as key strokes and events, and notices when the other end is gone without a word: a stream may be
/// silent for days.
pub fn prepare(socket: &impl AsFd) {
    let _nodelay = setsockopt(socket, sockopt::TcpNoDelay, &true);
    // A socket that cannot be asked ends when something is sent on it.
    let _asked = setsockopt(socket, sockopt::KeepAlive, &true)
        .and_then(|()| setsockopt(socket, sockopt::TcpKeepIdle, &IDLE_S))
        .and_then(|()| setsockopt(socket, sockopt::TcpKeepInterval, &IDLE_S))
        .and_then(|()| setsockopt(socket, sockopt::TcpKeepCount, &QUESTIONS_MAX));
}
