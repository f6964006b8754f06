//! What admission refuses and warns of, as kubectl shows it.

use skep_e2e::TestCluster;

const PRIVILEGED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: root, namespace: strict}
spec:
  containers: [{name: c, image: skep-echo:v1, securityContext: {privileged: true}}]
"#;

const CLAIM: &str = r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: small}
spec: {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Gi}}}
"#;

fn pod(name: &str) -> String {
    let spec = "{schedulerName: none, containers: [{name: c, image: skep-echo:v1}]}";
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: small}}\nspec: {spec}\n")
}

#[test]
fn a_quota_refuses_the_third_pod_and_a_level_the_privileged_one() -> anyhow::Result<()> {
    let test = TestCluster::start("e2e-admission")?;
    let kubectl = |args: &[&str]| test.cluster.kubectl(args);
    kubectl(&["create", "namespace", "small"])?;
    kubectl(&["create", "quota", "few", "--hard=pods=2", "-n", "small"])?;
    let used = ["quota", "few", "-n", "small", "-o", "jsonpath={.status.used.pods}"];
    test.wait_for(&used, |text| text == "0")?;
    test.apply(&pod("one"))?;
    test.apply(&pod("two"))?;
    let refused = test.apply(&pod("three")).unwrap_err().to_string();
    let words = "pods \"three\" is forbidden: exceeded quota: few, requested: pods=1, used: pods=2, limited: pods=2";
    assert!(refused.contains(words), "{refused}");
    assert!(kubectl(&["get", "quota", "-n", "small"])?.contains("pods: 2/2"));
    assert!(kubectl(&["describe", "quota", "few", "-n", "small"])?.contains("pods"));
    kubectl(&["delete", "pod", "one", "-n", "small"])?;
    test.wait_for(&used, |text| text == "1")?;
    test.apply(&pod("three"))?;

    // Bound by hand, by the path of bindings rather than the pod's own.
    let node = kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    let binding = format!(
        r#"{{"apiVersion": "v1", "kind": "Binding", "metadata": {{"name": "three"}}, "target": {{"name": "{node}"}}}}"#
    );
    test.with_file("create", &binding, &["--raw", "/api/v1/namespaces/small/bindings"])?;
    assert_eq!(kubectl(&["get", "pod", "three", "-n", "small", "-o", "jsonpath={.spec.nodeName}"])?, node);
    test.apply(CLAIM)?;
    let held = kubectl(&["get", "pvc", "data", "-n", "small", "-o", "jsonpath={.metadata.finalizers}"])?;
    assert_eq!(held, r#"["kubernetes.io/pvc-protection"]"#);
    kubectl(&["delete", "pvc", "data", "-n", "small", "--timeout=60s"])?;
    let counted = kubectl(&["get", "--raw", "/metrics"])?;
    assert!(counted.contains(r#"apiserver_request_total{verb="POST""#), "{counted}");

    kubectl(&["create", "namespace", "strict"])?;
    kubectl(&["label", "namespace", "strict", "pod-security.kubernetes.io/enforce=restricted"])?;
    let refused = test.apply(PRIVILEGED).unwrap_err().to_string();
    let words = "pods \"root\" is forbidden: violates PodSecurity \"restricted:latest\": privileged (container \"c\" must \
                 not set securityContext.privileged=true)";
    assert!(refused.contains(words), "{refused}");
    let output = test
        .cluster
        .kubectl_command(&["create", "deployment", "web", "--image=skep-echo:v1", "--replicas=0", "-n", "strict"])
        .output()?;
    let told = String::from_utf8(output.stderr)?;
    assert!(output.status.success(), "{told}");
    let words = "Warning: would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false";
    assert!(told.starts_with(words), "{told}");
    let raised = test
        .cluster
        .kubectl_command(&["label", "namespace", "small", "pod-security.kubernetes.io/enforce=restricted"])
        .output()?;
    let told = String::from_utf8(raised.stderr)?;
    assert!(
        told.contains("Warning: existing pods in namespace \"small\" violate the new PodSecurity enforce level"),
        "{told}"
    );
    Ok(())
}
