//! Clients that nobody here wrote, one after the other on one cluster: Helm, Python's, a controller of kube-rs', and kubectl in
//! two versions.

mod controller;
mod helm;
mod kubectl;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use skep_e2e::TestCluster;

const NAME: &str = "e2e-clients";

/// What the Python client talks to.
const TALKER: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: talker, labels: {tour: python}}\nspec:\n  \
                      terminationGracePeriodSeconds: 1\n  containers:\n  - name: c\n    image: busybox:1\n    \
                      command: [sh, -c, 'busybox httpd -p 8080; while :; do echo tick; sleep 1; done']\n";

const TOUR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/clients/tour.py");

/// A tool that `./x test` fetches.
fn tool(variable: &str) -> Result<OsString> {
    std::env::var_os(variable)
        .with_context(|| format!("{variable} is not set: ./x test fetches it, or says why it cannot"))
}

fn kubeconfig(_test: &TestCluster) -> PathBuf {
    skep_testkit::cluster::kubeconfig(NAME)
}

fn python(test: &TestCluster) -> Result<()> {
    test.apply(TALKER)?;
    test.cluster.kubectl(&["wait", "--for=condition=Ready", "pod/talker", "--timeout=60s"])?;
    let mut command = Command::new("python3");
    command.arg(TOUR).arg(kubeconfig(test)).arg("talker");
    let output = command.env("PYTHONPATH", tool("SKEP_PYTHONPATH")?).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(said.ends_with("done\n"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Names of what the tour with kubectl holds us to:
/// `[sig-cli] Kubectl client Kubectl api-versions should check if v1 is in available api versions`,
/// `[sig-cli] Kubectl client Kubectl cluster-info should check if Kubernetes control plane services is included in cluster-info`,
/// `[sig-cli] Kubectl client Kubectl diff should check if kubectl diff finds a difference for Deployments`,
/// `[sig-cli] Kubectl client Kubectl label should update the label on a resource`,
/// `[sig-cli] Kubectl client Kubectl replace should update a single-container pod's image`,
/// `[sig-cli] Kubectl client Kubectl run pod should create a pod from an image when restart is Never`,
/// `[sig-cli] Kubectl client Kubectl server-side dry-run should check if kubectl can dry-run update Pods`,
/// `[sig-cli] Kubectl client Kubectl version should check is all data is printed`,
/// `[sig-cli] Kubectl client Proxy server should support --unix-socket=/path`.
#[test]
fn clients_that_others_wrote() -> Result<()> {
    let mut test = TestCluster::start(NAME)?;
    helm::run(&test).context("Helm")?;
    // What was before is history that no watch is told any more.
    test.cluster.kill()?;
    test.cluster.restart()?;
    python(&test).context("the Python client")?;
    controller::run(&kubeconfig(&test)).context("a controller")?;
    kubectl::run(&test, &tool("SKEP_KUBECTL")?).context("kubectl")?;
    kubectl::run(&test, &tool("SKEP_KUBECTL_OLD")?).context("an older kubectl")
}
