//! Names and values in one piece of memory. There are as many of them as there are objects.

use std::fmt;

/// Each text follows its length, which is four bytes, the lowest first.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Pairs(Box<[u8]>);

impl Pairs {
    /// The value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All of them, in the order in which they were given.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || Some((text(&mut rest)?, text(&mut rest)?)))
    }
}

/// Takes the text at the beginning.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (len, after) = rest.split_first_chunk()?;
    let (text, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

impl<'a> FromIterator<(&'a str, &'a str)> for Pairs {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let mut bytes = Vec::new();
        for text in pairs.into_iter().flat_map(|(name, value)| [name, value]) {
            // An object's body is far smaller.
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        Self(bytes.into())
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found() {
        let given = [("a", "1"), ("", "nameless"), ("b", ""), ("ü", "a\0b")];
        let pairs: Pairs = given.into_iter().collect();
        assert_eq!(pairs.iter().collect::<Vec<_>>(), given);
        assert_eq!((pairs.get("ü"), pairs.get("b"), pairs.get("c")), (Some("a\0b"), Some(""), None));
        assert_eq!(Pairs::default().iter().next(), None);
        assert_eq!(format!("{pairs:?}"), r#"{"a": "1", "": "nameless", "b": "", "ü": "a\0b"}"#);
    }
}
