//! The eBPF programs: a workspace, a target and a toolchain of their own.
//!
//! Two toolchains are known to work: Debian's `rustc-web` with a prebuilt `core` (`libstd-rust-web-dev-bpf`), and a
//! rustup nightly with `rust-src`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;
use crate::shell::{read, run, say};

const TARGET: &str = "bpfel-unknown-none";
/// Separates the words of `CARGO_ENCODED_RUSTFLAGS`.
const UNIT_SEPARATOR: &str = "\u{1f}";

/// Builds every program of `ebpf/programs` and puts the objects into `target/bpf`.
pub(crate) fn build() -> Result<()> {
    let workspace = paths::root().join("ebpf/programs");
    let target_dir = paths::target().join("bpf-build");
    let mut command = toolchain()?;
    let flags = ["--cfg=bpf_target_arch=\"x86_64\"", "-Clinker=bpf-linker", "-Clink-arg=--btf", "-Cdebuginfo=2"];
    command
        .args(["build", "--quiet", "--release", "--locked", "--target", TARGET])
        .current_dir(&workspace)
        .env("CARGO_TARGET_DIR", &target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join(UNIT_SEPARATOR));
    run(&mut command).context("build the eBPF programs")?;
    install(&target_dir.join(TARGET).join("release"))
}

/// The cargo that can build for the kernel.
fn toolchain() -> Result<Command> {
    let debian = Path::new("/usr/bin/rustc");
    if debian.exists() && has_core(debian) {
        let mut command = Command::new("/usr/bin/cargo");
        command.env("RUSTC", debian).env("RUSTC_BOOTSTRAP", "1").env_remove("RUSTUP_TOOLCHAIN");
        return Ok(command);
    }
    let nightly = read(Command::new("rustup").args(["component", "list", "--installed", "--toolchain", "nightly"]));
    if nightly.is_ok_and(|components| components.lines().any(|name| name.starts_with("rust-src"))) {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", "cargo", "-Z", "build-std=core"]);
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC").env_remove("CARGO");
        return Ok(command);
    }
    bail!(
        "no toolchain for the eBPF programs: apt-get install rustc-web cargo-web libstd-rust-web-dev-bpf, \
         or rustup toolchain install nightly --component rust-src"
    )
}

fn has_core(rustc: &Path) -> bool {
    let sysroot = read(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]));
    sysroot.is_ok_and(|path| Path::new(path.trim()).is_dir())
}

/// Copies what changed, so that a build without changes stays one.
fn install(built: &Path) -> Result<()> {
    let objects = paths::bpf_objects();
    fs::create_dir_all(&objects).with_context(|| format!("create {}", objects.display()))?;
    for program in programs()? {
        let bytes = fs::read(built.join(&program)).with_context(|| format!("read the object of {program}"))?;
        let destination = objects.join(&program);
        if fs::read(&destination).ok().as_ref() != Some(&bytes) {
            fs::write(&destination, bytes).with_context(|| format!("write {}", destination.display()))?;
        }
    }
    say(&format!("eBPF programs in {}", objects.display()));
    Ok(())
}

/// The programs: one for each `src/bin/NAME.rs`.
fn programs() -> Result<Vec<String>> {
    let folder: PathBuf = paths::root().join("ebpf/programs/src/bin");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
