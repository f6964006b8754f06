//! The answer to ADD, in the form of the version that was asked for.

use serde_json::{Map, Value, json};

/// An interface that was made or found.
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) mac: String,
    pub(crate) mtu: u32,
    /// The file of its namespace; `None` on the node.
    pub(crate) sandbox: Option<String>,
}

/// An address with its prefix length.
pub(crate) struct Address {
    pub(crate) address: String,
    pub(crate) gateway: Option<String>,
    /// Its interface's place in the list of interfaces.
    pub(crate) interface: usize,
}

pub(crate) struct Route {
    pub(crate) dst: String,
    pub(crate) gw: String,
}

/// All that ADD made.
pub(crate) struct Outcome {
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) ips: Vec<Address>,
    pub(crate) routes: Vec<Route>,
}

impl Outcome {
    pub(crate) fn to_json(&self, cni_version: &str) -> Value {
        json!({
            "cniVersion": cni_version,
            "interfaces": self.interfaces.iter().map(|one| one.to_json(cni_version)).collect::<Vec<_>>(),
            "ips": self.ips.iter().map(|one| one.to_json(cni_version)).collect::<Vec<_>>(),
            "routes": self.routes.iter().map(|one| json!({ "dst": one.dst, "gw": one.gw })).collect::<Vec<_>>(),
            "dns": {},
        })
    }
}

impl Interface {
    fn to_json(&self, cni_version: &str) -> Value {
        let mut out = Map::new();
        out.insert("name".to_owned(), json!(self.name));
        out.insert("mac".to_owned(), json!(self.mac));
        if cni_version == "1.1.0" {
            out.insert("mtu".to_owned(), json!(self.mtu));
        }
        if let Some(sandbox) = &self.sandbox {
            out.insert("sandbox".to_owned(), json!(sandbox));
        }
        Value::Object(out)
    }
}

impl Address {
    fn to_json(&self, cni_version: &str) -> Value {
        let mut out = Map::new();
        // Dropped in 1.0.0: the address shows it.
        if cni_version.starts_with("0.") {
            let version = if self.address.contains(':') { "6" } else { "4" };
            out.insert("version".to_owned(), json!(version));
        }
        out.insert("address".to_owned(), json!(self.address));
        if let Some(gateway) = &self.gateway {
            out.insert("gateway".to_owned(), json!(gateway));
        }
        out.insert("interface".to_owned(), json!(self.interface));
        Value::Object(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_form() {
        let outcome = Outcome {
            interfaces: vec![Interface {
                name: "eth0".to_owned(),
                mac: "0a:70:0a:2a:00:05".to_owned(),
                mtu: 1500,
                sandbox: Some("/run/netns/x".to_owned()),
            }],
            ips: vec![Address {
                address: "10.42.0.5/32".to_owned(),
                gateway: Some("169.254.1.1".to_owned()),
                interface: 0,
            }],
            routes: vec![Route { dst: "0.0.0.0/0".to_owned(), gw: "169.254.1.1".to_owned() }],
        };
        let old = outcome.to_json("0.4.0");
        assert_eq!(old["ips"][0]["version"], "4");
        assert!(old["interfaces"][0].get("mtu").is_none());
        let new = outcome.to_json("1.1.0");
        assert!(new["ips"][0].get("version").is_none());
        assert_eq!(new["interfaces"][0]["mtu"], 1500);
        assert_eq!(new["interfaces"][0]["sandbox"], "/run/netns/x");
    }
}
