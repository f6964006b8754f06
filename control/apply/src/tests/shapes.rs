//! A part of a Deployment's shape.

use serde_json::{Value, json};
use skep_schema::ObjectShape;

fn object(properties: &Value) -> Value {
    json!({"type": "object", "properties": properties})
}

fn keyed(keys: &Value, properties: &Value) -> Value {
    json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys, "items": object(properties)})
}

pub(crate) fn deployment() -> ObjectShape {
    let text = json!({"type": "string"});
    let strings = json!({"type": "object", "additionalProperties": text});
    let port =
        json!({"containerPort": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}, "name": text});
    let container = json!({"name": text, "image": text, "command": {"type": "array", "items": text},
        "ports": keyed(&json!(["containerPort", "protocol"]), &port)});
    let names = json!({"type": "array", "x-kubernetes-list-type": "set", "items": text});
    let pod = json!({"containers": keyed(&json!(["name"]), &container), "names": names,
        "other": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let template = json!({"metadata": object(&json!({"labels": strings})), "spec": object(&pod)});
    let spec = json!({"replicas": {"type": "integer"}, "template": object(&template),
        "selector": {"type": "object", "x-kubernetes-map-type": "atomic"}});
    let root = json!({"spec": object(&spec), "status": object(&json!({"replicas": {"type": "integer"}}))});
    ObjectShape::of_custom(&object(&root))
}
