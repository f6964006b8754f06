//! Validation of definitions.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as api;
use serde_json::Value;
use skep_registry::{Errors, FieldError, Path, dns1035_label, dns1123_subdomain};

use super::schema;
use crate::structural::Structural;

const APPROVAL: &str = "api-approved.kubernetes.io";
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const SELECTABLE_FIELDS_MAX: usize = 8;

/// Where what all versions share is said to stand: upstream moves it out of the versions before it looks at it.
struct Places {
    schema: bool,
    subresources: bool,
    columns: bool,
    fields: bool,
}

impl Places {
    fn of(versions: &[api::CustomResourceDefinitionVersion]) -> Self {
        let alike =
            |same: &dyn Fn(&api::CustomResourceDefinitionVersion, &api::CustomResourceDefinitionVersion) -> bool| {
                versions.split_first().is_some_and(|(first, rest)| rest.iter().all(|other| same(first, other)))
            };
        Self {
            schema: alike(&|a, b| a.schema == b.schema),
            subresources: alike(&|a, b| a.subresources == b.subresources),
            columns: alike(&|a, b| a.additional_printer_columns == b.additional_printer_columns),
            fields: alike(&|a, b| a.selectable_fields == b.selectable_fields),
        }
    }
}

/// What is wrong with a definition that is new, or takes the place of another.
pub(crate) fn validate(
    object: &api::CustomResourceDefinition,
    old: Option<&api::CustomResourceDefinition>,
) -> Vec<FieldError> {
    let mut errors = Errors::new();
    let spec = &object.spec;
    if old.is_none() {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        if name != format!("{}.{}", spec.names.plural, spec.group) {
            let path = Path::root("metadata");
            errors.invalid(&path.child("name"), name, "must be spec.names.plural+\".\"+spec.group");
        }
    }
    let path = Path::root("spec");
    group(&mut errors, &path.child("group"), &spec.group);
    match spec.scope.as_str() {
        "Cluster" | "Namespaced" => {}
        "" => errors.required(&path.child("scope"), ""),
        other => errors.not_supported(&path.child("scope"), other, &["Cluster", "Namespaced"]),
    }
    versions(&mut errors, &path, spec, old);
    names(&mut errors, &path.child("names"), &spec.names, true);
    conversion(&mut errors, &path.child("conversion"), spec);
    if let Some(old) = old {
        immutable(&mut errors, &path, spec, &old.spec, super::is_true(old, "Established"));
    }
    validate_status(&mut errors, object);
    stored_versions(&mut errors, object);
    approved(&mut errors, object, old);
    if spec.preserve_unknown_fields == Some(true)
        && old.is_none_or(|old| old.spec.preserve_unknown_fields != Some(true))
    {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                      spec.versions[*].schema instead";
        errors.invalid(&path.child("preserveUnknownFields"), true, detail);
    }
    errors.into_vec()
}

fn group(errors: &mut Errors, path: &Path<'_>, group: &str) {
    let faults = dns1123_subdomain(group);
    if group.is_empty() {
        errors.required(path, "");
    } else if !faults.is_empty() {
        errors.invalid(path, group, &faults.join(","));
    } else if !group.contains('.') {
        errors.invalid(path, group, "should be a domain with at least one dot");
    }
}

