//! Server-side apply as people use it: `kubectl apply --server-side`.

use std::time::Duration;

use anyhow::{Context, Result};
use skep_e2e::TestCluster;

const SERVER_SIDE: &[&str] = &["--server-side"];

fn config(replicas: &str, label: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  labels: {{app: web{label}}}\nspec:\n  {replicas}\n  \
         selector:\n    matchLabels: {{app: web}}\n  template:\n    metadata:\n      labels: {{app: web}}\n    spec:\n      \
         containers:\n        - name: echo\n          image: skep-echo:v1\n          args: [serve]\n"
    )
}

/// What a kubectl printed, whether it failed or not.
fn output(test: &TestCluster, args: &[&str], manifest: &str) -> Result<(Option<i32>, String)> {
    let file = std::env::temp_dir().join(format!("skep-e2e-{}-output.yaml", std::process::id()));
    std::fs::write(&file, manifest)?;
    let output = test.cluster.kubectl_command(args).arg("-f").arg(&file).output();
    std::fs::remove_file(&file)?;
    let output = output.context("run kubectl")?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn kubectl_applies_on_the_servers_side() -> Result<()> {
    let test = TestCluster::start("e2e-apply")?;
    let kubectl = |args: &[&str]| test.cluster.kubectl(args);
    let version = || {
        kubectl(&[
            "get",
            "deployment",
            "web",
            "-o",
            "jsonpath={.metadata.generation} {.metadata.managedFields[?(@.operation=='Apply')].time}",
        ])
    };

    // From client-side apply, without conflicts.
    test.apply(&config("replicas: 0", ""))?;
    let last = kubectl(&["apply", "view-last-applied", "deployment/web"])?;
    assert!(last.contains("replicas: 0"), "{last}");
    let applied = test.with_file("apply", &config("replicas: 1", ", tier: front"), SERVER_SIDE)?;
    assert!(applied.contains("deployment.apps/web serverside-applied"), "{applied}");
    let names = ["get", "deployment", "web", "-o", "jsonpath={.metadata.managedFields[*].manager}"];
    let managers = kubectl(&names)?;
    assert!(managers.split(' ').any(|name| name == "kubectl"), "{managers}");
    assert!(!managers.contains("kubectl-client-side-apply"), "{managers}");
    kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;

    // What is applied no more goes; what is applied again changes nothing.
    test.with_file("apply", &config("replicas: 1", ""), SERVER_SIDE)?;
    let labels = kubectl(&["get", "deployment", "web", "-o", "jsonpath={.metadata.labels}"])?;
    assert_eq!(labels, "{\"app\":\"web\"}");
    test.wait_for(&["deployment", "web", "-o", "jsonpath={.status.observedGeneration}"], |text| !text.is_empty())?;
    let settled = version()?;
    // Times are whole seconds: within one, a time that was written anew could not be told.
    std::thread::sleep(Duration::from_secs(1));
    test.with_file("apply", &config("replicas: 1", ""), SERVER_SIDE)?;
    assert_eq!(version()?, settled);

    // Somebody else's fields conflict, and may be taken.
    kubectl(&["scale", "deployment/web", "--replicas=2"])?;
    let (code, text) = output(&test, &["apply", "--server-side"], &config("replicas: 1", ""))?;
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas"),
        "{text}"
    );
    let (code, text) = output(&test, &["diff", "--server-side", "--force-conflicts"], &config("replicas: 1", ""))?;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("-  replicas: 2") && text.contains("+  replicas: 1"), "{text}");
    test.with_file("apply", &config("replicas: 1", ""), &["--server-side", "--force-conflicts"])?;
    let replicas = kubectl(&["get", "deployment", "web", "-o", "jsonpath={.spec.replicas}"])?;
    assert_eq!(replicas, "1");

    // Two who own one list, item by item.
    let side = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: \
                [{name: echo, env: [{name: WHO, value: side}]}]}}}\n";
    test.with_file("apply", side, &["--server-side", "--field-manager=side"])?;
    test.with_file("apply", &config("replicas: 1", ""), SERVER_SIDE)?;
    let env = ["get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env}"];
    assert_eq!(kubectl(&env)?, "[{\"name\":\"WHO\",\"value\":\"side\"}]");

    // People do not see managed fields, and what nobody knows is refused.
    assert!(!kubectl(&["get", "deployment", "web", "-o", "yaml"])?.contains("managedFields"));
    assert!(kubectl(&["get", "deployment", "web", "-o", "yaml", "--show-managed-fields"])?.contains("f:replicas"));
    let (code, text) = output(&test, &["apply", "--server-side"], &config("replica: 1", ""))?;
    assert!(code == Some(1) && text.contains(".spec.replica: field not declared in schema"), "{text}");
    Ok(())
}
