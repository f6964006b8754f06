//! Field selectors: `status.phase=Running,metadata.name!=x`.

use std::borrow::Cow;

use super::SelectorError;

/// One term of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// Path of the field, e.g. `spec.nodeName`.
    pub field: String,
    /// Whether the value must be equal, or must differ.
    pub equal: bool,
    /// The value.
    pub value: String,
}

/// Terms that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// Parses. `,`, `=` and `\` in a value are escaped by a `\`.
    ///
    /// # Errors
    /// A term without operator, or a malformed escape.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for term in split_terms(text) {
            if term.is_empty() {
                continue;
            }
            let (field, equal, value) = split_term(term)
                .ok_or_else(|| SelectorError(format!("invalid selector: '{text}'; can't understand '{term}'")))?;
            terms.push(FieldTerm { field: field.to_owned(), equal, value: unescape(value)? });
        }
        Ok(Self { terms })
    }

    /// The terms.
    #[must_use]
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// Whether every object matches.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that a field must have, where a term says so.
    #[must_use]
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }

    /// Whether the fields of an object, as [`Strategy::fields`](crate::Strategy::fields) gives them, match. A field that
    /// the object does not have is empty.
    #[must_use]
    pub fn matches(&self, fields: &[(Cow<'static, str>, String)]) -> bool {
        self.matches_by(|field| fields.iter().find(|(name, _)| name == field).map(|(_, value)| value.as_str()))
    }

    /// As [`FieldSelector::matches`], of fields that are looked up by their names.
    pub fn matches_by<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().all(|term| (value_of(&term.field).unwrap_or_default() == term.value) == term.equal)
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    for (i, _) in term.char_indices() {
        let (field, rest) = term.split_at(i);
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((field, equal, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                other => {
                    let sequence: String = std::iter::once('\\').chain(other).collect();
                    return Err(SelectorError(format!("invalid field selector: invalid escape sequence: {sequence}")));
                }
            },
            ',' | '=' => {
                return Err(SelectorError(format!("invalid field selector: unescaped character in value: {c}")));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_matches() {
        let selector = FieldSelector::parse(r"status.phase!=Failed,metadata.name==a\,b,").unwrap();
        let fields =
            |phase: &str| vec![("status.phase".into(), phase.to_owned()), ("metadata.name".into(), "a,b".to_owned())];
        assert!(selector.matches(&fields("Running")));
        assert!(!selector.matches(&fields("Failed")));
        assert_eq!(selector.exact("metadata.name"), Some("a,b"));
        assert!(FieldSelector::parse("").unwrap().is_everything());
        assert!(FieldSelector::parse("spec.nodeName=").unwrap().matches(&[]));
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        let text = |s: &str| FieldSelector::parse(s).unwrap_err().to_string();
        assert_eq!(text("a=b,c"), "invalid selector: 'a=b,c'; can't understand 'c'");
        assert_eq!(text(r"a=\x"), r"invalid field selector: invalid escape sequence: \x");
        assert_eq!(text("a=b=c"), "invalid field selector: unescaped character in value: =");
    }

    proptest::proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "\\PC*") {
            let _ = FieldSelector::parse(&text);
        }
    }
}
