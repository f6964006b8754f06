//! JSON and YAML to a tree, noting the fields that stand in an object twice; the later one counts.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// More duplicates than this are not told apart.
const DUPLICATES_MAX: usize = 100;

pub(super) fn from_json(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    let duplicates = RefCell::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Node { place: None, duplicates: &duplicates }
        .deserialize(&mut deserializer)
        .map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok((value, duplicates.into_inner()))
}

/// The YAML parser refuses duplicates itself.
pub(super) fn from_yaml(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    let value = serde_saphyr::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok((value, Vec::new()))
}

/// Where in the tree the parser is.
struct Node<'a> {
    place: Option<&'a Place<'a>>,
    duplicates: &'a RefCell<Vec<String>>,
}

/// A step below another place. Its text is made where somebody is told.
struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_none() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Item(index) => write!(f, "[{index}]"),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let place = Place { parent: self.place, step: Step::Item(items.len()) };
            let node = Node { place: Some(&place), duplicates: self.duplicates };
            match seq.next_element_seed(node)? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let place = Place { parent: self.place, step: Step::Field(&key) };
            if fields.contains_key(&key) && self.duplicates.borrow().len() < DUPLICATES_MAX {
                self.duplicates.borrow_mut().push(place.to_string());
            }
            let value = map.next_value_seed(Node { place: Some(&place), duplicates: self.duplicates })?;
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in "[ -~\\n]{0,80}") {
            for body in [bytes.as_slice(), text.as_bytes()] {
                let _ = from_yaml(body);
                if let Ok((value, duplicates)) = from_json(body) {
                    let again = serde_json::to_vec(&value).unwrap();
                    prop_assert_eq!(from_json(&again).unwrap(), (value, Vec::new()));
                    prop_assert!(duplicates.len() <= DUPLICATES_MAX);
                }
            }
        }
    }

    #[test]
    fn duplicates_are_named_and_the_later_one_counts() {
        let (value, duplicates) = from_json(br#"{"a":{"b":[{"c":1,"c":2}]}}"#).unwrap();
        assert_eq!(value, json!({"a": {"b": [{"c": 2}]}}));
        assert_eq!(duplicates, ["a.b[0].c"]);
    }

    #[test]
    fn nothing_may_follow_the_value() {
        assert!(from_json(b"{} {}").is_err());
        assert!(from_json(b"").is_err());
        assert!(from_json(&b"[".repeat(100_000)).is_err());
    }

    #[test]
    fn yaml_is_read_as_json_is() {
        let (value, _) = from_yaml(b"a: 1\nb: [true, ~, \"1\"]\n").unwrap();
        assert_eq!(value, json!({"a": 1, "b": [true, null, "1"]}));
    }
}