fn versions(
    errors: &mut Errors,
    path: &Path<'_>,
    spec: &api::CustomResourceDefinitionSpec,
    old: Option<&api::CustomResourceDefinition>,
) {
    let (all, places) = (&spec.versions, Places::of(&spec.versions));
    let list = path.child("versions");
    let has_schema = |v: &api::CustomResourceDefinitionVersion| {
        v.schema.as_ref().is_some_and(|schema| schema.open_api_v3_schema.is_some())
    };
    // What was stored without a schema may stay without.
    let must = old.is_none_or(|old| old.spec.versions.iter().all(has_schema));
    for (i, version) in all.iter().enumerate() {
        let at = list.index(i);
        if must && !has_schema(version) {
            errors.required(&at.child("schema").child("openAPIV3Schema"), "");
        }
    }
    let mut seen = BTreeSet::new();
    let mut unique = true;
    for (i, version) in all.iter().enumerate() {
        let at = list.index(i);
        unique &= seen.insert(&version.name);
        let faults = dns1035_label(&version.name);
        if !faults.is_empty() {
            errors.invalid(&at.child("name"), version.name.as_str(), &faults.join(","));
        }
        deprecation(errors, &at.child("deprecationWarning"), version);
        // What is the same in all versions is looked at once, where it is said to stand.
        let own = |shared: bool| !shared || i == 0;
        let place = |shared: bool| if shared { path } else { &at };
        if own(places.schema) {
            let name = if places.schema { "validation" } else { "schema" };
            let status = version.subresources.as_ref().is_some_and(|below| below.status.is_some());
            let before = old.and_then(|old| old.spec.versions.iter().find(|before| before.name == version.name));
            if before.is_none_or(|before| before.schema != version.schema) {
                schema::validate(errors, &place(places.schema).child(name), version.schema.as_ref(), status);
            }
        }
        if own(places.subresources) {
            subresources(errors, &place(places.subresources).child("subresources"), version.subresources.as_ref());
        }
        if own(places.columns) {
            let path = place(places.columns).child("additionalPrinterColumns");
            for (i, column) in version.additional_printer_columns.iter().flatten().enumerate() {
                self::column(errors, &path.index(i), column);
            }
        }
        if own(places.fields) {
            selectable(errors, &place(places.fields).child("selectableFields"), version);
        }
    }
    let listed = || serde_json::to_value(all).unwrap_or_default();
    if !unique {
        errors.invalid(&list, listed(), "must contain unique version names");
    }
    if all.iter().filter(|version| version.storage).count() != 1 {
        errors.invalid(&list, listed(), "must have exactly one version marked as storage version");
    }
}

