//! Webhook configurations.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, ServiceReference, ValidatingWebhook, ValidatingWebhookConfiguration,
    WebhookClientConfig,
};

use super::rules;
use crate::field::{Errors, Path, default_text};
use crate::kind::Kind;
use crate::metadata::validate_label_selector;
use crate::names;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

const TIMEOUT_SECONDS: i32 = 10;
const TIMEOUT_SECONDS_MAX: i32 = 30;
const HTTPS_PORT: i32 = 443;
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const COLUMNS: &[Column] = &[table::NAME, table::number("Webhooks", "How many webhooks there are."), table::AGE];

/// ValidatingWebhookConfigurations.
pub(crate) struct ValidatingWebhookConfigurations;

/// MutatingWebhookConfigurations.
pub(crate) struct MutatingWebhookConfigurations;

/// The defaults of a webhook of either type.
macro_rules! default_webhook {
    ($hook:expr) => {{
        let hook = $hook;
        default_text(&mut hook.failure_policy, "Fail");
        default_text(&mut hook.match_policy, "Equivalent");
        hook.namespace_selector.get_or_insert_default();
        hook.object_selector.get_or_insert_default();
        hook.timeout_seconds.get_or_insert(TIMEOUT_SECONDS);
        for rule in hook.rules.iter_mut().flatten() {
            rule.scope.get_or_insert_with(|| "*".to_owned());
        }
        if let Some(service) = &mut hook.client_config.service {
            service.port.get_or_insert(HTTPS_PORT);
        }
    }};
}

impl Kind for ValidatingWebhookConfigurations {
    type Object = ValidatingWebhookConfiguration;

    const SINGULAR: &'static str = "validatingwebhookconfiguration";
    const CATEGORIES: &'static [&'static str] = &["api-extensions"];
    const GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = COLUMNS;

    fn default(object: &mut ValidatingWebhookConfiguration) {
        object.webhooks.iter_mut().flatten().for_each(|hook| default_webhook!(hook));
    }

    fn validate(object: &ValidatingWebhookConfiguration) -> Vec<FieldError> {
        validate_all(object.webhooks.iter().flatten().map(as_mutating))
    }

    fn spec_changed(new: &ValidatingWebhookConfiguration, old: &ValidatingWebhookConfiguration) -> bool {
        new.webhooks != old.webhooks
    }

    fn row(object: &ValidatingWebhookConfiguration, now: Timestamp) -> Vec<Cell> {
        let count = object.webhooks.as_ref().map_or(0, Vec::len);
        vec![table::name(&object.metadata), Cell::from(count), table::age(&object.metadata, now)]
    }
}

impl Kind for MutatingWebhookConfigurations {
    type Object = MutatingWebhookConfiguration;

    const SINGULAR: &'static str = "mutatingwebhookconfiguration";
    const CATEGORIES: &'static [&'static str] = &["api-extensions"];
    const GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = COLUMNS;

    fn default(object: &mut MutatingWebhookConfiguration) {
        for hook in object.webhooks.iter_mut().flatten() {
            default_text(&mut hook.reinvocation_policy, "Never");
            default_webhook!(hook);
        }
    }

    fn validate(object: &MutatingWebhookConfiguration) -> Vec<FieldError> {
        validate_all(object.webhooks.iter().flatten().cloned())
    }

    fn spec_changed(new: &MutatingWebhookConfiguration, old: &MutatingWebhookConfiguration) -> bool {
        new.webhooks != old.webhooks
    }

    fn row(object: &MutatingWebhookConfiguration, now: Timestamp) -> Vec<Cell> {
        let count = object.webhooks.as_ref().map_or(0, Vec::len);
        vec![table::name(&object.metadata), Cell::from(count), table::age(&object.metadata, now)]
    }
}

