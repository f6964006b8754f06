//! Event as `events.k8s.io/v1` has it: a view of the core Event.

use jiff::Timestamp;
use k8s_openapi::api::{core, events};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::Events;
use crate::field::{Errors, Path};
use crate::kind::{Kind, View};
use crate::strategy::{Cell, Column, FieldError};

const NOTE_BYTES_MAX: usize = 1024;
const UNSET: &str = "needs to be unset";

/// The names of fields here and in the stored form.
const RENAMED: [(&str, &str); 8] = [
    ("regarding.kind", "involvedObject.kind"),
    ("regarding.namespace", "involvedObject.namespace"),
    ("regarding.name", "involvedObject.name"),
    ("regarding.uid", "involvedObject.uid"),
    ("regarding.apiVersion", "involvedObject.apiVersion"),
    ("regarding.resourceVersion", "involvedObject.resourceVersion"),
    ("regarding.fieldPath", "involvedObject.fieldPath"),
    ("reportingController", "reportingComponent"),
];

/// Events of the group of their own.
pub(crate) struct EventsView;

impl Kind for EventsView {
    type Object = events::v1::Event;

    const SINGULAR: &'static str = Events::SINGULAR;
    const SHORT_NAMES: &'static [&'static str] = Events::SHORT_NAMES;
    const COLUMNS: &'static [Column] = Events::COLUMNS;
    const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "metadata.namespace",
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
        "reason",
        "reportingController",
        "type",
    ];

    fn validate(object: &events::v1::Event) -> Vec<FieldError> {
        let mut errors = Errors::new();
        if object.event_time.is_none() {
            errors.required(&Path::root("eventTime"), "");
        }
        let kind = object.type_.as_deref().unwrap_or_default();
        if !matches!(kind, "Normal" | "Warning") {
            errors.invalid(&Path::root("type"), "", &format!("has invalid value: {kind}"));
        }
        if object.note.as_ref().is_some_and(|note| note.len() > NOTE_BYTES_MAX) {
            errors.invalid(&Path::root("message"), "", &format!("can have at most {NOTE_BYTES_MAX} characters"));
        }
        for (field, is_set) in [
            ("firstTimestamp", object.deprecated_first_timestamp.is_some()),
            ("lastTimestamp", object.deprecated_last_timestamp.is_some()),
            ("count", object.deprecated_count.unwrap_or(0) != 0),
            ("source", object.deprecated_source.as_ref().is_some_and(|source| *source != Default::default())),
        ] {
            if is_set {
                errors.invalid(&Path::root(field), "", UNSET);
            }
        }
        validate_series(&mut errors, object);
        errors.into_vec()
    }

    fn validate_update(new: &events::v1::Event, old: &events::v1::Event) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.immutable(&Path::root("involvedObject"), &new.regarding, &old.regarding);
        for (field, new, old) in [
            ("reason", &new.reason, &old.reason),
            ("message", &new.note, &old.note),
            ("reportingController", &new.reporting_controller, &old.reporting_controller),
            ("reportingInstance", &new.reporting_instance, &old.reporting_instance),
            ("action", &new.action, &old.action),
            ("type", &new.type_, &old.type_),
        ] {
            errors.immutable(&Path::root(field), new, old);
        }
        errors.immutable(&Path::root("eventTime"), &new.event_time, &old.event_time);
        validate_series(&mut errors, new);
        errors.into_vec()
    }

    fn row(object: &events::v1::Event, now: Timestamp) -> Vec<Cell> {
        Events::row(&Self::to_stored(object.clone()), now)
    }

    fn fields(object: &events::v1::Event) -> Vec<(&'static str, String)> {
        let stored = Events::fields(&Self::to_stored(object.clone()));
        let here = |name: &'static str| RENAMED.iter().find(|(_, there)| *there == name).map_or(name, |(here, _)| here);
        stored.into_iter().map(|(name, value)| (here(name), value)).filter(|(name, _)| *name != "source").collect()
    }
}

fn validate_series(errors: &mut Errors, object: &events::v1::Event) {
    let Some(series) = &object.series else { return };
    if series.count < 2 {
        errors.invalid(&Path::root("series.count"), "", "should be at least 2");
    }
    if series.last_observed_time.0 == Timestamp::UNIX_EPOCH {
        errors.required(&Path::root("series.lastObservedTime"), "");
    }
}

impl View for EventsView {
    type Stored = Events;

    fn to_stored(view: events::v1::Event) -> core::v1::Event {
        core::v1::Event {
            action: view.action,
            count: view.deprecated_count,
            event_time: view.event_time,
            first_timestamp: view.deprecated_first_timestamp,
            involved_object: view.regarding.unwrap_or_default(),
            last_timestamp: view.deprecated_last_timestamp,
            message: view.note,
            metadata: view.metadata,
            reason: view.reason,
            related: view.related,
            reporting_component: view.reporting_controller,
            reporting_instance: view.reporting_instance,
            series: view.series.map(|series| core::v1::EventSeries {
                count: Some(series.count),
                last_observed_time: Some(series.last_observed_time),
            }),
            source: view.deprecated_source,
            type_: view.type_,
        }
    }

    fn from_stored(stored: core::v1::Event) -> events::v1::Event {
        let about = stored.involved_object;
        events::v1::Event {
            action: stored.action,
            deprecated_count: stored.count,
            deprecated_first_timestamp: stored.first_timestamp,
            deprecated_last_timestamp: stored.last_timestamp,
            deprecated_source: stored.source,
            event_time: stored.event_time,
            metadata: stored.metadata,
            note: stored.message,
            reason: stored.reason,
            regarding: (about != Default::default()).then_some(about),
            related: stored.related,
            reporting_controller: stored.reporting_component,
            reporting_instance: stored.reporting_instance,
            series: stored.series.map(|series| events::v1::EventSeries {
                count: series.count.unwrap_or(0),
                last_observed_time: series.last_observed_time.unwrap_or(MicroTime(Timestamp::UNIX_EPOCH)),
            }),
            type_: stored.type_,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let value = json!({"metadata": {"name": "e", "namespace": "n"}, "type": "Normal", "reason": "R", "message": "m",
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "n"}, "eventTime": "2024-01-01T00:00:00.000000Z",
            "reportingComponent": "c", "reportingInstance": "i", "action": "a",
            "series": {"count": 2, "lastObservedTime": "2024-01-01T00:00:01.000000Z"}});
        let stored: core::v1::Event = crate::decode::decode(value).unwrap().0;
        let view = EventsView::from_stored(stored.clone());
        assert!(EventsView::validate(&view).is_empty());
        assert!(EventsView::fields(&view).contains(&("regarding.name", "p".to_owned())));
        assert_eq!(EventsView::to_stored(view), stored);
    }

    #[test]
    fn the_newer_form_is_stricter() {
        let value = json!({"metadata": {"name": "e"}, "type": "x", "deprecatedCount": 1, "series": {"count": 1, "lastObservedTime": "1970-01-01T00:00:00Z"}});
        let event: events::v1::Event = crate::decode::decode(value).unwrap().0;
        let text: Vec<String> =
            EventsView::validate(&event).iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
        assert_eq!(
            text,
            [
                "eventTime: Required value",
                "type: Invalid value: \"\": has invalid value: x",
                "count: Invalid value: \"\": needs to be unset",
                "series.count: Invalid value: \"\": should be at least 2",
                "series.lastObservedTime: Required value",
            ]
        );
    }
}
