//! The files by which a container runtime finds the network.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::lease::replace;
use crate::plugin::{LOOPBACK, PLUGIN};

/// The name of the network, and the place of its file before those of others.
const NETWORK: &str = "skep";
const CONF_FILE: &str = "10-skep.conflist";

/// Where the runtime looks.
#[derive(Debug, Clone)]
pub struct Install {
    /// For plugins.
    pub bin_dir: PathBuf,
    /// For configuration.
    pub conf_dir: PathBuf,
    /// The socket on which the daemon answers the plugin.
    pub socket: PathBuf,
}

impl Install {
    /// Puts `program` there under the plugins' names. Needed before the first pod.
    ///
    /// # Errors
    /// The directory is not writable.
    pub fn install_plugins(&self, program: &Path) -> io::Result<()> {
        fs::create_dir_all(&self.bin_dir)?;
        for name in [PLUGIN, LOOPBACK] {
            install(program, &self.bin_dir.join(name))?;
        }
        Ok(())
    }

    /// Writes the network's configuration: from then on the runtime calls itself ready. To be done when the socket answers.
    ///
    /// # Errors
    /// The directory is not writable.
    pub fn publish(&self) -> io::Result<()> {
        let conflist = serde_json::json!({
            "cniVersion": "1.0.0",
            // For runtimes that know 1.1: they then use GC and STATUS as well.
            "cniVersions": ["0.4.0", "1.0.0", "1.1.0"],
            "name": NETWORK,
            "plugins": [{ "type": PLUGIN, "socket": self.socket, "capabilities": { "portMappings": true } }],
        });
        let text = serde_json::to_vec_pretty(&conflist).map_err(io::Error::other)?;
        replace(&self.conf_dir.join(CONF_FILE), &text)
    }

    /// Takes the configuration away: the runtime's network is not ready any more.
    ///
    /// # Errors
    /// The directory is not writable.
    pub fn withdraw(&self) -> io::Result<()> {
        match fs::remove_file(self.conf_dir.join(CONF_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A hard link where the file system allows it, else a copy; under a name of its own first, since the old one may be running.
fn install(program: &Path, to: &Path) -> io::Result<()> {
    let fresh = to.with_extension("new");
    let _ = fs::remove_file(&fresh);
    if fs::hard_link(program, &fresh).is_err() {
        fs::copy(program, &fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    }
    fs::rename(&fresh, to)?;
    // Where both names are the same file already, rename does nothing.
    let _ = fs::remove_file(&fresh);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn installed_published_withdrawn_and_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let install = Install { bin_dir: at("bin"), conf_dir: at("net.d"), socket: at("skep.sock") };
        for _ in 0..2 {
            install.install_plugins(Path::new("/bin/true")).unwrap();
            install.publish().unwrap();
            let names: Vec<_> = fs::read_dir(at("net.d")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, [CONF_FILE]);
            let text = fs::read_to_string(at("net.d").join(CONF_FILE)).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["plugins"][0]["socket"], at("skep.sock").to_str().unwrap());
            assert_eq!(fs::read_dir(at("bin")).unwrap().count(), 2);
            install.withdraw().unwrap();
            install.withdraw().unwrap();
        }
    }
}
