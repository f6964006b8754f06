//! What an application asked for, so that it sees that name and not the backend's.

use crate::{Be16, Ip};

/// Value of `SOCK_ORIGIN`, the storage of one socket: its latest translation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SockOrigin {
    /// Address that was asked for.
    pub addr: Ip,
    /// Address of the backend.
    pub backend: Ip,
    /// Port that was asked for.
    pub port: Be16,
    /// Port of the backend.
    pub backend_port: Be16,
    /// Service that was asked for.
    pub service: u32,
    /// Row that the backend was last seen in.
    pub row: u32,
}

/// Key of `UDP_ORIGIN`: replies on an unconnected socket that has talked to more than one service address or backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct UdpOriginKey {
    /// Socket cookie.
    pub cookie: u64,
    /// Address of the backend.
    pub backend: Ip,
    /// Port of the backend.
    pub port: Be16,
    /// Zero.
    pub pad: [u8; 6],
}

/// Value of `UDP_ORIGIN`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Address that was asked for.
    pub addr: Ip,
    /// Port that was asked for.
    pub port: Be16,
    /// Zero.
    pub pad: [u8; 2],
    /// Service that was asked for.
    pub service: u32,
}
