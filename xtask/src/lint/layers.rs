//! Which crate may depend on what: the rules of ARCHITECTURE.md, over `cargo metadata`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::shell::{cargo, read};

/// Dependencies that only one crate may name.
const OWNED: &[(&str, &[&str])] = &[
    ("aya", &["skep-bpf", "skep-abi"]),
    ("aya-log", &["skep-bpf"]),
    ("openraft", &["skep-raft"]),
    ("rocksdb", &["skep-raft"]),
    ("rtnetlink", &["skep-network"]),
];

/// What a pure crate has no use for: a clock, randomness, files, sockets, tasks.
const IMPURE: &[&str] = &[
    "tokio",
    "rand",
    "nix",
    "libc",
    "hyper",
    "axum",
    "tonic",
    "kube",
    "reqwest",
    "openraft",
    "rocksdb",
    "rtnetlink",
    "uuid",
];

const CLASSES: &[&str] = &["pure", "pure + loop", "shell", "wiring", "binary", "tool", "test"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    metadata: Option<BTreeMap<String, serde_json::Value>>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `null` for a normal dependency, else `dev` or `build`.
    kind: Option<String>,
}

impl Package {
    fn class(&self) -> Option<&str> {
        self.metadata.as_ref()?.get("skep")?.get("class")?.as_str()
    }

    /// The top-level folder: `control`, `node`, `lib`, …
    fn plane(&self) -> &str {
        self.manifest_path.rsplit('/').nth(2).unwrap_or_default()
    }
}

/// Fails with every dependency that breaks a rule.
pub(crate) fn check() -> Result<()> {
    let text = read(cargo().args(["metadata", "--no-deps", "--format-version", "1", "--locked"]))?;
    let metadata: Metadata = serde_json::from_str(&text)?;
    let faults = faults(&metadata.packages);
    if faults.is_empty() {
        return Ok(());
    }
    bail!("layering:\n  {}", faults.join("\n  "))
}

fn faults(packages: &[Package]) -> Vec<String> {
    let ours: BTreeMap<&str, &Package> = packages.iter().map(|package| (package.name.as_str(), package)).collect();
    let mut faults = Vec::new();
    for package in packages {
        let name = &package.name;
        let Some(class) = package.class().filter(|class| CLASSES.contains(class)) else {
            faults.push(format!("{name}: package.metadata.skep.class must be one of {}", CLASSES.join(", ")));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind.is_none()) {
            let other = dependency.name.as_str();
            if OWNED.iter().any(|(owned, owners)| *owned == other && !owners.contains(&name.as_str())) {
                faults.push(format!("{name} names {other}, which belongs to one crate"));
            }
            if class == "pure" && IMPURE.contains(&other) {
                faults.push(format!("{name} is pure and depends on {other}"));
            }
            let Some(other) = ours.get(other) else { continue };
            if class == "pure" && other.class() != Some("pure") {
                faults.push(format!("{name} is pure and depends on {}, which is not", other.name));
            }
            let planes = [package.plane(), other.plane()];
            if planes == ["control", "node"] || planes == ["node", "control"] {
                faults.push(format!("{name} ({}) depends on {} ({})", planes[0], other.name, planes[1]));
            }
            if planes[0] == "lib" && (planes[1] == "control" || planes[1] == "node") {
                faults.push(format!("{name} is shared by both planes and depends on {} ({})", other.name, planes[1]));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::{Dependency, Package, faults};

    fn package(folder: &str, name: &str, class: &str, dependencies: &[&str]) -> Package {
        let metadata = [("skep".to_owned(), serde_json::json!({"class": class}))].into();
        let dependencies =
            dependencies.iter().map(|name| Dependency { name: (*name).to_owned(), kind: None }).collect();
        let manifest_path = format!("/src/{folder}/{name}/Cargo.toml");
        Package { name: name.to_owned(), manifest_path, metadata: Some(metadata), dependencies }
    }

    #[test]
    fn each_rule_is_enforced() {
        let packages = [
            package("control", "skep-store", "pure", &["tokio", "skep-raft"]),
            package("control", "skep-raft", "shell", &["openraft", "skep-agent"]),
            package("node", "skep-agent", "shell", &["aya"]),
            package("lib", "skep-odd", "whatever", &[]),
        ];
        let faults = faults(&packages);
        assert_eq!(faults.len(), 5, "{faults:?}");
    }
}