/// The two types differ in one field, which says when a webhook that changes objects is asked again.
fn as_mutating(hook: &ValidatingWebhook) -> MutatingWebhook {
    let hook = hook.clone();
    MutatingWebhook {
        admission_review_versions: hook.admission_review_versions,
        client_config: hook.client_config,
        failure_policy: hook.failure_policy,
        match_conditions: hook.match_conditions,
        match_policy: hook.match_policy,
        name: hook.name,
        namespace_selector: hook.namespace_selector,
        object_selector: hook.object_selector,
        reinvocation_policy: None,
        rules: hook.rules,
        side_effects: hook.side_effects,
        timeout_seconds: hook.timeout_seconds,
    }
}

fn validate_all(hooks: impl Iterator<Item = MutatingWebhook>) -> Vec<FieldError> {
    let mut errors = Errors::new();
    let path = Path::root("webhooks");
    let mut seen = BTreeSet::new();
    for (i, hook) in hooks.enumerate() {
        let path = path.index(i);
        validate_webhook(&mut errors, &path, &hook);
        if !hook.name.is_empty() && !seen.insert(hook.name.clone()) {
            errors.duplicate(&path.child("name"), hook.name.as_str());
        }
    }
    errors.into_vec()
}

fn validate_webhook(errors: &mut Errors, path: &Path<'_>, hook: &MutatingWebhook) {
    let at = path.child("name");
    if hook.name.is_empty() {
        errors.required(&at, "");
    } else {
        errors.invalid_each(&at, &hook.name, names::dns1123_subdomain(&hook.name));
        if hook.name.split('.').count() < 3 {
            let detail = "should be a domain with at least three segments separated by dots";
            errors.invalid(&at, hook.name.as_str(), detail);
        }
    }
    validate_review_versions(errors, &path.child("admissionReviewVersions"), &hook.admission_review_versions);
    let at = path.child("rules");
    for (i, rule) in hook.rules.iter().flatten().enumerate() {
        rules::validate_rule(errors, &at.index(i), rule);
    }
    rules::validate_failure_policy(errors, &path.child("failurePolicy"), hook.failure_policy.as_deref());
    rules::validate_match_policy(errors, &path.child("matchPolicy"), hook.match_policy.as_deref());
    rules::validate_reinvocation(errors, &path.child("reinvocationPolicy"), hook.reinvocation_policy.as_deref());
    match hook.side_effects.as_str() {
        "" => errors.required(&path.child("sideEffects"), "must specify one of None, NoneOnDryRun"),
        "None" | "NoneOnDryRun" => {}
        other => errors.not_supported(&path.child("sideEffects"), other, &["None", "NoneOnDryRun"]),
    }
    if let Some(seconds) = hook.timeout_seconds.filter(|seconds| !(1..=TIMEOUT_SECONDS_MAX).contains(seconds)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.invalid(&path.child("timeoutSeconds"), seconds, detail);
    }
    for (field, selector) in
        [("namespaceSelector", &hook.namespace_selector), ("objectSelector", &hook.object_selector)]
    {
        if let Some(selector) = selector {
            validate_label_selector(errors, &path.child(field), selector);
        }
    }
    validate_client(errors, &path.child("clientConfig"), &hook.client_config);
    let conditions = hook.match_conditions.as_deref().unwrap_or_default();
    rules::validate_conditions(errors, &path.child("matchConditions"), conditions);
}

fn validate_review_versions(errors: &mut Errors, path: &Path<'_>, versions: &[String]) {
    if versions.is_empty() {
        errors.required(path, "must specify one of v1, v1beta1");
        return;
    }
    for (i, version) in versions.iter().enumerate() {
        if versions.iter().take(i).any(|other| other == version) {
            errors.invalid(&path.index(i), version.as_str(), "duplicate version");
            continue;
        }
        errors.invalid_each(&path.index(i), version, names::dns1035_label(version));
    }
    if !versions.iter().any(|version| REVIEW_VERSIONS.contains(&version.as_str())) {
        errors.invalid(path, versions.to_vec(), "must include at least one of v1, v1beta1");
    }
}

