//! The kinds that nothing in the cluster acts on, as `kubectl` makes, prints and describes them.

use skep_e2e::TestCluster;

const MANIFEST: &str = include_str!("kinds.yaml");

/// Kind, name, and words of the heading and the row that `kubectl get` prints.
const PRINTED: &[(&str, &str, &str, &str)] = &[
    ("rc", "rc", "NAME DESIRED CURRENT READY AGE", "rc 0"),
    ("podtemplate", "pt", "NAME CONTAINERS IMAGES POD LABELS", "pt c busybox:1 app=pt"),
    (
        "pv",
        "pv",
        "NAME CAPACITY ACCESS MODES RECLAIM POLICY STATUS CLAIM STORAGECLASS VOLUMEATTRIBUTESCLASS REASON AGE",
        "pv 1Gi RWO Retain",
    ),
    ("pvc", "pvc", "NAME STATUS VOLUME CAPACITY ACCESS MODES STORAGECLASS VOLUMEATTRIBUTESCLASS AGE", "pvc Pending"),
    ("ds", "ds", "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE", "ds"),
    ("sts", "sts", "NAME READY AGE", "sts"),
    ("controllerrevision", "cr", "NAME CONTROLLER REVISION AGE", "cr <none> 1"),
    ("job", "job", "NAME STATUS COMPLETIONS DURATION AGE", "job"),
    ("cj", "cj", "NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE", "cj 0 0 1 1 * <none> True 0 <none>"),
    (
        "hpa",
        "hpa",
        "NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE",
        "hpa Deployment/none cpu: <unknown>/80% 1 3 0",
    ),
    ("pdb", "pdb", "NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE", "pdb 1 N/A 0"),
    ("ing", "ing", "NAME CLASS HOSTS ADDRESS PORTS AGE", "ing ic a.example.com 80"),
    ("ingressclass", "ic", "NAME CONTROLLER PARAMETERS AGE", "ic example.com/c <none>"),
    ("runtimeclass", "rtc", "NAME HANDLER AGE", "rtc runc"),
    (
        "csidriver",
        "csi.example.com",
        "NAME ATTACHREQUIRED PODINFOONMOUNT STORAGECAPACITY TOKENREQUESTS REQUIRESREPUBLISH MODES AGE",
        "csi.example.com true false false <unset> false Persistent",
    ),
    ("vac", "vac", "NAME DRIVERNAME AGE", "vac csi.example.com"),
    ("validatingwebhookconfiguration", "vwc", "NAME WEBHOOKS AGE", "vwc 1"),
    ("validatingadmissionpolicy", "vap", "NAME VALIDATIONS PARAMKIND AGE", "vap 1 <unset>"),
    ("validatingadmissionpolicybinding", "vapb", "NAME POLICYNAME PARAMREF AGE", "vapb vap <unset>"),
];

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn each_kind_is_created_printed_and_described() -> anyhow::Result<()> {
    let test = TestCluster::start("e2e-kinds")?;
    let kubectl = |args: &[&str]| test.cluster.kubectl(args);
    test.with_file("create", MANIFEST, &[])?;
    for (kind, name, heading, row) in PRINTED {
        let text = kubectl(&["get", kind, name])?;
        let lines: Vec<String> = text.lines().map(words).collect();
        assert_eq!(lines[0], *heading, "{kind}");
        assert!(lines[1].starts_with(row), "{kind}: {text}");
        let described = kubectl(&["describe", kind, name])?;
        assert!(described.contains(name), "{kind}: {described}");
        kubectl(&["label", kind, name, "seen=yes"])?;
    }
    let resources = kubectl(&["api-resources", "--categories=all", "-o", "name"])?;
    for name in
        ["daemonsets.apps", "statefulsets.apps", "jobs.batch", "cronjobs.batch", "horizontalpodautoscalers.autoscaling"]
    {
        assert!(resources.contains(name), "{name}: {resources}");
    }

    // Clients with compiled types send these.
    kubectl(&["create", "deployment", "web", "--image=busybox:1", "--replicas=0"])?;
    kubectl(&["autoscale", "deployment", "web", "--min=2", "--max=5", "--cpu=50%"])?;
    kubectl(&["create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=1"])?;
    kubectl(&["create", "cronjob", "tick", "--image=busybox:1", "--schedule=@hourly", "--", "true"])?;
    kubectl(&["create", "ingress", "web", "--rule=b.example.com/*=web:80"])?;
    let older = [
        "get",
        "horizontalpodautoscalers.v1.autoscaling",
        "web",
        "-o",
        "jsonpath={.apiVersion} {.spec.targetCPUUtilizationPercentage}",
    ];
    assert_eq!(kubectl(&older)?, "autoscaling/v1 50");
    kubectl(&["scale", "statefulset/sts", "--replicas=2"])?;
    assert_eq!(kubectl(&["get", "sts", "sts", "-o", "jsonpath={.spec.replicas} {.metadata.generation}"])?, "2 2");

    for (kind, name, _, _) in PRINTED {
        kubectl(&["delete", kind, name, "--timeout=30s"])?;
    }
    Ok(())
}
