//! Names of objects and of the ports of Services.

use std::fmt;

use serde::Serialize;

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectName {
    /// From its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A list of backends of a Service's port; shown as `namespace/name:port`, or `namespace/name` where the port has no name, with
/// ` (external)` behind it for callers from outside where those have a list of their own, and ` (IPv6)` for that family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PortName {
    /// The Service.
    pub service: ObjectName,
    /// Name of the port, empty where the Service has one unnamed port.
    pub port: String,
    /// Whether the list is for callers from outside the cluster alone, as its traffic policies differ.
    pub external: bool,
    /// Whether the list is of IPv6 addresses: each family that a Service has is balanced on its own.
    pub v6: bool,
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.service.fmt(f)?;
        if !self.port.is_empty() {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(if self.external { " (external)" } else { "" })?;
        f.write_str(if self.v6 { " (IPv6)" } else { "" })
    }
}
