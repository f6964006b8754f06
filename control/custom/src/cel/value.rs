//! Values of expressions: JSON with its schema as it is, and what is made of it.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use skep_registry::Quantity;

use super::ANY;
use super::library::{Semver, Url};
use crate::structural::Structural;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(Cow<'a, str>),
    Bytes(Rc<[u8]>),
    /// An object or an array.
    Json(&'a Value, &'a Structural),
    List(Rc<Vec<Val<'a>>>),
    Map(Rc<Vec<(Val<'a>, Val<'a>)>>),
    Duration(SignedDuration),
    Time(Timestamp),
    Optional(Option<Rc<Val<'a>>>),
    Type(&'static str),
    Quantity(Quantity),
    Ip(IpAddr),
    Cidr(IpAddr, u8),
    Url(Rc<Url>),
    Semver(Rc<Semver>),
    /// A named string format.
    Format(Rc<str>),
}

impl<'a> Val<'a> {
    /// A JSON value by its schema.
    pub(super) fn of(value: &'a Value, schema: &'a Structural) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match (schema.kind.as_str(), number.as_i64()) {
                ("number", _) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
                (_, Some(whole)) => Self::Int(whole),
                ("integer", None) => {
                    // A whole number that is written with a fraction.
                    let whole = number.as_f64().unwrap_or(f64::NAN) as i64;
                    Self::Int(whole)
                }
                (_, None) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => match schema.checks.format.as_str() {
                "date-time" => text.parse().map_or(Self::Text(Cow::Borrowed(text)), Self::Time),
                "date" => format!("{text}T00:00:00Z").parse().map_or(Self::Text(Cow::Borrowed(text)), Self::Time),
                "duration" => super::text::duration(text).map_or(Self::Text(Cow::Borrowed(text)), Self::Duration),
                "byte" => super::text::base64(text).map_or(Self::Text(Cow::Borrowed(text)), |b| Self::Bytes(b.into())),
                _ => Self::Text(Cow::Borrowed(text)),
            },
            Value::Array(_) | Value::Object(_) => Self::Json(value, schema),
        }
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(Cow::Owned(text.into()))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(items))
    }

    pub(super) fn some(value: Self) -> Self {
        Self::Optional(Some(Rc::new(value)))
    }

    /// As the language calls it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::UInt(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Json(Value::Array(_), _) | Self::List(_) => "list",
            Self::Json(..) | Self::Map(_) => "map",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Time(_) => "google.protobuf.Timestamp",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Ip(_) => "net.IP",
            Self::Cidr(..) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
        }
    }

    /// The elements of a list.
    pub(super) fn items(&self) -> Option<Vec<Val<'a>>> {
        match self {
            Self::List(items) => Some(items.as_ref().clone()),
            Self::Json(Value::Array(items), schema) => {
                let schema: &'a Structural = schema.items.as_deref().unwrap_or(&ANY);
                Some(items.iter().map(|item| Self::of(item, schema)).collect())
            }
            _ => None,
        }
    }

    /// Keys and values of a map.
    pub(super) fn entries(&self) -> Option<Vec<(Val<'a>, Val<'a>)>> {
        match self {
            Self::Map(entries) => Some(entries.as_ref().clone()),
            Self::Json(Value::Object(fields), schema) => {
                let entry = |(key, value): (&'a String, &'a Value)| {
                    let key_text = match schema.properties.contains_key(key) {
                        true => Cow::Owned(escape(key)),
                        false => Cow::Borrowed(key.as_str()),
                    };
                    (Self::Text(key_text), Self::of(value, child(schema, key)))
                };
                Some(fields.iter().map(entry).collect())
            }
            _ => None,
        }
    }

    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.chars().count()),
            Self::Bytes(bytes) => Some(bytes.len()),
            Self::List(items) => Some(items.len()),
            Self::Map(entries) => Some(entries.len()),
            Self::Json(Value::Array(items), _) => Some(items.len()),
            Self::Json(Value::Object(fields), _) => Some(fields.len()),
            _ => None,
        }
    }

    /// The field or the key's value, where it is there.
    pub(super) fn field(&self, name: &str) -> Option<Val<'a>> {
        match self {
            Self::Json(Value::Object(fields), schema) => {
                let plain = unescape(name);
                let key = if schema.properties.contains_key(&*plain) { &*plain } else { name };
                fields.get(key).map(|value| Self::of(value, child(schema, key)))
            }
            Self::Map(_) => self.key(&Val::text(name)),
            _ => None,
        }
    }

    /// The value of a key.
    pub(super) fn key(&self, key: &Val<'_>) -> Option<Val<'a>> {
        match (self, key) {
            (Self::Json(Value::Object(fields), schema), Val::Text(key)) => {
                fields.get(&**key).map(|value| Self::of(value, child(schema, key)))
            }
            (Self::Map(entries), key) => {
                entries.iter().find(|(other, _)| other.equals(key)).map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    pub(super) fn equals(&self, other: &Val<'_>) -> bool {
        use Val::{
            Bool, Bytes, Cidr, Double, Duration, Format, Int, Ip, Null, Optional, Semver, Text, Time, Type, UInt, Url,
        };
        match (self, other) {
            (Null, Null) => true,
            (Bool(a), Bool(b)) => a == b,
            (Text(a), Text(b)) => a == b,
            (Bytes(a), Bytes(b)) => a == b,
            (Int(_) | UInt(_) | Double(_), Int(_) | UInt(_) | Double(_)) => {
                self.compare(other).is_some_and(Ordering::is_eq)
            }
            (Duration(a), Duration(b)) => a == b,
            (Time(a), Time(b)) => a == b,
            (Type(a), Type(b)) => a == b,
            (Val::Quantity(a), Val::Quantity(b)) => a == b,
            (Ip(a), Ip(b)) => a == b,
            (Cidr(a, m), Cidr(b, n)) => a == b && m == n,
            (Url(a), Url(b)) => a == b,
            (Semver(a), Semver(b)) => a == b,
            (Format(a), Format(b)) => a == b,
            (Optional(a), Optional(b)) => match (a, b) {
                (None, None) => true,
                (Some(a), Some(b)) => a.equals(b),
                _ => false,
            },
            _ => self.same_items(other).or_else(|| self.same_entries(other)).unwrap_or(false),
        }
    }

    fn same_items(&self, other: &Val<'_>) -> Option<bool> {
        let (a, b) = (self.items()?, other.items()?);
        if a.len() != b.len() {
            return Some(false);
        }
        // Sets and maps know no order.
        let unordered = |val: &Val<'_>| match val {
            Val::Json(_, schema) => matches!(schema.list_type.as_deref(), Some("set" | "map")),
            _ => false,
        };
        if unordered(self) && unordered(other) {
            return Some(a.iter().all(|item| b.iter().any(|other| item.equals(other))));
        }
        Some(a.iter().zip(&b).all(|(a, b)| a.equals(b)))
    }

    fn same_entries(&self, other: &Val<'_>) -> Option<bool> {
        let a = self.entries()?;
        let count = other.entries()?.len();
        let same = |(key, value): &(Val<'a>, Val<'a>)| {
            let found = match (key, other) {
                (Val::Text(key), Val::Json(..)) => other.field(key),
                _ => other.key(key),
            };
            found.is_some_and(|found| value.equals(&found))
        };
        Some(a.len() == count && a.iter().all(same))
    }

    /// The order of two values that have one.
    pub(super) fn compare(&self, other: &Val<'_>) -> Option<Ordering> {
        use Val::{Bool, Bytes, Double, Duration, Int, Text, Time, UInt};
        // A comparison of a large whole number with a fraction may be off by what a double cannot hold.
        match (self, other) {
            (Bool(a), Bool(b)) => Some(a.cmp(b)),
            (Int(a), Int(b)) => Some(a.cmp(b)),
            (UInt(a), UInt(b)) => Some(a.cmp(b)),
            (Int(a), UInt(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (UInt(a), Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Double(a), Double(b)) => a.partial_cmp(b),
            (Int(a), Double(b)) => (*a as f64).partial_cmp(b),
            (Double(a), Int(b)) => a.partial_cmp(&(*b as f64)),
            (UInt(a), Double(b)) => (*a as f64).partial_cmp(b),
            (Double(a), UInt(b)) => a.partial_cmp(&(*b as f64)),
            (Text(a), Text(b)) => Some(a.cmp(b)),
            (Bytes(a), Bytes(b)) => Some(a.cmp(b)),
            (Duration(a), Duration(b)) => Some(a.cmp(b)),
            (Time(a), Time(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

fn child<'a>(schema: &'a Structural, key: &str) -> &'a Structural {
    schema.child(key).0.unwrap_or(&ANY)
}

/// Words that are no names in the language.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A property's name as expressions write it.
pub(super) fn escape(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__").replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__")
}

/// A property's name from the form that expressions write.
pub(super) fn unescape(name: &str) -> Cow<'_, str> {
    if !name.contains("__") {
        return Cow::Borrowed(name);
    }
    if let Some(word) = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"))
        && RESERVED.contains(&word)
    {
        return Cow::Owned(word.to_owned());
    }
    let plain = name.replace("__dot__", ".").replace("__dash__", "-").replace("__slash__", "/");
    Cow::Owned(plain.replace("__underscores__", "__"))
}
