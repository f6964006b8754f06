//! Continue tokens: where a list was cut, and as of which revision.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::status::ApiError;

/// What a client is told whose token is older than the history.
pub(super) const INCONSISTENT: &str = "The provided continue parameter is too old to display a consistent list result. \
    You can start a new list without the continue parameter, or use the continue token in this response to retrieve the \
    remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were \
    created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

const VERSION: &str = "meta.k8s.io/v1";

/// A decoded token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// 0 reads whatever is there now.
    pub revision: u64,
    /// First key of the next page, below the resource's prefix.
    pub start: String,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: String,
    rv: i64,
    start: String,
}

impl Token {
    pub(super) fn encode(&self) -> String {
        let rv = match self.revision {
            0 => -1,
            revision => i64::try_from(revision).unwrap_or(i64::MAX),
        };
        let wire = Wire { v: VERSION.to_owned(), rv, start: self.start.clone() };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).unwrap_or_default())
    }

    pub(super) fn decode(text: &str) -> Result<Self, ApiError> {
        let bad = |why: &str| ApiError::bad_request(format!("continue key is not valid: {why}"));
        let bytes =
            URL_SAFE_NO_PAD.decode(text).or_else(|_| URL_SAFE.decode(text)).map_err(|_| bad("illegal base64 data"))?;
        let wire: Wire = serde_json::from_slice(&bytes).map_err(|_| bad("encoded value is not a token"))?;
        if wire.v != VERSION {
            return Err(bad(&format!("server does not recognize this encoded version {:?}", wire.v)));
        }
        let revision = match wire.rv {
            -1 => 0,
            rv => {
                u64::try_from(rv).ok().filter(|rv| *rv > 0).ok_or_else(|| bad("incorrect encoded resource version"))?
            }
        };
        if wire.start.is_empty() {
            return Err(bad("encoded start key empty"));
        }
        Ok(Self { revision, start: wire.start })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "\\PC*", inside in "\\PC*") {
            let _ = (Token::decode(&text), Token::decode(&URL_SAFE_NO_PAD.encode(inside)));
        }
    }

    #[test]
    fn a_token_reads_as_it_was_written() {
        for revision in [0, 7] {
            let token = Token { revision, start: "a/b\0".to_owned() };
            assert_eq!(Token::decode(&token.encode()).unwrap(), token);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "x", "e30", "eyJ2IjoiIiwicnYiOjAsInN0YXJ0IjoiIn0"] {
            assert_eq!(Token::decode(text).unwrap_err().code(), http::StatusCode::BAD_REQUEST, "{text}");
        }
    }
}
