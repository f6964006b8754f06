//! Files, process and remains of one containerd.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, umount2};

use super::config::{self, Host};
use super::{ContainerdError, Options};
use crate::SOCKET_PATH_LEN_MAX;
use crate::cgroup::Cgroups;
use crate::process::{Identity, Process};

const LOG_BYTES_MAX: u64 = 16 << 20;
const TAIL_BYTES: u64 = 8 << 10;
const TAIL_LINES: usize = 4;
/// containerd listens for its shims on its own path with this ending.
const TTRPC_SUFFIX: &str = ".ttrpc";
/// Where programs are that a stripped PATH does not name.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// All that it takes to start containerd, checked.
#[derive(Debug)]
pub(super) struct Launch {
    options: Options,
    settings: String,
    program: PathBuf,
    path: OsString,
    socket: PathBuf,
    dir: PathBuf,
    log: PathBuf,
    cgroups: Cgroups,
}

impl Launch {
    pub(super) fn prepare(options: Options) -> Result<Self, ContainerdError> {
        let path = search_path();
        let program = find(&path, "containerd")?;
        for other in ["containerd-shim-runc-v2", "runc", "ctr"] {
            find(&path, other)?;
        }
        let socket = options.socket();
        if socket.as_os_str().len() + TTRPC_SUFFIX.len() > SOCKET_PATH_LEN_MAX {
            return Err(ContainerdError::SocketPath { path: socket });
        }
        let dir = options.state_dir.join("containerd");
        for dir in [&dir, &options.state_dir.join("run"), &options.cni_bin_dir, &options.cni_conf_dir] {
            fs::DirBuilder::new().recursive(true).mode(0o711).create(dir).map_err(|source| file(dir, source))?;
        }
        let cgroups = Cgroups::detect()?;
        let settings = config::render(&options, Host::observe());
        Ok(Launch { settings, program, path, socket, log: dir.join("containerd.log"), dir, cgroups, options })
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn log_path(&self) -> &Path {
        &self.log
    }

    pub(super) fn recorded(&self) -> Result<Option<Process>, ContainerdError> {
        recorded(&self.options.state_dir)
    }

    pub(super) fn settings_are_current(&self) -> bool {
        fs::read_to_string(self.dir.join("config.toml")).is_ok_and(|held| held == self.settings)
    }

    pub(super) fn write_settings(&self) -> Result<(), ContainerdError> {
        replace(&self.dir.join("config.toml"), self.settings.as_bytes())
    }

    /// Starts containerd in a session of its own and in the node's cgroup, and records it.
    pub(super) fn spawn(&self) -> Result<Process, ContainerdError> {
        let cgroup = format!("{}/containerd", self.options.cgroup);
        self.cgroups.ensure(&self.options.cgroup)?;
        self.cgroups.ensure_unified(&cgroup)?;
        let procs_path = self.cgroups.unified().dir(&cgroup).join("cgroup.procs");
        let procs = OpenOptions::new().write(true).open(&procs_path).map_err(|source| file(&procs_path, source))?;
        let log = self.open_log()?;
        let mut command = Command::new(&self.program);
        command
            .arg("--config")
            .arg(self.dir.join("config.toml"))
            .env("PATH", &self.path)
            .env_remove("NOTIFY_SOCKET")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|source| file(&self.log, source))?)
            .stderr(log);
        let procs_fd = procs.as_raw_fd();
        // SAFETY: setsid and write are async-signal-safe; the descriptor stays open in the parent until after the fork,
        // and the closure owns nothing.
        unsafe {
            command.pre_exec(move || {
                nix::unistd::setsid()?;
                if libc::write(procs_fd, c"0".as_ptr().cast(), 1) != 1 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().map_err(ContainerdError::Process)?;
        drop(procs);
        let pid = i32::try_from(child.id()).map_err(|error| ContainerdError::Process(io::Error::other(error)))?;
        let identity = Identity::of(pid).map_err(ContainerdError::Process)?;
        let process =
            identity.map(|identity| Process::open(&identity)).transpose().map_err(ContainerdError::Process)?;
        let Some(process) = process.flatten() else {
            return Err(ContainerdError::NotReady {
                reason: "it ended at once".to_owned(),
                log: self.log.clone(),
                tail: self.log_tail(),
            });
        };
        let record = serde_json::to_vec(process.identity()).expect("a struct of numbers and strings always encodes");
        replace(&self.dir.join("process.json"), &record)?;
        Ok(process)
    }

    /// Ends whatever still runs in the cgroups of containerd and of the pods.
    pub(super) fn end_containers(&self) -> Result<(), ContainerdError> {
        for part in ["pods", "containerd"] {
            let cgroup = format!("{}/{part}", self.options.cgroup);
            self.cgroups.kill(&cgroup)?;
        }
        detach_remains(&self.options.state_dir)?;
        for part in ["pods", "containerd"] {
            self.cgroups.remove(&format!("{}/{part}", self.options.cgroup))?;
        }
        let record = self.dir.join("process.json");
        fs::remove_file(&record).map_err(|source| file(&record, source))
    }

    fn open_log(&self) -> Result<File, ContainerdError> {
        let old = self.log.with_extension("log.1");
        if fs::metadata(&self.log).is_ok_and(|held| held.len() > LOG_BYTES_MAX) {
            fs::rename(&self.log, &old).map_err(|source| file(&self.log, source))?;
        }
        let open = OpenOptions::new().create(true).append(true).mode(0o640).open(&self.log);
        open.map_err(|source| file(&self.log, source))
    }

    /// The end of the log, for an error's text.
    pub(super) fn log_tail(&self) -> String {
        let read = || -> io::Result<String> {
            let mut log = File::open(&self.log)?;
            let len = log.metadata()?.len();
            log.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            log.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        let complaints =
            |line: &&str| line.contains("level=error") || line.contains("level=fatal") || !line.contains("level=");
        let mut lines: Vec<&str> = text.lines().filter(complaints).collect();
        if lines.is_empty() {
            lines = text.lines().collect();
        }
        lines[lines.len().saturating_sub(TAIL_LINES)..].join(" | ")
    }

    /// `ctr`, pointed at this containerd and at the namespace that CRI uses.
    pub(super) fn ctr(&self) -> Command {
        let mut command = Command::new("ctr");
        command.env("PATH", &self.path).arg("--address").arg(&self.socket).args(["--namespace", "k8s.io"]);
        command
    }

    pub(super) fn snapshotter(&self) -> &str {
        &self.options.snapshotter
    }
}

fn file(path: &Path, source: io::Error) -> ContainerdError {
    ContainerdError::File { path: path.to_owned(), source }
}

fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push(SYSTEM_PATH);
    path
}

fn find(path: &OsString, program: &'static str) -> Result<PathBuf, ContainerdError> {
    std::env::split_paths(path)
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or(ContainerdError::Missing { program })
}

/// Readers see the old content or the new.
fn replace(path: &Path, content: &[u8]) -> Result<(), ContainerdError> {
    let fresh = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut out = File::create(&fresh)?;
        out.write_all(content)?;
        out.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().map_err(|source| file(path, source))
}

/// The living containerd recorded under `state_dir`.
pub(super) fn recorded(state_dir: &Path) -> Result<Option<Process>, ContainerdError> {
    let path = state_dir.join("containerd/process.json");
    let record = match fs::read(&path) {
        Ok(record) => record,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(file(&path, source)),
    };
    let Ok(identity) = serde_json::from_slice::<Identity>(&record) else {
        tracing::warn!(?path, "the record of containerd's process is not readable and is left out");
        return Ok(None);
    };
    Process::open(&identity).map_err(ContainerdError::Process)
}

/// The shims' sockets and the mounts below `state_dir`.
pub(super) fn detach_remains(state_dir: &Path) -> Result<(), ContainerdError> {
    remove_shim_sockets(&state_dir.join("containerd"));
    unmount_below(state_dir)
}

/// Containerd's directory; to be done when nothing is mounted there any more.
pub(super) fn remove_dir(state_dir: &Path) -> Result<(), ContainerdError> {
    let dir = state_dir.join("containerd");
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(&dir, error)),
        _ => Ok(()),
    }
}

