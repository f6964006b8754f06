//! What holds for every schema and every object.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn definition(schema: &Value) -> Option<CustomResourceDefinition> {
    serde_json::from_value(json!({
        "metadata": {"name": "foos.example.com", "uid": "u"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {},
                    "scale": {"specReplicasPath": ".spec.a", "statusReplicasPath": ".status.a"}},
                "additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": ".spec.a[0]"}],
                "selectableFields": [{"jsonPath": ".spec.a"}],
            }],
        },
    }))
    .ok()
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from),
        Just(json!(1.5)),
        Just(json!("a")),
        Just(json!("2026-01-01T00:00:00Z")),
    ];
    let key =
        prop_oneof![Just("a"), Just("b"), Just("spec"), Just("status"), Just("metadata"), Just("name"), Just("kind")];
    leaf.prop_recursive(5, 48, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

fn schema() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![
        Just("object"),
        Just("array"),
        Just("string"),
        Just("integer"),
        Just("number"),
        Just("boolean"),
        Just(""),
        Just("odd")
    ];
    let keyword = prop_oneof![
        Just(json!({"nullable": true})),
        Just(json!({"x-kubernetes-preserve-unknown-fields": true})),
        Just(json!({"x-kubernetes-embedded-resource": true})),
        Just(json!({"x-kubernetes-int-or-string": true})),
        Just(json!({"x-kubernetes-list-type": "set"})),
        Just(json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"]})),
        Just(json!({"x-kubernetes-map-type": "atomic"})),
        Just(
            json!({"x-kubernetes-validations": [{"rule": "self == oldSelf || has(self.a)", "messageExpression": "'x' + self.b"}]})
        ),
        Just(
            json!({"x-kubernetes-validations": [{"rule": "self.all(x, x > 1)", "fieldPath": ".a", "reason": "FieldValueRequired"}]})
        ),
        Just(json!({"minimum": 1, "maximum": 2, "multipleOf": 0.5, "exclusiveMinimum": true})),
        Just(json!({"minLength": 1, "maxLength": 2, "pattern": "^a(", "format": "date-time"})),
        Just(json!({"minItems": 1, "maxItems": 1, "minProperties": 1, "maxProperties": 1})),
        Just(json!({"required": ["a"], "enum": ["a", 1]})),
        Just(json!({"anyOf": [{"required": ["a"]}, {"minimum": 1}], "not": {"enum": [1]}})),
        Just(json!({"oneOf": [{"properties": {"a": {"enum": ["a"]}}}], "allOf": [{"items": {"minimum": 1}}]})),
        value().prop_map(|default| json!({"default": default})),
    ];
    let flat = (kind, proptest::collection::vec(keyword, 0..3)).prop_map(|(kind, keywords)| {
        let mut schema = json!({"type": kind});
        for keyword in keywords {
            schema.as_object_mut().into_iter().for_each(|fields| {
                fields.extend(keyword.as_object().cloned().unwrap_or_default());
            });
        }
        schema
    });
    flat.clone().prop_recursive(4, 32, 4, move |inner| {
        let key = prop_oneof![Just("a"), Just("b"), Just("spec"), Just("status"), Just("metadata")];
        (flat.clone(), proptest::collection::vec((key, inner.clone()), 0..3), proptest::option::of(inner)).prop_map(
            |(mut schema, properties, other)| {
                let properties: serde_json::Map<String, Value> =
                    properties.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
                if !properties.is_empty() {
                    schema["properties"] = Value::Object(properties);
                }
                if let Some(other) = other {
                    let key = if schema["type"] == "array" { "items" } else { "additionalProperties" };
                    schema[key] = other;
                }
                schema
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_schema_and_no_object_panics(schema in schema(), object in value(), old in value()) {
        let Some(mut definition) = definition(&schema) else { return Ok(()) };
        let kind = definitions();
        let erased = kind.strategy.decode(serde_json::to_value(&definition).unwrap_or_default());
        if let Ok(decoded) = erased {
            let _ = kind.strategy.validate(&*decoded.object);
        }
        let now = Time(jiff::Timestamp::UNIX_EPOCH);
        definition.status = status(&definition, &[], &now);
        prop_assert_eq!(resources(&definition).len(), 1);
        for resource in resources(&definition) {
            let strategy = &resource.strategy;
            let (Ok(new), Ok(old)) = (strategy.decode(object.clone()), strategy.decode(old.clone())) else { continue };
            let (mut new, old) = (new.object, old.object);
            strategy.default(&mut *new);
            strategy.prepare_for_create(&mut *new);
            let _ = strategy.validate(&*new);
            strategy.prepare_for_update(&mut *new, &*old);
            let _ = strategy.validate_update(&*new, &*old);
            strategy.prepare_for_status_update(&mut *new, &*old);
            let _ = strategy.validate_status_update(&*new, &*old);
            strategy.set_replicas(&mut *new, 3);
            prop_assert_eq!(strategy.row(&*new, now.0).len(), strategy.columns().len());
            let _ = (strategy.scale(&*new), strategy.fields(&*new), strategy.shape());
            // What was pruned and defaulted once stays so.
            strategy.default(&mut *new);
            if let Ok(again) = strategy.decode(new.to_value()) {
                prop_assert!(again.unknown_fields.is_empty() || new.to_value() != again.object.to_value());
            }
        }
    }
}

#[test]
fn a_definition_is_checked_as_upstream_does() {
    let kind = definitions();
    let texts = |schema: Value| -> Vec<String> {
        let definition = definition(&schema).map(|definition| serde_json::to_value(definition).unwrap_or_default());
        let Ok(mut decoded) = kind.strategy.decode(definition.unwrap_or_default()) else { return Vec::new() };
        kind.strategy.default(&mut *decoded.object);
        kind.strategy.prepare_for_create(&mut *decoded.object);
        let errors = kind.strategy.validate(&*decoded.object);
        errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    };
    let spec = |spec: Value| {
        let mut schema = json!({"type": "object", "properties": {"spec": {"type": "object"}}});
        schema["properties"]["spec"]["properties"] = spec;
        schema["properties"]["spec"]["properties"]["a"] = json!({"type": "string"});
        schema
    };
    assert_eq!(texts(spec(json!({}))), Vec::<String>::new());
    let at = "spec.validation.openAPIV3Schema.properties[spec].properties[x]";
    for (schema, expected) in [
        (json!({"type": "array"}), ".items: Required value: must be specified"),
        (
            json!({"type": "string", "default": 1}),
            ".default: Invalid value: \"integer\": spec.validation.openAPIV3Schema.properties[spec].properties[x].default \
             in body must be of type string: \"integer\"",
        ),
        (
            json!({"type": "string", "pattern": "("}),
            ".pattern: Invalid value: \"(\": must be a valid regular expression",
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}}),
            ".x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (json!({"type": "string", "uniqueItems": true}), ".uniqueItems: Forbidden: uniqueItems cannot be set to true"),
        (
            json!({"type": "array", "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}),
            ".items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the \
             uncorrelatable portion of the schema within",
        ),
    ] {
        let texts = texts(spec(json!({"x": schema})));
        assert!(texts.iter().any(|text| text.starts_with(&format!("{at}{expected}"))), "{expected}: {texts:#?}");
    }
}
