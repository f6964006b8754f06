//! Who may do what: a pod that calls the API as its service account, and people whom kubectl speaks for.

use skep_e2e::TestCluster;

/// A pod that has kubectl at hand, as an in-cluster client.
fn pod(tools: &str) -> String {
    format!(
        "apiVersion: v1\n\
         kind: Pod\n\
         metadata: {{name: client}}\n\
         spec:\n\
         \x20 serviceAccountName: bot\n\
         \x20 tolerations: [{{operator: Exists}}]\n\
         \x20 containers:\n\
         \x20 - name: client\n\
         \x20   image: busybox:1\n\
         \x20   command: [sh, -c, \"while :; do /tools/kubectl get configmaps -o name; /tools/kubectl get secrets -o name; sleep 1; done\"]\n\
         \x20   env: [{{name: HOME, value: /tmp}}]\n\
         \x20   volumeMounts: [{{name: tools, mountPath: /tools}}]\n\
         \x20 volumes: [{{name: tools, hostPath: {{path: {tools}}}}}]\n"
    )
}

/// `[sig-auth] ServiceAccounts should mount an API token into pods`, from the client's side.
#[test]
fn a_pod_calls_the_api_with_its_own_token() -> anyhow::Result<()> {
    let test = TestCluster::start("e2e-access")?;
    let kubectl = |args: &[&str]| test.cluster.kubectl(args);
    kubectl(&["create", "serviceaccount", "bot"])?;
    kubectl(&["create", "role", "reader", "--verb=get,list", "--resource=configmaps"])?;
    kubectl(&["create", "rolebinding", "reader", "--role=reader", "--serviceaccount=default:bot"])?;
    let tools = std::env::var("SKEP_KUBECTL")?;
    let tools = std::path::Path::new(&tools).parent().and_then(|path| path.to_str()).unwrap_or_default();
    test.apply(&pod(tools))?;
    let mounts = ["pod", "client", "-o", "jsonpath={.spec.containers[0].volumeMounts[*].mountPath}"];
    test.wait_for(&mounts, |text| text.contains("/var/run/secrets/kubernetes.io/serviceaccount"))?;
    let denied = "secrets is forbidden: User \"system:serviceaccount:default:bot\" cannot list resource \"secrets\" in API \
                  group \"\" in the namespace \"default\"";
    let mut log = String::new();
    let seen = test.wait_until("the pod asks the API", || {
        log = kubectl(&["logs", "client"]).unwrap_or_else(|error| format!("{error:#}"));
        log.contains("configmap/kube-root-ca.crt") && log.contains(denied)
    });
    assert!(seen.is_ok(), "it printed: {log}");

    let can = |verb: &str, resource: &str| {
        kubectl(&["auth", "can-i", verb, resource, "--as=system:serviceaccount:default:bot"])
    };
    assert_eq!(can("list", "configmaps")?.trim(), "yes");
    assert!(can("list", "secrets").is_err(), "it exits with 1 where the answer is no");
    let list = kubectl(&["auth", "can-i", "--list", "--as=system:serviceaccount:default:bot"])?;
    assert!(list.contains("configmaps") && list.contains("selfsubjectrulesreviews"), "{list}");
    let who = kubectl(&["auth", "whoami", "--as=jane", "--as-group=people"])?;
    assert!(who.contains("jane") && who.contains("people"), "{who}");
    assert!(kubectl(&["auth", "whoami"])?.contains("system:masters"));
    let token = kubectl(&["create", "token", "bot"])?;
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
    test.wait_for(&["clusterrole", "admin", "-o", "jsonpath={.rules[*].resources}"], |text| {
        text.contains("rolebindings")
    })?;

    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: old, annotations: {kubernetes.io/service-account.name: bot}}\n\
                  type: kubernetes.io/service-account-token\n";
    test.apply(secret)?;
    test.wait_for(&["secret", "old", "-o", "jsonpath={.data.token}"], |text| !text.is_empty())?;
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: reader, namespace: default}\nrules:\n\
                - {apiGroups: [\"\"], resources: [pods], verbs: [get]}\n";
    let file = std::env::temp_dir().join(format!("skep-e2e-{}-role.yaml", std::process::id()));
    std::fs::write(&file, role)?;
    let reconciled = kubectl(&["auth", "reconcile", "-f", &file.to_string_lossy()]);
    std::fs::remove_file(&file)?;
    let reconciled = reconciled?;
    assert!(reconciled.contains("role.rbac.authorization.k8s.io/reader reconciled"), "{reconciled}");
    assert_eq!(
        kubectl(&["get", "role", "reader", "-o", "jsonpath={.rules[*].resources}"])?,
        r#"["configmaps"] ["pods"]"#
    );
    Ok(())
}
