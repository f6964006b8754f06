//! Container images made without a registry: OCI image layouts of one layer, as a tar archive that containerd imports.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::paths;
use crate::shell::{cargo, read, run, say};

/// A file or a link in an image.
enum Entry {
    File { path: String, bytes: Vec<u8>, mode: u32 },
    Link { path: String, target: String },
}

/// One image: its full name, what it runs, and what it holds.
struct Image<'a> {
    name: &'a str,
    entrypoint: &'a [&'a str],
    env: &'a [&'a str],
    entries: &'a [Entry],
}

/// Makes the images of the demo and returns their archives.
pub(crate) fn build_all() -> Result<()> {
    archives().map(|archives| say(&format!("images: {}", archives.len())))
}

/// The archives of all images, made if they are not there or their binaries changed.
pub(crate) fn archives() -> Result<Vec<PathBuf>> {
    let echo = static_echo()?;
    let binary = [Entry::File { path: "skep-echo".into(), bytes: fs::read(&echo)?, mode: 0o755 }];
    let busybox = busybox()?;
    let images = [
        Image {
            name: "docker.io/library/skep-pause:1",
            entrypoint: &["/skep-echo", "pause"],
            env: &[],
            entries: &binary,
        },
        Image {
            name: "docker.io/library/skep-echo:v1",
            entrypoint: &["/skep-echo"],
            env: &["RELEASE=v1"],
            entries: &binary,
        },
        Image {
            name: "docker.io/library/skep-echo:v2",
            entrypoint: &["/skep-echo"],
            env: &["RELEASE=v2"],
            entries: &binary,
        },
        Image { name: "docker.io/library/busybox:1", entrypoint: &["/bin/sh"], env: &["PATH=/bin"], entries: &busybox },
    ];
    let folder = paths::images();
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    images.iter().map(|image| image.write(&folder)).collect()
}

/// The test server as a static binary. Its own target folder keeps it apart from the workspace's build of the same name.
pub(crate) fn static_echo() -> Result<PathBuf> {
    let target = paths::target().join("static");
    let mut command = cargo();
    command.args([
        "rustc",
        "--quiet",
        "--locked",
        "--package",
        "skep-echo",
        "--bin",
        "skep-echo",
        "--profile",
        "static",
    ]);
    command.arg("--target-dir").arg(&target).args([
        "--",
        "-C",
        "target-feature=+crt-static",
        "-C",
        "relocation-model=static",
    ]);
    run(&mut command).context("build the test server")?;
    Ok(target.join("static/skep-echo"))
}

fn busybox() -> Result<Vec<Entry>> {
    let path = "/bin/busybox";
    let bytes = fs::read(path).with_context(|| format!("read {path} (apt-get install busybox-static)"))?;
    let mut entries = vec![Entry::File { path: "bin/busybox".into(), bytes, mode: 0o755 }];
    let applets = read(Command::new(path).arg("--list"))?;
    let links = applets.lines().filter(|name| *name != "busybox");
    entries.extend(links.map(|name| Entry::Link { path: format!("bin/{name}"), target: "busybox".into() }));
    entries.push(Entry::File {
        path: "etc/passwd".into(),
        bytes: b"root:x:0:0:root:/root:/bin/sh\n".to_vec(),
        mode: 0o644,
    });
    Ok(entries)
}

impl Image<'_> {
    fn write(&self, folder: &Path) -> Result<PathBuf> {
        let layer = self.layer()?;
        let config = serde_json::to_vec(&json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "Env": self.env, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        }))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        }))?;
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["annotations"] = json!({"io.containerd.image.name": self.name});
        entry["platform"] = json!({"architecture": "amd64", "os": "linux"});
        let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]}))?;

        let short_name = self.name.rsplit('/').next().unwrap_or(self.name).replace(':', "-");
        let path = folder.join(format!("{short_name}.tar"));
        let temporary = path.with_extension("new");
        let mut archive =
            Builder::new(File::create(&temporary).with_context(|| format!("create {}", temporary.display()))?);
        append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
        append(&mut archive, "index.json", &index, 0o644)?;
        for blob in [&layer, &config, &manifest] {
            append(&mut archive, &format!("blobs/{}", digest(blob).replace(':', "/")), blob, 0o644)?;
        }
        archive.into_inner()?.sync_all()?;
        fs::rename(&temporary, &path)?;
        Ok(path)
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut layer = Builder::new(Vec::new());
        for folder in ["bin", "etc", "proc", "sys", "dev", "tmp", "run", "root"] {
            let mut header = header(EntryType::Directory, 0, if folder == "tmp" { 0o1777 } else { 0o755 });
            layer.append_data(&mut header, format!("{folder}/"), std::io::empty())?;
        }
        for entry in self.entries {
            match entry {
                Entry::File { path, bytes, mode } => append(&mut layer, path, bytes, *mode)?,
                Entry::Link { path, target } => {
                    layer.append_link(&mut header(EntryType::Symlink, 0, 0o777), path, target)?;
                }
            }
        }
        Ok(layer.into_inner()?)
    }
}

fn append<W: std::io::Write>(archive: &mut Builder<W>, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let mut header = header(EntryType::Regular, bytes.len() as u64, mode);
    archive.append_data(&mut header, path, bytes).with_context(|| format!("add {path} to the archive"))
}

/// Owner and times are fixed, so that equal content has an equal digest.
fn header(kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