fn deprecation(errors: &mut Errors, path: &Path<'_>, version: &api::CustomResourceDefinitionVersion) {
    let Some(warning) = version.deprecation_warning.as_deref() else { return };
    if version.deprecated != Some(true) {
        errors.invalid(path, warning, "can only be set for deprecated versions");
    }
    if warning.len() > 256 {
        errors.invalid(path, warning, "must be <= 256 characters long");
    }
    if warning.is_empty() {
        errors.invalid(path, warning, "must not be an empty string");
    }
    if let Some((i, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        let detail =
            format!("must only contain printable UTF-8 characters; non-printable character found at index {i}");
        errors.invalid(path, warning, &detail);
    }
}

fn simple_path(errors: &mut Errors, path: &Path<'_>, value: &str) -> bool {
    let fine = value.starts_with('.');
    if !fine {
        errors.invalid(path, value, "must be a simple json path starting with .");
    }
    fine
}

fn subresources(errors: &mut Errors, path: &Path<'_>, subresources: Option<&api::CustomResourceSubresources>) {
    let Some(scale) = subresources.and_then(|below| below.scale.as_ref()) else { return };
    let required = [
        ("scale.specReplicasPath", &scale.spec_replicas_path, ".spec."),
        ("scale.statusReplicasPath", &scale.status_replicas_path, ".status."),
    ];
    for (name, value, prefix) in required {
        let path = path.child(name);
        if value.is_empty() {
            errors.required(&path, "");
        } else if simple_path(errors, &path, value) && !value.starts_with(prefix) {
            let place = prefix.trim_end_matches('.');
            errors.invalid(&path, value.as_str(), &format!("should be a json path under {place}"));
        }
    }
    if let Some(value) = scale.label_selector_path.as_deref().filter(|value| !value.is_empty()) {
        let path = path.child("scale.labelSelectorPath");
        if simple_path(errors, &path, value) && !value.starts_with(".spec.") && !value.starts_with(".status.") {
            errors.invalid(&path, value, "should be a json path under either .spec or .status");
        }
    }
}

fn column(errors: &mut Errors, path: &Path<'_>, column: &api::CustomResourceColumnDefinition) {
    if column.name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    let types = format!("must be one of {}", COLUMN_TYPES.join(","));
    if column.type_.is_empty() {
        errors.required(&path.child("type"), &types);
    } else if !COLUMN_TYPES.contains(&column.type_.as_str()) {
        errors.invalid(&path.child("type"), column.type_.as_str(), &types);
    }
    if let Some(format) = column.format.as_deref().filter(|format| !format.is_empty())
        && !COLUMN_FORMATS.contains(&format)
    {
        errors.invalid(&path.child("format"), format, &format!("must be one of {}", COLUMN_FORMATS.join(",")));
    }
    if column.json_path.is_empty() {
        errors.required(&path.child("JSONPath"), "");
    } else {
        simple_path(errors, &path.child("JSONPath"), &column.json_path);
    }
}

fn selectable(errors: &mut Errors, path: &Path<'_>, version: &api::CustomResourceDefinitionVersion) {
    let fields = version.selectable_fields.as_deref().unwrap_or_default();
    if fields.is_empty() {
        return;
    }
    let Some(raw) = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()) else {
        return errors.invalid(path, "", "may only be set when `version.schema.openAPIV3Schema` is not included");
    };
    let schema = Structural::read(&serde_json::to_value(raw).unwrap_or_default());
    let mut seen = BTreeSet::new();
    for (i, field) in fields.iter().enumerate() {
        let at = path.index(i);
        let at = at.child("jsonPath");
        let given = field.json_path.as_str();
        if given.is_empty() {
            errors.required(&at, "");
            continue;
        }
        match schema.at(given) {
            Err(why) => {
                errors.invalid(&at, given, &format!("is an invalid path: {why}"));
                continue;
            }
            Ok(found) => {
                if given.starts_with(".metadata") {
                    errors.invalid(&at, given, "must not point to fields in metadata");
                }
                if !matches!(found.kind.as_str(), "string" | "boolean" | "integer") {
                    let detail = "must point to a field of type string, boolean or integer. Enum string fields and \
                                  strings with formats are allowed.";
                    errors.invalid(&at, given, detail);
                }
            }
        }
        if !seen.insert(given) {
            errors.duplicate(&at, given);
        }
    }
    if seen.len() > SELECTABLE_FIELDS_MAX {
        errors.too_many(path, seen.len(), SELECTABLE_FIELDS_MAX);
    }
}

fn names(errors: &mut Errors, path: &Path<'_>, names: &api::CustomResourceDefinitionNames, required: bool) {
    let singular = names.singular.as_deref().unwrap_or_default();
    let list_kind = names.list_kind.as_deref().unwrap_or_default();
    let all =
        [("plural", names.plural.as_str()), ("singular", singular), ("kind", &names.kind), ("listKind", list_kind)];
    for (key, _) in all.iter().filter(|(_, value)| required && value.is_empty()) {
        errors.required(&path.child(key), "");
    }
    for (key, value) in all.iter().filter(|(_, value)| !value.is_empty()) {
        let is_kind = key.ends_with("ind");
        let faults = if is_kind { dns1035_label(&value.to_lowercase()) } else { dns1035_label(value) };
        if !faults.is_empty() {
            let mixed = if is_kind { "may have mixed case, but should otherwise match: " } else { "" };
            errors.invalid(&path.child(key), *value, &format!("{mixed}{}", faults.join(",")));
        }
    }
    let listed = |errors: &mut Errors, key: &str, values: Option<&Vec<String>>| {
        let list = path.child(key);
        for (i, value) in values.into_iter().flatten().enumerate() {
            let faults = dns1035_label(value);
            if !faults.is_empty() {
                errors.invalid(&list.index(i), value.as_str(), &faults.join(","));
            }
        }
    };
    listed(errors, "shortNames", names.short_names.as_ref());
    if !names.kind.is_empty() && names.kind == list_kind {
        errors.invalid(&path.child("listKind"), list_kind, "kind and listKind may not be the same");
    }
    listed(errors, "categories", names.categories.as_ref());
}

