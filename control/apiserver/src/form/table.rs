//! `meta.k8s.io/v1` tables, for people who read them in a terminal.

use jiff::Timestamp;
use serde_json::{Value, json};
use skep_registry::ColumnType;

use super::metadata;
use crate::object::Cached;
use crate::query::Query;
use crate::served::Served;
use crate::status::ApiError;

/// What of the object itself a row carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    Metadata,
    Object,
    None,
}

impl Include {
    pub(crate) fn of(query: &Query) -> Result<Self, ApiError> {
        match query.get("includeObject") {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("Object") => Ok(Self::Object),
            Some("None") => Ok(Self::None),
            Some(other) => Err(ApiError::bad_request(format!("unrecognized includeObject value: \"{other}\""))),
        }
    }
}

/// A table without rows; `rows` is its last field.
pub(super) fn head(served: &Served, meta: &Value) -> Value {
    let columns: Vec<Value> = served
        .strategy
        .columns()
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "type": match column.kind {
                    ColumnType::String => "string",
                    ColumnType::Integer => "integer",
                    ColumnType::Date => "date",
                    ColumnType::Boolean => "boolean",
                    ColumnType::Number => "number",
                },
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            })
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": columns,
        "rows": [],
    })
}

pub(super) fn row(served: &Served, object: &Cached, include: Include, now: Timestamp) -> Value {
    let cells = object.decode(served).map(|decoded| served.strategy.row(&*decoded, now)).unwrap_or_default();
    let mut row = json!({"cells": cells});
    match include {
        Include::Metadata => row["object"] = metadata(object),
        Include::Object => row["object"] = object.value(),
        Include::None => {}
    }
    row
}