/// A shim's socket is outside of our directory; the file `address` of its bundle says where.
fn remove_shim_sockets(dir: &Path) {
    let bundles = dir.join("state/io.containerd.runtime.v2.task/k8s.io");
    for bundle in fs::read_dir(&bundles).into_iter().flatten().flatten() {
        let Ok(address) = fs::read_to_string(bundle.path().join("address")) else { continue };
        if let Some(socket) = address.trim().strip_prefix("unix://") {
            let _ = fs::remove_file(socket);
        }
    }
}

/// Newest first, since mounts may lie upon each other.
fn unmount_below(state_dir: &Path) -> Result<(), ContainerdError> {
    let path = Path::new("/proc/self/mountinfo");
    let mounts = fs::read(path).map_err(|source| file(path, source))?;
    let base = fs::canonicalize(state_dir).unwrap_or_else(|_| state_dir.to_owned());
    for line in mounts.split(|byte| *byte == b'\n').rev() {
        let Some(field) = line.split(|byte| *byte == b' ').nth(4) else { continue };
        let mount = PathBuf::from(std::ffi::OsStr::from_bytes(&decode_octal(field)));
        if mount != base && mount.starts_with(&base) {
            umount2(&mount, MntFlags::MNT_DETACH).map_err(|error| file(&mount, error.into()))?;
        }
    }
    Ok(())
}

/// mountinfo writes space, tab, newline and backslash as `\` and three octal digits.
fn decode_octal(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match digits {
            Some(digits) if byte == b'\\' => {
                out.push(digits.iter().fold(0u8, |value, digit| (value << 3) | (digit - b'0')));
                rest = &after[3..];
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(decode_octal(b"/a\\040b/c\\134d"), b"/a b/c\\d");
        assert_eq!(decode_octal(b"/a\\9"), b"/a\\9");
    }

    #[test]
    fn a_long_path_is_refused_by_name() {
        let state_dir = Path::new("/tmp").join("d".repeat(100));
        let error = Launch::prepare(Options::new(&state_dir, "/skep-x", "pause")).unwrap_err();
        assert!(matches!(error, ContainerdError::SocketPath { .. }), "{error}");
    }
}
