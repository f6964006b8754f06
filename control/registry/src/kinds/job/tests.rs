use serde_json::{Value, json};

use super::*;

fn job(change: impl FnOnce(&mut Value)) -> Job {
    let mut value = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    change(&mut value);
    let mut object = crate::decode::decode(value).unwrap().0;
    Jobs::default(&mut object);
    Jobs::prepare_for_create(&mut object);
    object
}

fn text(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

fn faults(change: impl FnOnce(&mut Value)) -> Vec<String> {
    text(&Jobs::validate(&job(change)))
}

#[test]
fn a_job_selects_its_own_pods() {
    let object = job(|_| {});
    assert_eq!(faults(|_| {}), Vec::<String>::new());
    let spec = serde_json::to_value(object.spec).unwrap();
    assert_eq!(spec["selector"], json!({"matchLabels": {UID: "u"}}));
    assert_eq!(spec["template"]["metadata"]["labels"], json!({UID: "u", NAME: "j", OLD_UID: "u", OLD_NAME: "j"}));
    let defaults = [spec["completions"].clone(), spec["parallelism"].clone(), spec["backoffLimit"].clone()];
    assert_eq!(defaults, [json!(1), json!(1), json!(6)]);
    assert_eq!(
        faults(|v| v["spec"]["template"]["metadata"] = json!({"labels": {NAME: "k"}})),
        ["spec.template.metadata.labels[batch.kubernetes.io/job-name]: Invalid value: \"k\": must be 'j'"]
    );
    assert_eq!(
        faults(|v| v["spec"]["selector"] = json!({"matchLabels": {"a": "b"}})),
        [
            "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"batch.kubernetes.io/controller-uid\":\"u\"}}: \
             `selector` not auto-generated",
            "spec.template.metadata.labels: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"u\",\
             \"batch.kubernetes.io/job-name\":\"j\",\"controller-uid\":\"u\",\"job-name\":\"j\"}: `selector` does not match \
             template `labels`",
        ]
    );
}

#[test]
fn faults_read_as_upstream() {
    assert_eq!(
        faults(|v| v["spec"]["template"]["spec"]["restartPolicy"] = Value::Null),
        ["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""]
    );
    assert_eq!(
        faults(|v| v["spec"]["maxFailedIndexes"] = json!(1)),
        [
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
        ]
    );
    assert_eq!(
        faults(|v| {
            v["spec"]["completionMode"] = json!("Indexed");
            v["spec"]["completions"] = json!(3);
            v["spec"]["successPolicy"] = json!({"rules": [{"succeededIndexes": "0-2,1"}, {"succeededCount": 4}]});
        }),
        [
            "spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"0-2,1\": error parsing succeededIndexes: \
             non-increasing order, previous: 2, current: 1",
            "spec.successPolicy.rules[1].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of \
             specified completions)",
        ]
    );
    let codes = json!({"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [0], "containerName": "d"}}]});
    assert_eq!(
        faults(|v| v["spec"]["podFailurePolicy"] = codes),
        [
            "spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"d\": must be one of the container \
             or initContainer names in the pod template",
            "spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator",
        ]
    );
}

#[test]
fn what_may_change_depends() {
    let old = job(|_| {});
    let moved = |v: &mut Value| v["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
    assert_eq!(Jobs::validate_update(&job(moved), &old)[0].field, "spec.template");
    let suspended = job(|v| v["spec"]["suspend"] = json!(true));
    assert_eq!(text(&Jobs::validate_update(&job(moved), &suspended)), Vec::<String>::new());
    let image = job(|v| v["spec"]["template"]["spec"]["containers"][0]["image"] = json!("k"));
    assert_eq!(Jobs::validate_update(&image, &suspended)[0].field, "spec.template");
    let more = job(|v| v["spec"]["completions"] = json!(2));
    assert_eq!(text(&Jobs::validate_update(&more, &old)), ["spec.completions: Invalid value: 2: field is immutable"]);
    let mode = |count: i32| {
        job(|v| {
            v["spec"].as_object_mut().unwrap().extend([
                ("completionMode".to_owned(), json!("Indexed")),
                ("completions".to_owned(), json!(count)),
                ("parallelism".to_owned(), json!(count)),
            ]);
        })
    };
    assert_eq!(text(&Jobs::validate_update(&mode(3), &mode(2))), Vec::<String>::new());
}

#[test]
fn the_row_is_kubectls() {
    let mut object = job(|_| {});
    object.status = crate::decode::decode(json!({"succeeded": 1, "startTime": "2024-01-01T00:00:00Z",
        "completionTime": "2024-01-01T00:00:07Z", "conditions": [{"type": "Complete", "status": "True"}]}))
    .unwrap()
    .0;
    let row = Jobs::row(&object, Timestamp::UNIX_EPOCH);
    let expected = json!(["j", "Complete", "1/1", "7s", "<unknown>", "c", "i", "batch.kubernetes.io/controller-uid=u"]);
    assert_eq!(Value::from(row), expected);
}
