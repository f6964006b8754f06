//! Printer columns: what `kubectl get` shows of custom objects.

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as api;
use serde_json::Value;
use skep_registry::{Cell, Column, ColumnType};

use crate::jsonpath::JsonPath;
use crate::strategy::column_type;

/// The columns of a version, and how their cells are made; the name's is not among the latter.
pub(crate) fn columns(given: &[api::CustomResourceColumnDefinition]) -> (Vec<Column>, Vec<(Option<JsonPath>, String)>) {
    let mut columns = vec![Column {
        name: "Name".into(),
        kind: ColumnType::String,
        format: "name".into(),
        description: "Unique in its scope.".into(),
        priority: 0,
    }];
    let mut cells = Vec::new();
    if given.is_empty() {
        columns.push(Column {
            name: "Age".into(),
            kind: ColumnType::Date,
            format: "".into(),
            description: "Time since the object was created.".into(),
            priority: 0,
        });
        cells.push((JsonPath::parse(".metadata.creationTimestamp"), "date".to_owned()));
    }
    for column in given {
        let described = column.description.clone().filter(|text| !text.is_empty());
        let description = described
            .unwrap_or_else(|| format!("Custom resource definition column (in JSONPath format): {}", column.json_path));
        columns.push(Column {
            name: column.name.clone().into(),
            kind: column_type(&column.type_),
            format: column.format.clone().unwrap_or_default().into(),
            description: description.into(),
            priority: column.priority.unwrap_or(0),
        });
        cells.push((JsonPath::parse(&column.json_path), column.type_.clone()));
    }
    (columns, cells)
}

/// A cell of a column's kind; null where the value does not suit it.
pub(crate) fn cell(kind: &str, value: &Value, now: Timestamp) -> Cell {
    match (kind, value) {
        (_, Value::Null) => Value::Null,
        ("string", value) => Value::from(text(value)),
        ("integer", Value::Number(number)) => {
            // Whole numbers that were written with a fraction are cut, as upstream does.
            let whole = number.as_i64().or_else(|| number.as_f64().map(|number| number as i64));
            whole.map_or(Value::Null, Value::from)
        }
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(time) => Value::from(skep_registry::human_duration(now.as_second() - time.as_second())),
            Err(_) => Value::from("<invalid>"),
        },
        _ => Value::Null,
    }
}

/// A value as people read it: strings as they are, everything else as JSON.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_suit_their_columns() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(cell("string", &json!(3), now), json!("3"));
        assert_eq!(cell("integer", &json!(3.7), now), json!(3));
        assert_eq!(cell("integer", &json!("3"), now), json!(null));
        assert_eq!(cell("boolean", &json!(true), now), json!(true));
        assert_eq!(cell("date", &json!("1969-12-31T23:59:00Z"), now), json!("60s"));
        assert_eq!(cell("date", &json!("yesterday"), now), json!("<invalid>"));
    }
}
