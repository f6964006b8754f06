//! Ethernet addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An Ethernet address, in the order of the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac(pub [u8; 6]);

/// The second byte of the addresses of both ends of a veth; the first one marks them as locally administered.
const POD: u8 = 0x70;
const HOST: u8 = 0x68;

impl Mac {
    /// The address of the interface inside of the pod that has `address`. Set rather than left to the kernel: udev
    /// replaces an address that the kernel made up, at a time of its choice.
    pub(crate) fn of_pod(address: IpAddr) -> Self {
        Self::local(POD, address)
    }

    /// The address of that pod's interface on the node.
    pub(crate) fn of_host(address: IpAddr) -> Self {
        Self::local(HOST, address)
    }

    fn local(kind: u8, address: IpAddr) -> Self {
        let [a, b, c, d] = match address {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(address) => (u128::from(address) as u32).to_be_bytes(),
        };
        Mac([0x0a, kind, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            *byte = part.and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or_else(|| bad(text))?;
        }
        if parts.next().is_some() { Err(bad(text)) } else { Ok(Mac(bytes)) }
    }
}

fn bad(text: &str) -> String {
    format!("{text:?} is not an Ethernet address like 0a:00:00:00:00:01")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let mac = Mac::of_pod("10.42.0.255".parse().unwrap());
        assert_eq!(mac.to_string(), "0a:70:0a:2a:00:ff");
        assert_eq!(mac.to_string().parse::<Mac>().unwrap(), mac);
        assert_eq!(Mac::of_host("fd00::1:2".parse().unwrap()).to_string(), "0a:68:00:01:00:02");
        for bad in ["", "0a", "0a:70:0a:2a:00", "0a:70:0a:2a:00:ff:00", "0a:70:0a:2a:00:fg", "a:7:0:2:0:f"] {
            bad.parse::<Mac>().unwrap_err();
        }
    }
}
