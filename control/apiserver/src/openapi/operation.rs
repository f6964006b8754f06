//! What can be done at which path: what both versions of the documents are made of.

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::Binding;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, Status};
use serde_json::json;
use skep_registry::{Registry, Resource, Scope};
use skep_schema::{Definitions, Gvk};

use crate::discovery;

/// The schema of a patch's body, of whatever kind.
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

const WRITTEN: &[&str] = &["application/json", "application/yaml"];
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// Those of custom resources: a client that finds strategic merge here makes such patches.
const CUSTOM_PATCHES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

const LIST: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];
const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
const PATCH_OPTIONS: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
const DELETE: &[&str] = &[
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
];
const DELETE_MANY: &[&str] = &[
    "continue",
    "dryRun",
    "fieldSelector",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "labelSelector",
    "limit",
    "orphanDependents",
    "propagationPolicy",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
];

/// A path, and what can be done there.
pub(super) struct PathItem {
    pub path: String,
    /// Names in the path.
    pub names: Vec<&'static str>,
    pub operations: Vec<Operation>,
}

/// A method at a path.
pub(super) struct Operation {
    pub method: &'static str,
    /// `x-kubernetes-action`.
    pub action: &'static str,
    pub id: String,
    pub tag: String,
    pub gvk: serde_json::Value,
    pub parameters: &'static [&'static str],
    /// What bodies may be written in, and the schema's name.
    pub body: Option<(&'static [&'static str], String)>,
    /// The answer's schema.
    pub answer: Option<String>,
    pub codes: &'static [u16],
}

/// The type of a query parameter.
pub(super) fn parameter_type(name: &str) -> &'static str {
    match name {
        "allowWatchBookmarks"
        | "force"
        | "ignoreStoreReadErrorWithClusterBreakingPotential"
        | "orphanDependents"
        | "sendInitialEvents"
        | "watch" => "boolean",
        "gracePeriodSeconds" | "limit" | "timeoutSeconds" => "integer",
        _ => "string",
    }
}

/// `/api/v1` or `/apis/{group}/{version}`.
pub(super) fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// What a group version has. Its schemas, and those that the operations need, go to `definitions`.
pub(super) fn paths(registry: &Registry, group: &str, version: &str, definitions: &mut Definitions) -> Vec<PathItem> {
    let mut items = Vec::new();
    for resource in registry.resources().iter().filter(|r| r.group == group && r.version == version) {
        let schema = resource.strategy.define(definitions);
        definitions.add::<DeleteOptions>();
        definitions.add::<Status>();
        let about = "A patch in one of the formats that the content type names.";
        definitions.insert(PATCH, json!({"description": about, "type": "object"}));
        resource_paths(resource, &schema, definitions, &mut items);
    }
    items
}

