//! Helm 4: the life of a release whose chart has hooks, a test and a definition.

use std::process::Command;

use anyhow::{Result, ensure};
use skep_e2e::TestCluster;

use super::{kubeconfig, tool};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/chart");

pub(super) fn run(test: &TestCluster) -> Result<()> {
    let program = tool("SKEP_HELM")?;
    let home = tempfile::tempdir()?;
    let helm = |args: &[&str]| -> Result<String> {
        let mut command = Command::new(&program);
        command.args(args).env("KUBECONFIG", kubeconfig(test)).env("HOME", home.path());
        let output = command.output()?;
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "helm {}: {text}", args.join(" "));
        Ok(text)
    };
    let kubectl = |args: &[&str]| test.cluster.kubectl(args);
    let wait: &[&str] = &["--wait", "--timeout=60s"];

    let installed = helm(&[&["install", "apiary", CHART][..], wait].concat())?;
    assert!(installed.contains("apiary is green, revision 1."), "{installed}");
    assert_eq!(kubectl(&["logs", "apiary-pre-install"])?, "pre-install of revision 1\n");
    let ready = [
        "get",
        "deployment",
        "apiary",
        "-o",
        "jsonpath={.status.readyReplicas} {.spec.template.spec.containers[0].image}",
    ];
    assert_eq!(kubectl(&ready)?, "1 skep-echo:v1");
    let owner = ["get", "configmap", "apiary", "-o", "jsonpath={.metadata.annotations.meta\\.helm\\.sh/release-name}"];
    assert_eq!(kubectl(&owner)?, "apiary");
    let again = format!("{:#}", helm(&["install", "apiary", CHART]).unwrap_err());
    assert!(again.contains("cannot reuse a name that is still in use"), "{again}");

    // Helm applies on the server, or sends merge patches as Helm 3 did.
    let second = ["upgrade", "apiary", CHART, "--set=tag=v2,replicas=2,colour=red", "--server-side=false"];
    helm(&[&second[..], wait].concat())?;
    assert_eq!(kubectl(&ready)?, "2 skep-echo:v2");
    assert_eq!(kubectl(&["get", "swarm", "apiary", "-o", "jsonpath={.spec.bees}"])?, "2000");
    assert_eq!(kubectl(&["logs", "apiary-post-upgrade"])?, "post-upgrade of revision 2\n");
    let refused = format!("{:#}", helm(&["upgrade", "apiary", CHART, "--set=replicas=-1"]).unwrap_err());
    for why in [
        "Deployment.apps \"apiary\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        "Swarm.apiary.example.com \"apiary\" is invalid: spec.bees: Invalid value: -1000",
    ] {
        assert!(refused.contains(why), "{refused}");
    }
    helm(&[&["rollback", "apiary", "1"][..], wait].concat())?;
    assert_eq!(kubectl(&ready)?, "1 skep-echo:v1");
    assert_eq!(kubectl(&["get", "configmap", "apiary", "-o", "jsonpath={.data.colour}"])?, "green");

    let history = helm(&["history", "apiary"])?;
    for (revision, status) in [("1", "superseded"), ("2", "superseded"), ("3", "failed"), ("4", "deployed")] {
        let row = history.lines().find(|line| line.starts_with(revision));
        assert!(row.is_some_and(|row| row.contains(status)), "{history}");
    }
    let status = helm(&["status", "apiary"])?;
    assert!(status.contains("STATUS: deployed") && status.contains("==> v1/Deployment"), "{status}");
    let manifest = helm(&["get", "manifest", "apiary"])?;
    assert!(manifest.contains("kind: Swarm") && !manifest.contains("helm.sh/hook"), "{manifest}");
    assert!(helm(&["get", "hooks", "apiary"])?.contains("helm.sh/hook: pre-install"));
    let tested = helm(&["test", "apiary", "--logs", "--timeout=60s"])?;
    assert!(tested.contains("Phase:          Succeeded") && tested.contains("POD LOGS: apiary-answers"), "{tested}");

    helm(&[&["uninstall", "apiary"][..], wait].concat())?;
    assert!(!helm(&["list"])?.contains("apiary"));
    // The definition stays, and what hooks made.
    let left = kubectl(&["get", "deployments,configmaps,secrets,swarms,crds", "-o", "name"])?;
    assert_eq!(
        left.lines().filter(|name| !name.ends_with("kube-root-ca.crt")).collect::<Vec<_>>(),
        ["customresourcedefinition.apiextensions.k8s.io/swarms.apiary.example.com"]
    );
    kubectl(&["delete", "pods", "--all", "--timeout=60s"])?;
    Ok(())
}
