//! Names of ids, written by user space for whoever reads the tables later; no program looks at them.

/// Kind of [`NameKey::kind`]: a service port, `namespace/name` or `namespace/name:port`.
pub const NAME_SERVICE: u32 = 1;
/// Kind of [`NameKey::kind`]: an endpoint's pod, `namespace/name`.
pub const NAME_ENDPOINT: u32 = 2;
/// Kind of [`NameKey::kind`]: a node of the cluster, by its name.
pub const NAME_NODE: u32 = 4;

/// Kind of [`NameKey::kind`]: what an id of the policy tables stands for, `pods …`, `namespace …`, `block …` or `policy …`.
pub const NAME_POLICY: u32 = 3;

/// Longest name in bytes. Namespace and name have at most 63 and 253 bytes; a longer one is cut.
pub const NAME_LEN_MAX: usize = 254;

/// Key of `NAMES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey {
    /// `NAME_*` kind.
    pub kind: u32,
    /// Id within its kind.
    pub id: u32,
}

/// Value of `NAMES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    len: u16,
    bytes: [u8; NAME_LEN_MAX],
}

impl Name {
    /// From text, cut at a character's boundary where it is too long.
    pub fn new(text: &str) -> Self {
        let len = text.floor_char_boundary(NAME_LEN_MAX);
        let mut bytes = [0; NAME_LEN_MAX];
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        Self { len: len as u16, bytes }
    }

    /// The text; empty where the kernel's bytes are not UTF-8.
    pub fn as_str(&self) -> &str {
        let len = (self.len as usize).min(NAME_LEN_MAX);
        core::str::from_utf8(&self.bytes[..len]).unwrap_or_default()
    }
}

impl Default for Name {
    fn default() -> Self {
        Self { len: 0, bytes: [0; NAME_LEN_MAX] }
    }
}