fn conversion(errors: &mut Errors, path: &Path<'_>, spec: &api::CustomResourceDefinitionSpec) {
    let Some(conversion) = &spec.conversion else { return };
    match conversion.strategy.as_str() {
        "None" => {
            if conversion.webhook.is_some() {
                errors.forbidden(&path.child("webhook"), "should not be set when strategy is not set to Webhook");
            }
        }
        // Upstream has it. To say no beats to store objects that nobody converts.
        "Webhook" => errors.not_supported(&path.child("strategy"), "Webhook", &["None"]),
        "" => errors.required(&path.child("strategy"), ""),
        other => errors.not_supported(&path.child("strategy"), other, &["None", "Webhook"]),
    }
}

fn immutable(
    errors: &mut Errors,
    path: &Path<'_>,
    new: &api::CustomResourceDefinitionSpec,
    old: &api::CustomResourceDefinitionSpec,
    established: bool,
) {
    let names = path.child("names");
    let mut same = |path: &Path<'_>, new: &str, old: &str| {
        if new != old {
            errors.invalid(path, new, "field is immutable");
        }
    };
    if established {
        same(&path.child("scope"), &new.scope, &old.scope);
        same(&names.child("kind"), &new.names.kind, &old.names.kind);
    }
    same(&path.child("group"), &new.group, &old.group);
    same(&names.child("plural"), &new.names.plural, &old.names.plural);
}

/// The names that a status says are accepted.
pub(super) fn validate_status(errors: &mut Errors, object: &api::CustomResourceDefinition) {
    let path = Path::root("status");
    if let Some(accepted) = object.status.as_ref().and_then(|status| status.accepted_names.as_ref()) {
        names(errors, &path.child("acceptedNames"), accepted, false);
    }
}

fn stored_versions(errors: &mut Errors, object: &api::CustomResourceDefinition) {
    let path = Path::root("status");
    let path = path.child("storedVersions");
    let stored = object.status.as_ref().and_then(|status| status.stored_versions.clone()).unwrap_or_default();
    let value = || Value::from(stored.clone());
    if stored.is_empty() {
        return errors.invalid(&path, value(), "must have at least one stored version");
    }
    for version in object.spec.versions.iter().filter(|version| version.storage) {
        if !stored.contains(&version.name) {
            errors.invalid(&path, value(), &format!("must have the storage version {}", version.name));
        }
    }
    for (i, version) in stored.iter().enumerate() {
        if !object.spec.versions.iter().any(|known| known.name == *version) {
            let detail = format!(
                "missing from spec.versions; {version} was previously a storage version, and must remain in \
                 spec.versions until a storage migration ensures no data remains persisted in {version} and removes \
                 {version} from status.storedVersions"
            );
            errors.invalid(&path.index(i), version.as_str(), &detail);
        }
    }
}

/// Whether a group belongs to Kubernetes' own API.
pub(super) fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|own| group == *own || group.ends_with(&format!(".{own}")))
}

/// What a definition says about its approval.
pub(super) fn approval(object: &api::CustomResourceDefinition) -> &str {
    let annotations = object.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(APPROVAL)).map(String::as_str).unwrap_or_default()
}

fn approved(errors: &mut Errors, object: &api::CustomResourceDefinition, old: Option<&api::CustomResourceDefinition>) {
    let said = approval(object);
    if !is_protected(&object.spec.group) || old.is_some_and(|old| approval(old) == said) {
        return;
    }
    let path = Path::root("metadata");
    let path = path.child("annotations");
    let path = path.key(APPROVAL);
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    if said.is_empty() {
        errors.required(&path, &format!("protected groups must have approval annotation \"{APPROVAL}\", {see}"));
    } else if !["unapproved", "https://", "http://"].iter().any(|start| said.starts_with(start)) {
        let detail = format!(
            "protected groups must have approval annotation \"{APPROVAL}\" with either a URL or a reason starting \
             with \"unapproved\", {see}"
        );
        errors.invalid(&path, said, &detail);
    }
}
