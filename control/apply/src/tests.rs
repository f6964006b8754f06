//! The whole of it: managers, updates and applied configurations over one kind's shape.

use jiff::Timestamp;
use serde_json::{Value, json};
use skep_schema::ObjectShape;

use crate::{Kind, Managers, Refusal, Set, Writer, blank, conflicts_text, faults_text};

mod property;
mod shapes;

pub(crate) use shapes::deployment as shape;

/// An object with its owners.
#[derive(Clone)]
pub(crate) struct World {
    shape: ObjectShape,
    reset: Set,
    pub(crate) object: Value,
    pub(crate) managers: Managers,
    clock: i64,
}

impl World {
    pub(crate) fn new() -> Self {
        let reset = Set::of_fields(&["status"]);
        Self { shape: shape(), reset, object: json!({}), managers: Managers::default(), clock: 0 }
    }

    fn with<T>(&mut self, name: &str, write: impl FnOnce(&mut Managers, &Kind<'_>, &Writer<'_>, &Value) -> T) -> T {
        self.clock += 1;
        let now = Timestamp::from_second(self.clock).unwrap();
        let served = |version: &str| version == "apps/v1beta1";
        let kind = Kind { shape: &self.shape, api_version: "apps/v1", reset: &self.reset, is_served: &served };
        let writer = Writer { name, subresource: "", now };
        write(&mut self.managers, &kind, &writer, &self.object)
    }

    pub(crate) fn update(&mut self, name: &str, new: Value) {
        self.with(name, |managers, kind, writer, old| {
            let before = if old == &json!({}) { blank(&new) } else { old.clone() };
            managers.update(kind, writer, &before, &new);
        });
        self.object = new;
    }

    pub(crate) fn apply(&mut self, name: &str, config: &Value, force: bool) -> Result<(), Refusal> {
        let before = self.managers.clone();
        let applied = self
            .with(name, |managers, kind, writer, live| managers.apply_configuration(kind, writer, live, config, force));
        match applied {
            Ok(object) => self.object = object,
            Err(refusal) => {
                self.managers = before;
                return Err(refusal);
            }
        }
        Ok(())
    }

    fn owned(&self, name: &str) -> Value {
        let found = self.managers.iter().find(|(id, _)| id.name == name);
        found.map_or(Value::Null, |(_, owned)| owned.set.to_fields())
    }
}

fn labels(labels: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": labels}})
}

fn containers(containers: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"template": {"spec": {"containers": containers}}}})
}

fn images(world: &World) -> Vec<(String, String)> {
    let list = world.object["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list.iter().map(|item| (text(&item["name"]), text(&item["image"]))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn who_creates_owns_what_it_sets() {
    let mut world = World::new();
    world.update(
        "kubectl-create",
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "a", "uid": "u", "generation": 1, "labels": {"app": "a"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}},
                "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}}},
        "status": {"replicas": 3}}),
    );
    assert_eq!(
        world.owned("kubectl-create"),
        json!({
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": {
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}, "f:ports": {
                ".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}}})
    );
}

#[test]
fn an_update_takes_what_it_changes() {
    let mut world = World::new();
    world.update("a", labels(&json!({"x": "1", "y": "1"})));
    world.update("b", labels(&json!({"x": "2", "y": "1", "z": "1"})));
    assert_eq!(world.owned("a"), json!({"f:metadata": {"f:labels": {".": {}, "f:y": {}}}}));
    assert_eq!(world.owned("b"), json!({"f:metadata": {"f:labels": {"f:x": {}, "f:z": {}}}}));
    let before = world.managers.clone();
    world.update("c", labels(&json!({"x": "2", "y": "1", "z": "1"})));
    assert_eq!(world.managers, before);
    world.update("c", labels(&json!({"x": "2"})));
    assert_eq!(world.owned("c"), Value::Null);
    assert_eq!(world.owned("a"), json!({"f:metadata": {"f:labels": {}}}));
}

#[test]
fn what_is_applied_no_more_goes() {
    let mut world = World::new();
    world.apply("a", &labels(&json!({"x": "1", "y": "1"})), false).unwrap();
    world.apply("a", &labels(&json!({"x": "1"})), false).unwrap();
    assert_eq!(world.object["metadata"]["labels"], json!({"x": "1"}));
    assert_eq!(world.owned("a"), json!({"f:metadata": {"f:labels": {"f:x": {}}}}));

    // Another applier keeps what it owns as well, and an update what it set.
    world.apply("b", &labels(&json!({"x": "1", "z": "1"})), false).unwrap();
    world.apply("a", &labels(&json!({})), false).unwrap();
    assert_eq!(world.object["metadata"]["labels"], json!({"x": "1", "z": "1"}));
    world
        .apply("b", &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}}), false)
        .unwrap();
    assert_eq!(world.object["metadata"].get("labels").cloned().unwrap_or(json!({})), json!({}));
}

#[test]
fn conflicts_name_owner_and_field() {
    let mut world = World::new();
    let replicas = |n: i32| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"replicas": n}})
    };
    world.apply("first", &replicas(1), false).unwrap();
    world.apply("same", &replicas(1), false).unwrap();
    let Err(Refusal::Conflicts(conflicts)) = world.apply("other", &replicas(2), false) else { panic!("no conflict") };
    assert_eq!(
        conflicts_text(&conflicts),
        "Apply failed with 2 conflicts: conflicts with \"first\":\n- .spec.replicas\nconflicts with \"same\":\n- \
         .spec.replicas"
    );
    world.update("kubectl-edit", replicas(3));
    let Err(Refusal::Conflicts(conflicts)) = world.apply("other", &replicas(2), false) else { panic!("no conflict") };
    assert_eq!(
        conflicts_text(&conflicts),
        "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using apps/v1: .spec.replicas"
    );
    world.apply("other", &replicas(2), true).unwrap();
    assert_eq!(world.object["spec"]["replicas"], 2);
    assert_eq!(world.managers.iter().count(), 1);
}

