//! Event (core/v1).

use std::borrow::Cow;
mod view;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::names;
use crate::strategy::{Cell, Column, ColumnType, FieldError};
use crate::table::{self, since};

pub(crate) use view::EventsView;

const REPORTING_INSTANCE_BYTES_MAX: usize = 128;
const ACTION_BYTES_MAX: usize = 128;
const REASON_BYTES_MAX: usize = 128;

/// Events.
pub(crate) struct Events;

impl Kind for Events {
    type Object = Event;

    const CREATES_ON_UPDATE: bool = true;
    /// As upstream's `--event-ttl`.
    const TIME_TO_LIVE: Option<Duration> = Some(Duration::from_secs(3600));
    const SINGULAR: &'static str = "event";
    const SHORT_NAMES: &'static [&'static str] = &["ev"];
    const COLUMNS: &'static [Column] = &[
        table::text("Last Seen", "When it was seen last."),
        table::text("Type", "Normal or Warning."),
        table::text("Reason", "Why, in a word."),
        table::text("Object", "What it is about."),
        table::wide("Subobject", "The part of the object that it is about."),
        table::wide("Source", "Who reports it."),
        table::text("Message", "What happened."),
        table::wide("First Seen", "When it was seen first."),
        table::wide("Count", "How often it was seen."),
        Column {
            name: Cow::Borrowed("Name"),
            kind: ColumnType::String,
            format: Cow::Borrowed("name"),
            description: Cow::Borrowed("Unique in its namespace."),
            priority: 1,
        },
    ];
    const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "metadata.namespace",
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ];

    fn validate(object: &Event) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let about = object.involved_object.namespace.as_deref().unwrap_or_default();
        // Events about what has no namespace go to the default one.
        let fits = if about.is_empty() { matches!(namespace, "" | "default") } else { namespace == about };
        if !fits {
            errors.invalid(&Path::root("involvedObject.namespace"), about, "does not match event.namespace");
        }
        if object.event_time.is_some() {
            validate_reporter(&mut errors, object);
        }
        errors.into_vec()
    }

    fn row(object: &Event, now: Timestamp) -> Vec<Cell> {
        let about = &object.involved_object;
        let kind = about.kind.as_deref().unwrap_or_default().to_lowercase();
        let target = match about.name.as_deref().unwrap_or_default() {
            "" => kind,
            name => format!("{kind}/{name}"),
        };
        let first = object.first_timestamp.clone().or_else(|| object.event_time.as_ref().map(|t| Time(t.0)));
        let (last, count) = match &object.series {
            Some(series) => (series.last_observed_time.as_ref().map(|t| Time(t.0)), series.count.unwrap_or(0)),
            None => (object.last_timestamp.clone(), object.count.filter(|count| *count != 0).unwrap_or(1)),
        };
        let text = |value: Option<&String>| Cell::from(value.map_or("", String::as_str));
        vec![
            Cell::from(since(last.as_ref().or(first.as_ref()), now)),
            text(object.type_.as_ref()),
            text(object.reason.as_ref()),
            Cell::from(target),
            text(about.field_path.as_ref()),
            Cell::from(reporter(object)),
            Cell::from(object.message.as_deref().unwrap_or_default().trim()),
            Cell::from(since(first.as_ref(), now)),
            Cell::from(count),
            table::name(&object.metadata),
        ]
    }

    fn fields(object: &Event) -> Vec<(&'static str, String)> {
        let text = |value: Option<&String>| value.cloned().unwrap_or_default();
        let about = &object.involved_object;
        let reporting = text(object.reporting_component.as_ref());
        let source = text(object.source.as_ref().and_then(|source| source.component.as_ref()));
        vec![
            ("involvedObject.kind", text(about.kind.as_ref())),
            ("involvedObject.namespace", text(about.namespace.as_ref())),
            ("involvedObject.name", text(about.name.as_ref())),
            ("involvedObject.uid", text(about.uid.as_ref())),
            ("involvedObject.apiVersion", text(about.api_version.as_ref())),
            ("involvedObject.resourceVersion", text(about.resource_version.as_ref())),
            ("involvedObject.fieldPath", text(about.field_path.as_ref())),
            ("reason", text(object.reason.as_ref())),
            ("source", if source.is_empty() { reporting.clone() } else { source }),
            ("reportingComponent", reporting),
            ("type", text(object.type_.as_ref())),
        ]
    }
}

fn reporter(event: &Event) -> String {
    let component = event.source.as_ref().and_then(|source| source.component.as_deref()).unwrap_or_default();
    let (component, instance) = if component.is_empty() {
        (event.reporting_component.as_deref(), event.reporting_instance.as_deref())
    } else {
        (Some(component), event.source.as_ref().and_then(|source| source.host.as_deref()))
    };
    match (component.unwrap_or_default(), instance.unwrap_or_default()) {
        (component, "") => component.to_owned(),
        (component, instance) => format!("{component}, {instance}"),
    }
}

/// Events with a time of their own come from newer clients, which say who they are.
fn validate_reporter(errors: &mut Errors, event: &Event) {
    let controller = Path::root("reportingController");
    match event.reporting_component.as_deref().unwrap_or_default() {
        "" => errors.required(&controller, ""),
        name => errors.invalid_each(&controller, name, names::qualified_name(name)),
    }
    for (field, value, max) in [
        ("reportingInstance", &event.reporting_instance, REPORTING_INSTANCE_BYTES_MAX),
        ("action", &event.action, ACTION_BYTES_MAX),
        ("reason", &event.reason, REASON_BYTES_MAX),
    ] {
        let path = Path::root(field);
        match value.as_deref().unwrap_or_default() {
            "" => errors.required(&path, ""),
            value if value.len() > max => {
                errors.invalid(&path, "", &format!("can have at most {max} characters"));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(value: Value) -> Event {
        crate::decode::decode(value).unwrap().0
    }

    #[test]
    fn the_row_is_kubectls() {
        let object = event(json!({"metadata": {"name": "e"}, "type": "Normal", "reason": "Pulled", "message": " ok\n",
            "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "kubelet", "host": "n"},
            "firstTimestamp": "2024-01-01T00:00:00Z", "lastTimestamp": "2024-01-01T00:01:00Z", "count": 3}));
        let row = Events::row(&object, "2024-01-01T00:01:30Z".parse().unwrap());
        let expected = json!(["30s", "Normal", "Pulled", "pod/p", "", "kubelet, n", "ok", "90s", 3, "e"]);
        assert_eq!(Value::from(row), expected);
    }

    #[test]
    fn the_namespace_is_that_of_the_object() {
        let object = |namespace: &str, about: &str| {
            event(json!({"metadata": {"namespace": namespace}, "involvedObject": {"namespace": about}}))
        };
        assert!(Events::validate(&object("a", "a")).is_empty());
        assert!(Events::validate(&object("default", "")).is_empty());
        for errors in [Events::validate(&object("a", "b")), Events::validate(&object("a", ""))] {
            assert_eq!(errors[0].field, "involvedObject.namespace");
        }
        let timed = event(json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"},
            "eventTime": "2024-01-01T00:00:00.000000Z"}));
        assert_eq!(Events::validate(&timed).len(), 4);
    }
}
