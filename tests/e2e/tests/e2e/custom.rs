//! Custom resources with `kubectl`: from a definition to objects and back to nothing.

use skep_e2e::TestCluster;

const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: hives.bees.example.com}
spec:
  group: bees.example.com
  scope: Namespaced
  names: {plural: hives, singular: hive, kind: Hive, shortNames: [hv]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Frames, type: integer, jsonPath: .spec.frames}
    - {name: Queen, type: string, jsonPath: .spec.queen.name}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            description: What the hive is to be.
            required: [frames]
            x-kubernetes-validations:
            - {rule: 'self.frames % 2 == 0', message: frames come in pairs}
            properties:
              frames: {type: integer, minimum: 2, description: How many frames it holds.}
              queen: {type: object, default: {}, properties: {name: {type: string, default: nobody}}}
";

fn hive(name: &str, frames: u32) -> String {
    format!("apiVersion: bees.example.com/v1\nkind: Hive\nmetadata: {{name: {name}}}\nspec: {{frames: {frames}}}\n")
}

#[test]
fn a_definition_brings_objects_and_takes_them_with_it() -> anyhow::Result<()> {
    let test = TestCluster::start("e2e-custom")?;
    let kubectl = |args: &[&str]| test.cluster.kubectl(args);
    test.apply(DEFINITION)?;
    kubectl(&["wait", "--for=condition=established", "crd/hives.bees.example.com", "--timeout=20s"])?;
    test.apply(&hive("a", 8))?;
    let refused = format!("{:#}", test.apply(&hive("b", 7)).unwrap_err());
    assert!(refused.contains("spec: Invalid value: frames come in pairs"), "{refused}");
    let table = kubectl(&["get", "hv"])?;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [["NAME", "FRAMES", "QUEEN"], ["a", "8", "nobody"]]);

    let explained = kubectl(&["explain", "hive.spec.frames"])?;
    assert!(explained.contains("How many frames it holds.") && explained.contains("<integer>"), "{explained}");

    // An object changes as built-in ones do.
    test.apply(&hive("a", 10))?;
    kubectl(&["patch", "hive", "a", "--type=merge", "-p", r#"{"spec":{"queen":{"name":"Ada"}}}"#])?;
    kubectl(&["label", "hive", "a", "kept=yes"])?;
    let read = kubectl(&["get", "hives", "-l", "kept=yes", "-o", "jsonpath={.items[*].spec}"])?;
    assert_eq!(read, r#"{"frames":10,"queen":{"name":"Ada"}}"#);
    let patch = r#"{"status":{"bees":3}}"#;
    kubectl(&["patch", "hive", "a", "--subresource=status", "--type=merge", "-p", patch])?;

    // A namespace that goes takes its custom objects with it.
    kubectl(&["create", "namespace", "orchard"])?;
    let orchard = hive("c", 2).replace("{name: c}", "{name: c, namespace: orchard}");
    test.apply(&orchard)?;
    kubectl(&["delete", "namespace", "orchard", "--timeout=30s"])?;
    assert_eq!(kubectl(&["get", "hives", "-A", "-o", "name"])?, "hive.bees.example.com/a\n");

    kubectl(&["delete", "crd", "hives.bees.example.com", "--timeout=30s"])?;
    let gone = format!("{:#}", kubectl(&["get", "hives"]).unwrap_err());
    // The second is what a client says that remembers the resource.
    let texts = ["the server doesn't have a resource type \"hives\"", "could not find the requested resource"];
    assert!(texts.iter().any(|text| gone.contains(text)), "{gone}");
    Ok(())
}
