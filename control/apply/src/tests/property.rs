//! What holds for all objects and configurations.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{World, shape};
use crate::{Managers, Set, check, compare, fields};

/// Strings that are likely to meet.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "metadata", "spec", "labels", "name", "containers", ""])
        .prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2..3i64).prop_map(Value::from),
        name().prop_map(Value::from)
    ]
}

/// Any JSON, some of it where the shape has fields.
fn anything() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 40, 5, |inner| {
        let key = prop::sample::select(vec![
            "metadata",
            "spec",
            "template",
            "containers",
            "ports",
            "labels",
            "names",
            "name",
            "image",
            "other",
            "x",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5)
                .prop_map(|all| Value::Object(all.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>())),
        ]
    })
}

fn strings() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(prop::sample::select(vec!["x", "y", "z"]), 0..3i64, 0..3)
        .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), json!(v.to_string()))).collect())
}

fn container() -> impl Strategy<Value = Value> {
    let field = |name: &'static str| prop::option::of((0..2i64).prop_map(move |v| (name, json!(v.to_string()))));
    let ports =
        prop::option::of(prop::collection::btree_set(80..82i64, 0..3).prop_map(|ports| {
            ("ports", ports.into_iter().map(|port| json!({"containerPort": port})).collect::<Value>())
        }));
    let command = prop::option::of(Just(("command", json!(["a", "b"]))));
    (field("image"), ports, command)
        .prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// A configuration of the shape.
fn config() -> impl Strategy<Value = Value> {
    let containers = prop::collection::btree_map(prop::sample::select(vec!["m", "n", "o"]), container(), 1..3);
    let containers = (containers, any::<bool>()).prop_map(|(all, reversed)| {
        let mut list: Vec<Value> = all
            .into_iter()
            .map(|(name, mut item)| {
                item["name"] = json!(name);
                item
            })
            .collect();
        if reversed {
            list.reverse();
        }
        list
    });
    // Nobody owns an empty list.
    let names = prop::collection::btree_set(prop::sample::select(vec!["p", "q"]), 1..3);
    (strings(), names, prop::option::of(0..3i64), prop::option::of(containers), any::<u8>()).prop_map(
        |(labels, names, replicas, containers, parts)| {
            let mut config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}});
            if parts & 1 != 0 {
                config["metadata"]["labels"] = labels;
            }
            if parts & 2 != 0 {
                config["spec"]["template"]["spec"]["names"] = names.into_iter().collect();
            }
            if let Some(replicas) = replicas {
                config["spec"]["replicas"] = json!(replicas);
            }
            if let Some(containers) = containers {
                config["spec"]["template"]["spec"]["containers"] = json!(containers);
            }
            config
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applying_twice_changes_nothing(first in config(), second in config(), third in config()) {
        let mut world = World::new();
        world.apply("a", &first, true).unwrap();
        world.apply("b", &second, true).unwrap();
        world.apply("a", &third, true).unwrap();
        let (object, managers) = (world.object.clone(), world.managers.clone());
        world.apply("a", &third, false).unwrap();
        prop_assert_eq!(&world.object, &object);
        let entries = |managers: &Managers| managers.iter().map(|(id, o)| (id.clone(), o.set.clone())).collect::<Vec<_>>();
        prop_assert_eq!(entries(&world.managers), entries(&managers));
    }

    #[test]
    fn the_object_has_what_was_applied(live in config(), config in config()) {
        let mut world = World::new();
        world.update("u", live);
        world.apply("a", &config, true).unwrap();
        let changes = compare(&shape(), &config, &world.object);
        // Everything in the configuration is in the object, with its value; empty containers may have been filled.
        let set = fields(&shape(), &config);
        let missing = changes.removed.union(&changes.modified).intersection(&set);
        let filled = missing.paths().into_iter().filter(|path| {
            let pointer: String = path.iter().map(|e| format!("/{}", e.encode().trim_start_matches("f:"))).collect();
            config.pointer(&pointer).is_none_or(|v| v != &json!({}) && v != &json!([]))
        });
        prop_assert_eq!(filled.count(), 0);
    }

    #[test]
    fn what_nobody_owns_stays(live in config(), first in config(), second in config()) {
        let mut world = World::new();
        world.update("u", live);
        let before = World { managers: Managers::default(), ..world.clone() };
        let mut alone = before;
        alone.apply("a", &first, true).unwrap();
        let kept = fields(&shape(), &alone.object).difference(&fields(&shape(), &first));
        alone.apply("a", &second, true).unwrap();
        // What was empty and is filled is still there.
        let left = fields(&shape(), &alone.object).with_named(&shape().shapes, Some(shape().root));
        prop_assert_eq!(kept.difference(&left), Set::new());
    }

    #[test]
    fn sets_are_written_as_they_are_read(value in anything()) {
        let set = fields(&shape(), &value);
        prop_assert_eq!(Set::from_fields(&set.to_fields()).unwrap(), set);
    }

    #[test]
    fn set_algebra_holds(a in anything(), b in anything()) {
        let (a, b) = (fields(&shape(), &a), fields(&shape(), &b));
        let union = a.union(&b);
        prop_assert_eq!(&union, &b.union(&a));
        prop_assert_eq!(union.difference(&b).union(&b), union);
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(a.difference(&b).intersection(&b), Set::new());
        prop_assert_eq!(a.without(&a), Set::new());
    }

    #[test]
    fn no_input_panics(live in anything(), config in anything(), other in anything(), fields in anything()) {
        let mut world = World::new();
        world.object = live;
        let _ = world.apply("kubectl", &config, false);
        let _ = world.apply("a", &other, true);
        world.update("u", config);
        let _ = check(&shape(), &other);
        let entry = json!({"apiVersion": "apps/v1", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields});
        if let Ok(entry) = serde_json::from_value(entry) {
            let _ = Managers::decode(&[entry]);
        }
    }
}
