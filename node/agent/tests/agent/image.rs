//! An image without a registry: an OCI layout with one layer that holds busybox.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) const NAME: &str = "skep.test/busybox:1";

struct Layout(tar::Builder<std::fs::File>);

impl Layout {
    fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) {
        append(&mut self.0, path, mode, bytes);
    }

    fn blob(&mut self, bytes: &[u8]) -> Value {
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        self.file(&format!("blobs/sha256/{digest}"), 0o644, bytes);
        json!({"digest": format!("sha256:{digest}"), "size": bytes.len()})
    }
}

fn append<W: std::io::Write>(archive: &mut tar::Builder<W>, path: &str, mode: u32, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, path, bytes).unwrap();
}

/// Writes the image as a tar that containerd can import. It serves as the sandbox's image too.
pub(crate) fn write(path: &Path) {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "bin/busybox", 0o755, &std::fs::read("/bin/busybox").unwrap());
    for name in ["sh", "sleep", "test", "cat", "touch", "rm"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        layer.append_link(&mut header, format!("bin/{name}"), "busybox").unwrap();
    }
    append(&mut layer, "tmp/.keep", 0o644, b"");
    let layer = layer.into_inner().unwrap();
    let diff_id: String = Sha256::digest(&layer).iter().map(|byte| format!("{byte:02x}")).collect();
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
        "config": {"Cmd": ["/bin/sleep", "1000000"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff_id}")]}
    });
    let mut layout = Layout(tar::Builder::new(std::fs::File::create(path).unwrap()));
    layout.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
    let mut layer = layout.blob(&layer);
    layer["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar");
    let mut config = layout.blob(config.to_string().as_bytes());
    config["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [layer]
    });
    let mut manifest = layout.blob(manifest.to_string().as_bytes());
    manifest["mediaType"] = json!("application/vnd.oci.image.manifest.v1+json");
    manifest["annotations"] = json!({"io.containerd.image.name": NAME});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    layout.file("index.json", 0o644, index.to_string().as_bytes());
    layout.0.finish().unwrap();
}
