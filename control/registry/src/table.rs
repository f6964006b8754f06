//! Cells and columns that kinds share.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::Value;

use crate::selector::LabelSelector;
use crate::strategy::{Cell, Column, ColumnType};

/// The first column of every table.
pub const NAME: Column = Column {
    name: Cow::Borrowed("Name"),
    kind: ColumnType::String,
    format: Cow::Borrowed("name"),
    description: Cow::Borrowed("Unique in its scope."),
    priority: 0,
};
/// Time since creation.
pub(crate) const AGE: Column = text("Age", "Time since the object was created.");
/// The table of kinds that have nothing to add.
pub(crate) const NAME_AND_AGE: &[Column] = &[NAME, AGE];

/// A column of strings that is always shown.
#[must_use]
pub const fn text(name: &'static str, description: &'static str) -> Column {
    column(name, ColumnType::String, description, 0)
}

/// A column of strings that is shown with `-o wide`.
pub(crate) const fn wide(name: &'static str, description: &'static str) -> Column {
    column(name, ColumnType::String, description, 1)
}

/// A column of numbers that is always shown.
pub(crate) const fn number(name: &'static str, description: &'static str) -> Column {
    column(name, ColumnType::Integer, description, 0)
}

/// A column.
pub(crate) const fn column(name: &'static str, kind: ColumnType, description: &'static str, priority: i32) -> Column {
    let (name, description) = (Cow::Borrowed(name), Cow::Borrowed(description));
    Column { name, kind, format: Cow::Borrowed(""), description, priority }
}

/// A column of flags that is always shown.
pub(crate) const fn boolean(name: &'static str, description: &'static str) -> Column {
    column(name, ColumnType::Boolean, description, 0)
}

/// The name cell.
pub(crate) fn name(meta: &ObjectMeta) -> Cell {
    Value::from(meta.name.as_deref().unwrap_or_default())
}

/// The age cell.
pub(crate) fn age(meta: &ObjectMeta, now: Timestamp) -> Cell {
    Value::from(since(meta.creation_timestamp.as_ref(), now))
}

/// The time since an instant, or `<unknown>`.
pub(crate) fn since(time: Option<&Time>, now: Timestamp) -> String {
    time.map_or_else(|| "<unknown>".to_owned(), |time| human_duration(now.as_second() - time.0.as_second()))
}

/// A string cell, `<none>` where there is nothing to show.
pub(crate) fn or_none(value: Option<&str>) -> Cell {
    Value::from(value.filter(|v| !v.is_empty()).unwrap_or("<none>"))
}

/// A string cell, `<unset>` where there is nothing to show.
pub(crate) fn or_unset(value: Option<&str>) -> Cell {
    Value::from(value.unwrap_or("<unset>"))
}

/// Labels as a string, `<none>` where there are none.
pub(crate) fn labels_text(labels: Option<&BTreeMap<String, String>>) -> String {
    match labels {
        Some(labels) if !labels.is_empty() => LabelSelector::from_labels(labels).to_string(),
        _ => "<none>".to_owned(),
    }
}

/// A cell of labels.
pub(crate) fn labels(labels: Option<&BTreeMap<String, String>>) -> Cell {
    Value::from(labels_text(labels))
}

/// A cell of a flag, `<unset>` where it is not there.
pub(crate) fn flag(value: Option<bool>) -> Cell {
    Value::from(match value {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    })
}

/// A duration in seconds with two or three significant digits, as `kubectl` prints ages: `45s`, `3m20s`, `5h`, `2d4h`.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    fn two(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
        if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
    }
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        i64::MIN..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, "y", days % 365, "d"),
        252_288_000.. => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectl_prints_them() {
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human_duration(seconds), text);
        }
    }
}
