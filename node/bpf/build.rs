//! Embeds the eBPF objects, which another toolchain has built before.

use std::path::{Path, PathBuf};
use std::{env, fs};

const OBJECTS: [&str; 6] =
    ["cgroup_sock", "pod_egress", "pod_ingress", "host_ingress", "host_egress", "overlay_ingress"];

fn main() {
    println!("cargo::rerun-if-env-changed=SKEP_BPF_DIR");
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts"));
    let default = manifest.join("../../target/bpf");
    let dir = env::var_os("SKEP_BPF_DIR").map_or(default, PathBuf::from);
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it for build scripts"));
    for name in OBJECTS {
        embed(&dir.join(name), &out.join(name));
    }
}

fn embed(from: &Path, to: &Path) {
    println!("cargo::rerun-if-changed={}", from.display());
    if let Err(error) = fs::copy(from, to) {
        println!("cargo::error=no eBPF object {}: {error}; run ./x ebpf", from.display());
    }
}