fn resource_paths(resource: &Resource, schema: &str, definitions: &mut Definitions, items: &mut Vec<PathItem>) {
    let (group, version): (&str, &str) = (&resource.group, &resource.version);
    let namespaced = resource.scope == Scope::Namespaced;
    let root = format!("/{}", root(group, version));
    let verbs = discovery::verbs(resource);
    let of = |verb: &str| verbs.contains(&verb);
    let describe = Describe { resource, schema, namespaced };
    let collection = match namespaced {
        true => format!("{root}/namespaces/{{namespace}}/{}", resource.plural),
        false => format!("{root}/{}", resource.plural),
    };
    let names = |named: bool| -> Vec<&'static str> {
        let all = [("name", named), ("namespace", namespaced)];
        all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
    };
    if namespaced && of("list") {
        let mut list = describe.operation("get", "list", "");
        list.id.push_str("ForAllNamespaces");
        list.id = list.id.replacen("Namespaced", "", 1);
        items.push(PathItem { path: format!("{root}/{}", resource.plural), names: Vec::new(), operations: vec![list] });
    }
    let many =
        [("list", "get", "list"), ("create", "post", "post"), ("deletecollection", "delete", "deletecollection")];
    let one =
        [("get", "get", "get"), ("update", "put", "put"), ("patch", "patch", "patch"), ("delete", "delete", "delete")];
    let operations = |all: &[(&str, &'static str, &'static str)]| -> Vec<Operation> {
        let there = all.iter().filter(|(verb, ..)| of(verb));
        there.map(|(_, method, action)| describe.operation(method, action, "")).collect()
    };
    items.push(PathItem { path: collection.clone(), names: names(false), operations: operations(&many) });
    items.push(PathItem { path: format!("{collection}/{{name}}"), names: names(true), operations: operations(&one) });
    for subresource in resource.subresources.iter() {
        let below = discovery::below(resource, *subresource);
        let gvk = Gvk { group: below.group, version: below.version, kind: below.kind };
        let schema = schema_below(&gvk, resource, schema, definitions);
        let operations = below.verbs.iter().filter_map(|verb| {
            let (method, action) = match *verb {
                "get" => ("get", "get"),
                "update" => ("put", "put"),
                "patch" => ("patch", "patch"),
                "create" => ("post", "post"),
                "delete" => ("delete", "delete"),
                _ => return None,
            };
            let mut operation = describe.operation(method, action, below.name);
            operation.gvk = gvk.value();
            operation.answer.clone_from(&schema);
            if let Some((_, body)) = operation.body.as_mut().filter(|(_, body)| *body == describe.schema) {
                *body = schema.clone()?;
            }
            Some(operation)
        });
        let path = format!("{collection}/{{name}}/{}", below.name);
        items.push(PathItem { path, names: names(true), operations: operations.collect() });
    }
    items.retain(|item| !item.operations.is_empty());
}

/// The schema of what a subresource takes and gives; none where that is no object.
fn schema_below(gvk: &Gvk<'_>, resource: &Resource, schema: &str, definitions: &mut Definitions) -> Option<String> {
    match (gvk.group, gvk.kind) {
        ("autoscaling", "Scale") => Some(definitions.add_kind::<Scale>()),
        ("", "Binding") => Some(definitions.add_kind::<Binding>()),
        ("policy", "Eviction") => Some(definitions.add_kind::<Eviction>()),
        ("authentication.k8s.io", "TokenRequest") => Some(definitions.add_kind::<TokenRequest>()),
        (_, kind) if kind == resource.kind => Some(schema.to_owned()),
        _ => None,
    }
}

struct Describe<'a> {
    resource: &'a Resource,
    schema: &'a str,
    namespaced: bool,
}

impl Describe<'_> {
    fn operation(&self, method: &'static str, action: &'static str, below: &str) -> Operation {
        let resource = self.resource;
        let own = || self.schema.to_owned();
        let options = || "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions".to_owned();
        let status = || Some("io.k8s.apimachinery.pkg.apis.meta.v1.Status".to_owned());
        let patches = if resource.definition.is_some() { CUSTOM_PATCHES } else { PATCHES };
        let (verb, parameters, body, answer, codes): (_, _, _, _, &[u16]) = match action {
            "list" => ("list", LIST, None, Some(format!("{}List", self.schema)), &[200, 401]),
            "post" => ("create", WRITE, Some((WRITTEN, own())), Some(own()), &[200, 201, 202, 401]),
            "put" => ("replace", WRITE, Some((WRITTEN, own())), Some(own()), &[200, 201, 401]),
            "patch" => ("patch", PATCH_OPTIONS, Some((patches, PATCH.to_owned())), Some(own()), &[200, 201, 401]),
            "delete" => ("delete", DELETE, Some((WRITTEN, options())), status(), &[200, 202, 401]),
            "deletecollection" => ("deleteCollection", DELETE_MANY, Some((WRITTEN, options())), status(), &[200, 401]),
            _ => ("read", &[][..], None, Some(own()), &[200, 401]),
        };
        let group = resource.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
        let namespaced = if self.namespaced { "Namespaced" } else { "" };
        let (group_name, version) = (title(group), title(&resource.version));
        let id = format!("{verb}{group_name}{version}{namespaced}{}{}", resource.kind, title(below));
        let gvk = Gvk { group: &resource.group, version: &resource.version, kind: &resource.kind }.value();
        let tag = format!("{group}_{}", resource.version);
        Operation { method, action, id, tag, gvk, parameters, body, answer, codes }
    }
}

fn title(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
