//! JSON paths, as printer columns and field selectors have them: `.spec.size`, `.status.conditions[?(@.type=="Ready")].status`.

use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Index(i64),
    All,
    /// What is anywhere below.
    Below,
    Slice(Option<i64>, Option<i64>),
    /// Elements of which a path compares to a literal.
    Filter {
        path: JsonPath,
        operator: Operator,
        literal: Value,
    },
    /// Elements that have a path.
    Has(JsonPath),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// `None` where the path cannot be read.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let chars: Vec<char> = text.trim().chars().collect();
        let mut at = usize::from(matches!(chars.first(), Some('$' | '@')));
        let mut steps = Vec::new();
        while at < chars.len() {
            match chars[at] {
                '.' if chars.get(at + 1) == Some(&'.') => {
                    steps.push(Step::Below);
                    at += 1;
                }
                '.' => {
                    let (key, next) = word(&chars, at + 1);
                    match key.as_str() {
                        "" => {}
                        "*" => steps.push(Step::All),
                        _ => steps.push(Step::Key(key)),
                    }
                    at = next;
                }
                '[' => {
                    let end = closing(&chars, at)?;
                    let inner: String = chars[at + 1..end].iter().collect();
                    steps.push(bracket(inner.trim())?);
                    at = end + 1;
                }
                _ => return None,
            }
        }
        Some(Self(steps))
    }

    /// What is there, in order.
    pub(crate) fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.of(value)).collect();
        }
        found
    }
}

/// A name up to the next `.` or `[`; a backslash takes the next character as it is.
fn word(chars: &[char], mut at: usize) -> (String, usize) {
    let mut word = String::new();
    while let Some(c) = chars.get(at) {
        match c {
            '.' | '[' => break,
            '\\' => {
                at += 1;
                word.extend(chars.get(at));
            }
            c => word.push(*c),
        }
        at += 1;
    }
    (word, at)
}

/// The bracket that closes the one at a place; quotes hide brackets.
fn closing(chars: &[char], open: usize) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    let mut at = open;
    while let Some(c) = chars.get(at) {
        match (quote, c) {
            (Some(_), '\\') => at += 1,
            (Some(q), c) if q == *c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(*c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            (None, _) => {}
        }
        at += 1;
    }
    None
}

fn bracket(inner: &str) -> Option<Step> {
    if inner == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return self::filter(filter.trim());
    }
    if let Some(Value::String(key)) = literal(inner) {
        return Some(Step::Key(key));
    }
    if let Some((from, to)) = inner.split_once(':') {
        let bound = |text: &str| match text.trim() {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        };
        return Some(Step::Slice(bound(from)?, bound(to)?));
    }
    inner.parse().ok().map(Step::Index)
}

fn filter(text: &str) -> Option<Step> {
    let operators = [
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ];
    for (sign, operator) in operators {
        if let Some((path, value)) = text.split_once(sign) {
            return Some(Step::Filter { path: JsonPath::parse(path)?, operator, literal: literal(value.trim())? });
        }
    }
    JsonPath::parse(text).map(Step::Has)
}

fn literal(text: &str) -> Option<Value> {
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return Some(Value::from(inner.replace(&format!("\\{quote}"), &quote.to_string())));
        }
    }
    serde_json::from_str(text).ok()
}

impl Step {
    fn of<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let elements = |value: &'a Value| -> Vec<&'a Value> {
            match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(fields) => fields.values().collect(),
                _ => Vec::new(),
            }
        };
        match self {
            Self::Key(key) => value.get(key).into_iter().collect(),
            Self::Index(index) => {
                let Some(items) = value.as_array() else { return Vec::new() };
                place(*index, items.len()).and_then(|index| items.get(index)).into_iter().collect()
            }
            Self::All => elements(value),
            Self::Below => {
                let mut all = vec![value];
                let mut at = 0;
                while let Some(value) = all.get(at).copied() {
                    all.extend(elements(value));
                    at += 1;
                }
                all
            }
            Self::Slice(from, to) => {
                let Some(items) = value.as_array() else { return Vec::new() };
                let from = from.map_or(Some(0), |from| place(from, items.len())).unwrap_or(items.len());
                let to = to.map_or(Some(items.len()), |to| place(to, items.len())).unwrap_or(0).min(items.len());
                items.get(from..to).unwrap_or_default().iter().collect()
            }
            Self::Filter { path, operator, literal } => {
                let holds = |value: &&Value| path.find(value).first().is_some_and(|v| operator.holds(v, literal));
                elements(value).into_iter().filter(holds).collect()
            }
            Self::Has(path) => elements(value).into_iter().filter(|value| !path.find(value).is_empty()).collect(),
        }
    }
}

/// An index that may count from the end.
fn place(index: i64, len: usize) -> Option<usize> {
    match usize::try_from(index) {
        Ok(index) => Some(index),
        Err(_) => len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?),
    }
}

impl Operator {
    fn holds(self, value: &Value, literal: &Value) -> bool {
        let order = match (value, literal) {
            (Value::String(a), Value::String(b)) => a.partial_cmp(b),
            _ => value.as_f64().zip(literal.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)),
        };
        match self {
            Self::Equal => value == literal || order.is_some_and(|order| order.is_eq()),
            Self::NotEqual => value != literal && !order.is_some_and(|order| order.is_eq()),
            Self::Less => order.is_some_and(|order| order.is_lt()),
            Self::LessOrEqual => order.is_some_and(|order| order.is_le()),
            Self::Greater => order.is_some_and(|order| order.is_gt()),
            Self::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find_what_is_there() {
        let object = json!({
            "metadata": {"annotations": {"example.com/a": "b"}},
            "spec": {"list": [1, 2, 3]},
            "status": {"conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        let find =
            |path: &str| -> Vec<Value> { JsonPath::parse(path).unwrap().find(&object).into_iter().cloned().collect() };
        assert_eq!(find(".spec.list[0]"), [json!(1)]);
        assert_eq!(find(".spec.list[-1]"), [json!(3)]);
        assert_eq!(find(".spec.list[1:]"), [json!(2), json!(3)]);
        assert_eq!(find(".spec.list[*]").len(), 3);
        assert_eq!(find(r".metadata.annotations.example\.com/a"), [json!("b")]);
        assert_eq!(find(".metadata.annotations['example.com/a']"), [json!("b")]);
        assert_eq!(find(".status.conditions[?(@.type==\"Ready\")].status"), [json!("True")]);
        assert_eq!(find(".status.conditions[?(@.type=='No')].status"), Vec::<Value>::new());
        assert_eq!(find("..type").len(), 2);
        assert_eq!(find(".nothing.here"), Vec::<Value>::new());
        assert!(JsonPath::parse("spec").is_none() && JsonPath::parse(".a[").is_none());
    }
}
