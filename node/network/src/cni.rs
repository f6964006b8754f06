//! The Container Network Interface, versions 0.3.0 to 1.1.0: what is asked, what is answered, and how it fails.
//! See `SPEC.md` of the containernetworking project for every field and code.

mod config;
mod handle;
mod result;

pub(crate) use config::Config;
pub use handle::handle;
pub(crate) use result::{Address, Interface, Outcome, Route};

use std::io;
use std::path::PathBuf;

use serde::Serialize;

/// The versions that are understood, oldest first.
pub(crate) const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const NAME_LEN_MAX: usize = 15;

/// One call of the plugin: the environment variables `CNI_…`, and standard input.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `CNI_COMMAND`.
    pub command: String,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`; empty where a DEL comes after its namespace went.
    pub netns: PathBuf,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_ARGS`, `KEY=value` pairs between semicolons.
    pub args: String,
    /// The network's configuration, as JSON.
    pub config: Vec<u8>,
}

impl Request {
    /// The value that `CNI_ARGS` gives to `key`.
    #[must_use]
    pub fn arg(&self, key: &str) -> &str {
        let pairs = self.args.split(';').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, _)| *name == key).map(|(_, value)| value).next_back().unwrap_or("")
    }

    /// # Errors
    /// A variable that the command needs is missing or malformed: code 4, with its name.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        if self.container_id.is_empty() || !self.container_id.bytes().enumerate().all(is_id_byte) {
            return Err(Error::environment("CNI_CONTAINERID", &self.container_id));
        }
        let bad_name = |byte: u8| byte == b'/' || byte == b':' || byte.is_ascii_whitespace() || byte == 0;
        let name = self.ifname.as_str();
        if name.is_empty() || name.len() > NAME_LEN_MAX || matches!(name, "." | "..") || name.bytes().any(bad_name) {
            return Err(Error::environment("CNI_IFNAME", name));
        }
        if self.netns.as_os_str().is_empty() && self.command != "DEL" {
            return Err(Error::environment("CNI_NETNS", ""));
        }
        Ok(())
    }
}

fn is_id_byte((place, byte): (usize, u8)) -> bool {
    byte.is_ascii_alphanumeric() || (place > 0 && matches!(byte, b'_' | b'.' | b'-'))
}

/// A failure as CNI prints it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(rename_all = "camelCase")]
#[error("{msg} (CNI code {code}): {details}")]
pub struct Error {
    /// The version of the caller's configuration, where it could be read.
    pub cni_version: String,
    /// One of the specification's up to 99, or one of ours.
    pub code: u32,
    /// What failed.
    pub msg: String,
    /// Why.
    pub details: String,
}

impl Error {
    /// The version of the configuration is not one of ours.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// An environment variable is missing or malformed.
    pub const ENVIRONMENT: u32 = 4;
    /// A file or the network stack could not be used.
    pub const IO: u32 = 5;
    /// Standard input is not JSON of the expected form.
    pub const DECODE: u32 = 6;
    /// The configuration holds a value that cannot be.
    pub const INVALID_CONFIG: u32 = 7;
    /// The daemon is not there at the moment.
    pub const TRY_AGAIN: u32 = 11;
    /// STATUS: no pod can be attached now.
    pub const NOT_AVAILABLE: u32 = 50;
    /// Ours: the node's pod range is used up.
    pub const POOL_EXHAUSTED: u32 = 100;
    /// Ours: CHECK found that an attachment is not as it was made.
    pub const CHECK_FAILED: u32 = 101;

    /// A failure with its code and reason.
    #[must_use]
    pub fn new(code: u32, msg: impl Into<String>, details: impl Into<String>) -> Self {
        let cni_version = VERSIONS[3].to_owned();
        Error { cni_version, code, msg: msg.into(), details: details.into() }
    }

    pub(crate) fn environment(name: &str, value: &str) -> Self {
        let details = if value.is_empty() { "it is not set".to_owned() } else { format!("{value:?} is malformed") };
        Error::new(Self::ENVIRONMENT, format!("environment variable {name}"), details)
    }

    pub(crate) fn io(msg: impl Into<String>, source: &io::Error) -> Self {
        Error::new(Self::IO, msg, source.to_string())
    }

    /// The JSON that the plugin prints.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a struct of strings and numbers always encodes")
    }
}

/// The answer to VERSION.
pub(crate) fn version_json(cni_version: &str) -> String {
    serde_json::json!({ "cniVersion": cni_version, "supportedVersions": VERSIONS }).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            command: "ADD".to_owned(),
            container_id: "0f-a.b_c".to_owned(),
            netns: PathBuf::from("/run/netns/x"),
            ifname: "eth0".to_owned(),
            args: "IgnoreUnknown=1;K8S_POD_NAME=web-0;K8S_POD_NAMESPACE=a".to_owned(),
            config: Vec::new(),
        }
    }

    #[test]
    fn variables_are_checked_by_name() {
        request().validate().unwrap();
        Request { command: "DEL".to_owned(), netns: PathBuf::new(), ..request() }.validate().unwrap();
        for (bad, name) in [
            (Request { container_id: String::new(), ..request() }, "CNI_CONTAINERID"),
            (Request { container_id: "-a".to_owned(), ..request() }, "CNI_CONTAINERID"),
            (Request { container_id: "a/b".to_owned(), ..request() }, "CNI_CONTAINERID"),
            (Request { ifname: String::new(), ..request() }, "CNI_IFNAME"),
            (Request { ifname: "a b".to_owned(), ..request() }, "CNI_IFNAME"),
            (Request { ifname: "sixteen-bytes-xx".to_owned(), ..request() }, "CNI_IFNAME"),
            (Request { netns: PathBuf::new(), ..request() }, "CNI_NETNS"),
        ] {
            let error = bad.validate().unwrap_err();
            assert_eq!(error.code, Error::ENVIRONMENT);
            assert!(error.msg.ends_with(name), "{error}");
        }
    }

    #[test]
    fn args_are_found_by_key() {
        assert_eq!(request().arg("K8S_POD_NAME"), "web-0");
        assert_eq!(request().arg("K8S_POD_UID"), "");
    }
}