fn validate_client(errors: &mut Errors, path: &Path<'_>, client: &WebhookClientConfig) {
    match (&client.url, &client.service) {
        (Some(url), None) => validate_url(errors, &path.child("url"), url),
        (None, Some(service)) => validate_service(errors, &path.child("service"), service),
        _ => errors.required(path, "exactly one of url or service is required"),
    }
}

fn validate_url(errors: &mut Errors, path: &Path<'_>, url: &str) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        errors.invalid(path, scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if host.is_empty() {
        errors.invalid(path, host, &format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        errors.invalid(path, user, "user information is not permitted in the URL");
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    if !fragment.is_empty() {
        errors.invalid(path, fragment, "fragments are not permitted in the URL");
    }
    if let Some((_, query)) = rest.split_once('?').filter(|(_, query)| !query.is_empty()) {
        errors.invalid(path, query, "query parameters are not permitted in the URL");
    }
}

fn validate_service(errors: &mut Errors, path: &Path<'_>, service: &ServiceReference) {
    if service.name.is_empty() {
        errors.required(&path.child("name"), "service name is required");
    }
    if service.namespace.is_empty() {
        errors.required(&path.child("namespace"), "service namespace is required");
    }
    let at = path.child("port");
    if let Some((port, detail)) = service.port.and_then(|port| Some((port, names::port_number(port)?))) {
        errors.invalid(&at, port, &format!("port is not valid: {detail}"));
    }
    let Some(url) = service.path.as_deref() else { return };
    let at = path.child("path");
    if url == "/" || url.is_empty() {
        return;
    }
    if url == "//" {
        errors.invalid(&at, url, "segment[0] may not be empty");
        return;
    }
    let Some(inner) = url.strip_prefix('/') else {
        errors.invalid(&at, url, "must start with a '/'");
        return;
    };
    for (i, step) in inner.strip_suffix('/').unwrap_or(inner).split('/').enumerate() {
        if step.is_empty() {
            errors.invalid(&at, url, &format!("segment[{i}] may not be empty"));
        }
        for fault in names::dns1123_subdomain(step).into_iter().filter(|_| !step.is_empty()) {
            errors.invalid(&at, url, &format!("segment[{i}]: {fault}"));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn faults(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut hook = json!({"name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"namespace": "n", "name": "s", "path": "/v"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]});
        change(&mut hook);
        let value = json!({"metadata": {"name": "w"}, "webhooks": [hook]});
        let mut object = crate::decode::decode(value).unwrap().0;
        MutatingWebhookConfigurations::default(&mut object);
        let errors = MutatingWebhookConfigurations::validate(&object);
        errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn faults_read_as_upstream() {
        assert_eq!(faults(|_| {}), Vec::<String>::new());
        assert_eq!(
            faults(|v| v["name"] = json!("a.b")),
            [
                "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots"
            ]
        );
        assert_eq!(
            faults(|v| v["sideEffects"] = json!("Some")),
            ["webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\""]
        );
        assert_eq!(
            faults(|v| v["clientConfig"] = json!({})),
            ["webhooks[0].clientConfig: Required value: exactly one of url or service is required"]
        );
        assert_eq!(
            faults(|v| v["clientConfig"] = json!({"url": "http://a/b?c"})),
            [
                "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired \
                 format: https://host[/path]",
                "webhooks[0].clientConfig.url: Invalid value: \"c\": query parameters are not permitted in the URL",
            ]
        );
        assert_eq!(
            faults(|v| v["rules"][0]["operations"] = json!(["*", "CREATE"])),
            [
                "webhooks[0].rules[0].operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify \
                 other operations"
            ]
        );
        assert_eq!(
            faults(|v| v["timeoutSeconds"] = json!(31)),
            ["webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"]
        );
    }
}
