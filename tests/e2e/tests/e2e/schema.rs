//! What `kubectl` learns of the API's types, and what it does with that.

use skep_e2e::TestCluster;

/// Every field of every kind is explained, from both versions of the documents.
#[test]
fn every_field_of_every_kind_is_explained() -> anyhow::Result<()> {
    let test = TestCluster::start("e2e-explain")?;
    let kubectl = |args: &[&str]| test.cluster.kubectl(args);
    let resources = kubectl(&["api-resources", "--no-headers", "-o", "name", "--verbs=create"])?;
    assert!(resources.lines().count() >= 15, "{resources}");
    for resource in resources.lines() {
        let (_, group) = resource.split_once('.').unwrap_or((resource, ""));
        // There are two kinds of this name.
        let text = match resource {
            "events.events.k8s.io" => kubectl(&["explain", "events", "--recursive", "--api-version=events.k8s.io/v1"])?,
            _ => kubectl(&["explain", resource, "--recursive"])?,
        };
        assert!(text.contains("KIND:") && text.contains("FIELDS:"), "{resource}: {text}");
        assert!(group.is_empty() || text.contains(&format!("GROUP:      {group}")), "{resource}: {text}");
        for field in ["apiVersion\t<string>", "kind\t<string>", "metadata\t<ObjectMeta>", "managedFields\t<[]Managed"] {
            assert!(text.contains(field), "{resource} {field}: {text}");
        }
    }
    for resource in ["pods", "deployments", "services"] {
        let text = kubectl(&["explain", resource, "--recursive", "--output=plaintext-openapiv2"])?;
        assert!(text.contains("FIELDS:") && text.contains("ownerReferences\t<[]Object>"), "{text}");
    }
    let protocol = kubectl(&["explain", "pod.spec.containers.ports.protocol"])?;
    assert!(protocol.contains("FIELD: protocol <string>"), "{protocol}");
    assert!(protocol.contains("ENUM:\n    SCTP\n    TCP\n    UDP"), "{protocol}");
    let port = kubectl(&["explain", "service.spec.ports"])?;
    assert!(port.contains("port\t<integer> -required-") && port.contains("targetPort\t<IntOrString>"), "{port}");
    let quantity = kubectl(&["explain", "pod.spec.containers.resources"])?;
    assert!(quantity.contains("limits\t<map[string]Quantity>"), "{quantity}");
    let missing = kubectl(&["explain", "pod.spec.none"]).unwrap_err();
    assert!(format!("{missing:#}").contains("field \"none\" does not exist"), "{missing:#}");
    Ok(())
}

/// `Kubectl client Kubectl api-versions should check if v1 is in available api versions`, lists of objects, and the
/// validation that servers and clients do.
#[test]
fn manifests_are_checked_against_the_schema() -> anyhow::Result<()> {
    let test = TestCluster::start("e2e-schema")?;
    let kubectl = |args: &[&str]| test.cluster.kubectl(args);
    assert!(kubectl(&["api-versions"])?.lines().any(|line| line == "v1"));

    let map = |name: &str| format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}, data: {{a: b}}}}");
    let list = format!("apiVersion: v1\nkind: List\nitems: [{}, {}]\n", map("one"), map("two"));
    let created = test.with_file("create", &list, &[])?;
    assert_eq!(created, "configmap/one created\nconfigmap/two created\n");

    let unknown = map("three").replace(" data:", " date:");
    for how in ["--validate=strict", "--validate=true"] {
        let error = format!("{:#}", test.with_file("apply", &unknown, &[how]).unwrap_err());
        assert!(error.contains("strict decoding error: unknown field \"date\""), "{error}");
    }
    let warned = test.with_file("apply", &unknown, &["--validate=warn"])?;
    assert_eq!(warned, "configmap/three created\n");
    let server = format!("{:#}", test.with_file("apply", &unknown, &["--server-side=false"]).unwrap_err());
    assert!(server.contains("unknown field \"date\""), "{server}");
    test.with_file("apply", &unknown, &["--validate=false"])?;

    // Lists are checked by the client, against version 2 of the documents.
    let list = format!("apiVersion: v1\nkind: List\nitems: [{}]\n", map("four").replace(" data:", " date:"));
    let error = format!("{:#}", test.with_file("create", &list, &[]).unwrap_err());
    assert!(error.contains("unknown field \"date\" in io.k8s.api.core.v1.ConfigMap"), "{error}");

    // The client's patch is made by the document's merge keys: the port that another manager added stays.
    let ports = |ports: &str| {
        format!("apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {{selector: {{a: b}}, ports: {ports}}}\n")
    };
    test.apply(&ports("[{name: a, port: 80}, {name: b, port: 81}]"))?;
    let added = r#"{"spec":{"ports":[{"name":"c","port":82}]}}"#;
    kubectl(&["patch", "service", "s", "-p", added])?;
    test.apply(&ports("[{name: a, port: 80, appProtocol: http}]"))?;
    let names = kubectl(&["get", "service", "s", "-o", "jsonpath={.spec.ports[*].name} {.spec.ports[0].appProtocol}"])?;
    assert_eq!(names, "a c http");
    Ok(())
}
