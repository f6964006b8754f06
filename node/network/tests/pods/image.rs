//! An OCI archive of one static busybox, made without a registry.

use std::fs::File;
use std::io::{Cursor, Read as _};
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The name by which CRI knows the image.
pub(crate) const IMAGE: &str = "docker.io/library/skep-test-busybox:1";
const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 6] = ["sh", "sleep", "wget", "httpd", "ip", "cat"];

/// Writes the archive; its entry point sleeps, so that it also serves as a sandbox image.
pub(crate) fn write(path: &Path) {
    let layer = layer();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Entrypoint": ["/bin/sleep", "1000000"], "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = json!({ "io.containerd.image.name": IMAGE, "org.opencontainers.image.ref.name": "1" });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string().into_bytes();

    let mut archive = tar::Builder::new(File::create(path).unwrap());
    put(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
    put(&mut archive, "index.json", 0o644, &index);
    for blob in [&layer, &config, &manifest] {
        put(&mut archive, &format!("blobs/{}", digest(blob).replace(':', "/")), 0o644, blob);
    }
    archive.finish().unwrap();
}

fn layer() -> Vec<u8> {
    let mut busybox = Vec::new();
    File::open(BUSYBOX).expect("apt-get install busybox-static").read_to_end(&mut busybox).unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    put(&mut archive, "bin/busybox", 0o755, &busybox);
    for applet in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    archive.into_inner().unwrap()
}

fn put<W: std::io::Write>(archive: &mut tar::Builder<W>, name: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, name, Cursor::new(content)).unwrap();
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(content), "size": content.len() })
}

fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