#[test]
fn items_of_keyed_lists_are_owned_one_by_one() {
    let mut world = World::new();
    world.apply("a", &containers(&json!([{"name": "x", "image": "1"}, {"name": "y", "image": "1"}])), false).unwrap();
    world.apply("b", &containers(&json!([{"name": "side", "image": "s"}])), false).unwrap();
    assert_eq!(images(&world), pairs(&[("x", "1"), ("y", "1"), ("side", "s")]));
    world.apply("a", &containers(&json!([{"name": "y", "image": "2"}])), false).unwrap();
    assert_eq!(images(&world), pairs(&[("y", "2"), ("side", "s")]));
    // An item that somebody else sets a field of stays.
    world.apply("c", &containers(&json!([{"name": "y", "command": ["run"]}])), false).unwrap();
    world.apply("a", &containers(&json!([])), false).unwrap();
    assert_eq!(
        world.object["spec"]["template"]["spec"]["containers"],
        json!([{"name": "y", "command": ["run"]}, {"name": "side", "image": "s"}])
    );
}

#[test]
fn lists_follow_the_configurations_order() {
    let order = |live: &[&str], config: &[&str]| {
        let list = |names: &[&str]| -> Value { names.iter().map(|name| json!({"name": name})).collect() };
        let mut world = World::new();
        world.update("u", containers(&list(live)));
        world.apply("a", &containers(&list(config)), true).unwrap();
        images(&world).into_iter().map(|(name, _)| name).collect::<Vec<_>>().join("")
    };
    assert_eq!(order(&["a", "b", "c"], &["a", "c"]), "abc");
    assert_eq!(order(&["a", "b", "c"], &["c", "a"]), "bca");
    assert_eq!(order(&["a", "b", "c"], &["d"]), "abcd");
    assert_eq!(order(&["a", "b"], &["d", "b", "e"]), "adbe");
    assert_eq!(order(&["a", "b", "c"], &["c", "b", "a"]), "cba");
}

#[test]
fn configurations_are_checked() {
    let refused = |config: &Value| match World::new().apply("a", config, true) {
        Err(Refusal::Faults(faults)) => faults_text(&faults),
        other => panic!("{other:?}"),
    };
    let unknown = json!({"spec": {"replica": 1}});
    assert_eq!(refused(&unknown), ".spec.replica: field not declared in schema");
    assert_eq!(
        refused(&containers(&json!([{"name": "a"}, {"name": "a"}]))),
        ".spec.template.spec.containers: duplicate entries for key [name=\"a\"]"
    );
    assert_eq!(
        refused(&containers(&json!([{"image": "a"}]))),
        ".spec.template.spec.containers: element 0: associative list with keys has an element that omits all key fields \
         [\"name\"] (and doesn't have default values for any key fields)"
    );
    assert_eq!(refused(&containers(&json!("x"))), ".spec.template.spec.containers: expected list, got &{x}");
    assert_eq!(refused(&json!({"spec": [1]})), ".spec: expected map, got &{[1]}");
}

#[test]
fn objects_from_before_have_an_owner() {
    let mut world = World::new();
    world.object = labels(&json!({"x": "1"}));
    let Err(Refusal::Conflicts(conflicts)) = world.apply("a", &labels(&json!({"x": "2"})), false) else {
        panic!("no conflict")
    };
    assert_eq!(conflicts[0].manager.name, "before-first-apply");
    world.apply("a", &labels(&json!({"x": "1", "y": "1"})), false).unwrap();
    assert_eq!(world.owned("a"), json!({"f:metadata": {"f:labels": {"f:x": {}, "f:y": {}}}}));
}

#[test]
fn kubectl_moves_on_from_client_side_apply() {
    let last = labels(&json!({"x": "1", "y": "1"}));
    let mut live = last.clone();
    live["metadata"]["annotations"] = json!({crate::LAST_APPLIED: format!("{last}\n")});
    let mut world = World::new();
    world.update("kubectl-client-side-apply", live);
    let config = labels(&json!({"x": "2", "y": "1"}));
    assert!(world.clone().apply("somebody", &config, false).is_err());
    world.apply("kubectl", &config, false).unwrap();
    assert_eq!(world.object["metadata"]["labels"], json!({"x": "2", "y": "1"}));
    let annotation = world.object["metadata"]["annotations"][crate::LAST_APPLIED].as_str().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&annotation).unwrap(), config);

    // What was changed since by others still conflicts.
    let mut edited = world.object.clone();
    edited["metadata"]["labels"]["y"] = json!("edited");
    world.update("kubectl-edit", edited);
    assert!(world.apply("kubectl", &labels(&json!({"x": "2", "y": "3"})), false).is_err());
}

#[test]
fn versions_that_are_gone_take_their_managers_with_them() {
    let entry = |version: &str| {
        json!({"apiVersion": version, "fieldsType": "FieldsV1", "manager": version,
        "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {"f:x": {}}}}})
    };
    let entries: Vec<_> =
        ["apps/v1", "apps/v1beta1", "apps/v0"].iter().map(|v| serde_json::from_value(entry(v)).unwrap()).collect();
    let mut world = World::new();
    world.object = labels(&json!({"x": "1"}));
    world.managers = Managers::decode(&entries).unwrap();
    world.update("u", labels(&json!({"x": "1", "y": "1"})));
    let names: Vec<&str> = world.managers.iter().map(|(id, _)| id.name.as_str()).collect();
    assert_eq!(names, ["apps/v1", "apps/v1beta1", "u"]);
}
