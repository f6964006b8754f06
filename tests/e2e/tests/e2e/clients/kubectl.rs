//! kubectl's verbs, one after the other: `tour.txt` has a command and what it prints on each line.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use skep_e2e::TestCluster;

use super::kubeconfig;

/// `COMMAND => TEXT`: a line for the shell, where `k` is kubectl in the tour's namespace, and what it prints, among other
/// things. `! ` before it: it ends with an error. A line with no arrow prints anything.
const TOUR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/clients/tour.txt");

pub(super) fn run(test: &TestCluster, program: &OsStr) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut wrong = Vec::new();
    let tour = std::fs::read_to_string(TOUR)?;
    for line in tour.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (line, fails) = line.strip_prefix("! ").map_or((line, false), |line| (line, true));
        let (command, wanted) = line.split_once(" => ").unwrap_or((line, ""));
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("k() {{ \"$KUBECTL\" -n tour \"$@\"; }}\n{command}"));
        shell.current_dir(dir.path()).stdin(Stdio::null()).env("KUBECTL", program);
        shell.env("KUBECONFIG", kubeconfig(test)).env("KUBECTL_APPLYSET", "true").env("NODE", super::NAME);
        let output = shell.output()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        if output.status.success() == fails || !said.contains(&wanted.replace("\\n", "\n")) {
            wrong.push(format!("{command}\n  wanted: {wanted}\n  {}: {said}", output.status));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
