//! The configuration that the runtime hands to the plugin.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Error, VERSIONS};
use crate::lease::{Key, PortMapping};

/// What we read of it; runtimes add fields of their own, which are theirs.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    /// The version that results are wanted in. The specification's default is its first.
    #[serde(default = "first_version")]
    pub(crate) cni_version: String,
    /// The plugin's name.
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    /// The daemon's socket.
    #[serde(default)]
    pub(crate) socket: PathBuf,
    /// What ADD answered, for CHECK and DEL.
    #[serde(default)]
    pub(crate) prev_result: Option<serde_json::Value>,
    /// What the runtime knows of the pod, by the capabilities that the configuration declares.
    #[serde(default)]
    pub(crate) runtime_config: RuntimeConfig,
    /// GC: the attachments that are still wanted.
    #[serde(rename = "cni.dev/valid-attachments", default)]
    pub(crate) valid_attachments: Option<Vec<Key>>,
}

/// The capabilities that are declared.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RuntimeConfig {
    /// `portMappings`: the pod's host ports.
    #[serde(default)]
    pub(crate) port_mappings: Vec<PortMapping>,
}

fn first_version() -> String {
    "0.1.0".to_owned()
}

impl Config {
    /// # Errors
    /// Not JSON, a field of the wrong type, or a version that is not ours.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let config: Config = serde_json::from_slice(bytes)
            .map_err(|error| Error::new(Error::DECODE, "network configuration on standard input", error.to_string()))?;
        if VERSIONS.contains(&config.cni_version.as_str()) {
            return Ok(config);
        }
        let details = format!("cniVersion is {:?}, supported are {VERSIONS:?}", config.cni_version);
        Err(Error::new(Error::INCOMPATIBLE_VERSION, "incompatible CNI version", details))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_runtimes_send() {
        let text = br#"{"cniVersion":"1.0.0","name":"skep","type":"skep-cni","socket":"/s",
            "runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"udp","hostIP":""},
                {"HostPort":8080,"ContainerPort":80,"Protocol":"udp","HostIP":""}]},
            "cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}]}"#;
        let config = Config::decode(text).unwrap();
        assert_eq!(config.valid_attachments.unwrap()[0].container_id, "a");
        let mapping = PortMapping { host_port: 8080, container_port: 80, protocol: "udp".to_owned(), host_ip: None };
        assert_eq!(config.runtime_config.port_mappings, [mapping.clone(), mapping], "with and without capitals");
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(Config::decode(b"{").unwrap_err().code, Error::DECODE);
        assert_eq!(Config::decode(br#"{"cniVersion":1}"#).unwrap_err().code, Error::DECODE);
        let far = br#"{"cniVersion":"1.0.0","runtimeConfig":{"portMappings":[{"hostPort":80,"containerPort":99999}]}}"#;
        assert_eq!(Config::decode(far).unwrap_err().code, Error::DECODE);
        for version in ["{}", r#"{"cniVersion":"0.2.0"}"#, r#"{"cniVersion":"2.0.0"}"#] {
            assert_eq!(Config::decode(version.as_bytes()).unwrap_err().code, Error::INCOMPATIBLE_VERSION);
        }
    }
}
