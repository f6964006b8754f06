//! One step of a path into an object.

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Number, Value};

/// A value that identifies an item of a list, with an order: numbers, strings, booleans, lists, maps, null. Numbers are
/// equal if they stand for the same number, however they are written.
#[derive(Clone, Debug)]
pub struct Scalar(pub Value);

impl Ord for Scalar {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.0, &other.0)
    }
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scalar {}

fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => numbers(a, b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let differs = a.iter().zip(b).map(|(a, b)| order(a, b)).find(|o| o.is_ne());
            differs.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => maps(a, b),
        _ => rank(a).cmp(&rank(b)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

fn numbers(a: &Number, b: &Number) -> Ordering {
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
        return a.cmp(&b);
    }
    if let (Some(a), Some(b)) = (a.as_u64(), b.as_u64()) {
        return a.cmp(&b);
    }
    a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0))
}

fn maps(a: &Map<String, Value>, b: &Map<String, Value>) -> Ordering {
    let sorted = |map: &Map<String, Value>| {
        let mut keys: Vec<String> = map.keys().cloned().collect();
        keys.sort();
        keys
    };
    let (left, right) = (sorted(a), sorted(b));
    for (l, r) in left.iter().zip(&right) {
        let here = l.cmp(r).then_with(|| order(&a[l], &b[r]));
        if here.is_ne() {
            return here;
        }
    }
    left.len().cmp(&right.len())
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Value::String(text) => write!(f, "{text:?}"),
            other => write!(f, "{other}"),
        }
    }
}

/// One step of a path. The order is that in which managed fields are written: names, keys, values, indexes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A field of a struct or a key of a map: `f:name`.
    Field(Box<str>),
    /// The item of a keyed list that has these values, sorted by name: `k:{"name":"a"}`.
    Key(Box<[(Box<str>, Scalar)]>),
    /// An item of a set: `v:"a"`.
    Value(Scalar),
    /// An item by its place: `i:0`.
    Index(i64),
}

/// A key of managed fields that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElementError {
    /// Shorter than `x:`, or without the colon.
    #[error("missing colon: {0}")]
    NoColon(String),
    /// What stands after the colon is not what the letter announces.
    #[error("{element}: {why}")]
    Malformed {
        /// The whole element.
        element: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Element {
    /// The step to a field.
    #[must_use]
    pub fn field(name: &str) -> Self {
        Self::Field(name.into())
    }

    /// Reads a key of managed fields; `None` is of a sort that later versions may know.
    ///
    /// # Errors
    /// A malformed key.
    pub fn parse(text: &str) -> Result<Option<Self>, ElementError> {
        let malformed = |why: String| ElementError::Malformed { element: text.to_owned(), why };
        let Some((sort, rest)) = text.split_once(':').filter(|(sort, _)| sort.len() == 1) else {
            return Err(ElementError::NoColon(text.to_owned()));
        };
        Ok(Some(match sort {
            "f" => Self::field(rest),
            "v" => Self::Value(Scalar(serde_json::from_str(rest).map_err(|e| malformed(e.to_string()))?)),
            "i" => Self::Index(rest.parse().map_err(|_| malformed("not a number".to_owned()))?),
            "k" => {
                let fields: Map<String, Value> =
                    serde_json::from_str(rest).map_err(|error| malformed(error.to_string()))?;
                Self::key(fields.into_iter().map(|(name, value)| (name.into(), Scalar(value))).collect())
            }
            _ => return Ok(None),
        }))
    }

    /// The step to an item of a keyed list.
    #[must_use]
    pub fn key(mut fields: Vec<(Box<str>, Scalar)>) -> Self {
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Self::Key(fields.into())
    }

    /// As it stands in managed fields.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(fields) => {
                let map: Map<String, Value> = fields.iter().map(|(n, v)| (n.to_string(), v.0.clone())).collect();
                format!("k:{}", Value::Object(map))
            }
            Self::Value(value) => format!("v:{}", value.0),
            Self::Index(index) => format!("i:{index}"),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(fields) => {
                f.write_str("[")?;
                for (i, (name, value)) in fields.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(f, "{comma}{name}={value}")?;
                }
                f.write_str("]")
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A path in the words of upstream: `.spec.containers[name="a"].image`.
#[must_use]
pub fn path_text(path: &[Element]) -> String {
    path.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn elements_are_written_as_they_are_read() {
        for text in ["f:name", "f:a.b/c:d", "f:", "v:\"a\"", "v:1", "v:null", "i:0", "i:-1", "k:{\"a\":1,\"b\":\"c\"}"]
        {
            assert_eq!(Element::parse(text).unwrap().unwrap().encode(), text);
        }
        assert_eq!(Element::parse("x:new").unwrap(), None);
        for text in ["", "f", "name", "v:", "k:[]", "i:one", "long:x"] {
            assert!(Element::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_read_as_upstreams() {
        let path = [
            Element::field("spec"),
            Element::parse("k:{\"protocol\":\"TCP\",\"containerPort\":80}").unwrap().unwrap(),
            Element::Value(Scalar(json!("a"))),
            Element::Index(3),
        ];
        assert_eq!(path_text(&path), ".spec[containerPort=80,protocol=\"TCP\"][=\"a\"][3]");
    }

    #[test]
    fn one_is_one_however_it_is_written() {
        assert_eq!(Scalar(json!(1)), Scalar(json!(1.0)));
        assert_ne!(Scalar(json!(1)), Scalar(json!("1")));
        assert!(Scalar(json!(2)) > Scalar(json!(1.5)));
    }
}
