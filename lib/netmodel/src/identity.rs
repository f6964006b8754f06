//! Identities: what policies can tell pods apart by, as small numbers.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use k8s_openapi::api::core::v1::{Container, Pod};

/// Labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

/// Every address, inside the cluster or not.
pub const ANYONE: u32 = 0;
/// Every pod of every namespace.
pub const ANY_POD: u32 = 1;
/// Ids below stand for the wildcards.
const ID_MIN: u32 = 16;

/// Longest text of an identity that stands in the kernel's names as it is.
const TEXT_LEN_MAX: usize = 240;

/// A pod as policies see it: two pods with equal ones are treated alike by every policy there can be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identity {
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
    /// Port numbers by name and IANA protocol: rules may name a port and leave its number to the pod.
    pub(crate) ports: BTreeMap<(String, u8), u16>,
}

impl Identity {
    pub(crate) fn of(namespace: &str, pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let sidecar = |one: &&Container| one.restart_policy.as_deref() == Some("Always");
        let sidecars = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten()).filter(sidecar);
        let containers = spec.into_iter().flat_map(|spec| spec.containers.iter()).chain(sidecars);
        let mut ports = BTreeMap::new();
        for port in containers.flat_map(|one| one.ports.iter().flatten()) {
            let number = u16::try_from(port.container_port).ok();
            let proto = proto_number(port.protocol.as_deref());
            if let (Some(name), Some(number), Some(proto)) = (&port.name, number, proto) {
                ports.entry((name.clone(), proto)).or_insert(number);
            }
        }
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        Self { namespace: namespace.to_owned(), labels, ports }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pods {}{{", self.namespace)?;
        for (index, (key, value)) in self.labels.iter().enumerate() {
            write!(f, "{}{key}={value}", if index == 0 { "" } else { "," })?;
        }
        f.write_str("}")?;
        self.ports.iter().try_for_each(|((name, proto), number)| write!(f, " {name}={number}/{proto}"))
    }
}

/// The IANA number of a protocol that policies know; TCP where none is given.
pub(crate) fn proto_number(name: Option<&str>) -> Option<u8> {
    match name {
        None | Some("TCP") => Some(6),
        Some("UDP") => Some(17),
        Some("SCTP") => Some(132),
        Some(_) => None,
    }
}

/// The node's own numbering of identities, namespaces, address blocks and policies, by their texts. A number is never given twice
/// while a daemon lives: entries of the kernel's tables that still bear an old one match nothing new.
#[derive(Debug)]
pub(crate) struct Ids {
    by_text: HashMap<String, u32>,
    /// What an earlier daemon had given, for those that are still so.
    former: HashMap<String, u32>,
    next: u32,
}

impl Ids {
    pub(crate) fn new(former: impl IntoIterator<Item = (u32, String)>) -> Self {
        let former: HashMap<String, u32> = former.into_iter().map(|(id, text)| (text, id)).collect();
        let next = former.values().map(|id| id + 1).max().unwrap_or(ID_MIN).max(ID_MIN);
        Self { by_text: HashMap::new(), former, next }
    }

    /// The number of a text, which [`shorten`] has made.
    pub(crate) fn take(&mut self, text: &str) -> u32 {
        if let Some(&id) = self.by_text.get(text) {
            return id;
        }
        let id = self.former.remove(text).unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.by_text.insert(text.to_owned(), id);
        id
    }

    pub(crate) fn give_back(&mut self, text: &str) {
        self.by_text.remove(text);
    }
}

/// The text as it stands in the kernel's names. One that is too long is cut, and told from others by a hash (FNV-1a).
pub(crate) fn shorten(text: String) -> String {
    if text.len() <= TEXT_LEN_MAX {
        return text;
    }
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let start = text.floor_char_boundary(TEXT_LEN_MAX - 20);
    format!("{}...#{hash:016x}", &text[..start])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_with_their_texts_and_are_given_once() {
        let mut ids = Ids::new([(20, "a".to_owned()), (30, "b".to_owned())]);
        assert_eq!((ids.take("b"), ids.take("c"), ids.take("b")), (30, 31, 30));
        ids.give_back("b");
        assert_eq!((ids.take("b"), ids.take("a")), (32, 20));
    }

    #[test]
    fn long_texts_differ_when_cut() {
        let (a, b) = (shorten("x".repeat(300)), shorten("x".repeat(301)));
        assert!(a != b && a.len() <= TEXT_LEN_MAX && a.starts_with("xxx"));
        assert_eq!(shorten("short".to_owned()), "short");
    }
}
