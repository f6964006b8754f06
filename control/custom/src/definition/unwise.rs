//! What is allowed in the schemas of definitions and yet unwise.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as api;

use crate::structural::{Additional, Structural};

/// What is unwise in the schemas of a definition: formats that nobody checks, and sets of what is no scalar.
pub(super) fn warnings(definition: &api::CustomResourceDefinition) -> Vec<String> {
    let mut found = Vec::new();
    for version in &definition.spec.versions {
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let raw = schema.and_then(|schema| serde_json::to_value(schema).ok()).unwrap_or_default();
        unwise(&mut found, &Structural::read(&raw));
    }
    found.dedup();
    found
}

fn unwise(found: &mut Vec<String>, schema: &Structural) {
    let format = schema.checks.format.as_str();
    let known = match schema.kind.as_str() {
        _ if format.is_empty() => true,
        "" | "string" => crate::format::is_known(format),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    };
    if !known {
        found.push(format!("unrecognized format \"{format}\""));
    }
    if let (Some("set"), Some(items)) = (schema.list_type.as_deref(), &schema.items)
        && matches!(items.kind.as_str(), "object" | "array")
    {
        found.push(format!(
            "x-kubernetes-list-type: set for items of type \"{}\" is not supported by server-side apply or CEL validation \
             rules",
            items.kind
        ));
    }
    schema.properties.values().for_each(|child| unwise(found, child));
    schema.items.iter().for_each(|child| unwise(found, child));
    if let Some(Additional::Fit(child)) = &schema.additional {
        unwise(found, child);
    }
}
