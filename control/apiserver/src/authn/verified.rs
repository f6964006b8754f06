//! Tokens whose signature was found good, so that the next request with one costs a look-up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ring::digest::{SHA256, digest};

/// Tokens in each half. What a token says takes about a kilobyte.
const HALF_LEN_MAX: usize = 2_048;

type Hash = [u8; 32];

/// What tokens say, by their hash. A signature stays good; whether what it vouches for still holds is asked each time.
pub(super) struct Verified<T> {
    halves: Mutex<Halves<T>>,
}

/// The tokens seen last are in the young half. When that is full it becomes the old one, and what nobody showed since is
/// forgotten.
struct Halves<T> {
    young: HashMap<Hash, Arc<T>>,
    old: HashMap<Hash, Arc<T>>,
}

impl<T> Default for Verified<T> {
    fn default() -> Self {
        Self { halves: Mutex::new(Halves { young: HashMap::new(), old: HashMap::new() }) }
    }
}

impl<T> Verified<T> {
    /// What a token says; `verify` is called if that is not known. Errors are not kept.
    pub(super) fn get<E>(&self, token: &str, verify: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let mut hash = Hash::default();
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        if let Some(known) = self.lock().find(&hash) {
            return Ok(known);
        }
        let says = Arc::new(verify()?);
        self.lock().keep(hash, Arc::clone(&says));
        Ok(says)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Halves<T>> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Halves<T> {
    fn find(&mut self, hash: &Hash) -> Option<Arc<T>> {
        if let Some(known) = self.young.get(hash) {
            return Some(Arc::clone(known));
        }
        let known = self.old.remove(hash)?;
        self.keep(*hash, Arc::clone(&known));
        Some(known)
    }

    fn keep(&mut self, hash: Hash, says: Arc<T>) {
        if self.young.len() >= HALF_LEN_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, says);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_verified_once_and_forgotten_when_many_others_came() {
        let verified = Verified::default();
        let mut calls = 0;
        let mut show = |token: &str| {
            let says = verified.get(token, || {
                calls += 1;
                Ok::<_, ()>(token.len())
            });
            assert_eq!(*says.unwrap(), token.len());
            calls
        };
        assert_eq!(show("first"), 1);
        assert_eq!(show("first"), 1);
        for number in 0..2 * HALF_LEN_MAX {
            show(&number.to_string());
            assert_eq!(show("first"), number + 2, "what is shown stays");
        }
        for number in 0..2 * HALF_LEN_MAX + 1 {
            show(&format!("other-{number}"));
        }
        let before = show("other-0");
        assert_eq!(show("first"), before + 1, "nobody showed it for long");
        let halves = verified.lock();
        assert!(halves.young.len() <= HALF_LEN_MAX && halves.old.len() <= HALF_LEN_MAX);
    }

    #[test]
    fn what_is_refused_is_asked_again() {
        let verified = Verified::<()>::default();
        assert_eq!(verified.get("a", || Err("bad")), Err("bad"));
        assert_eq!(verified.get("a", || Ok::<_, ()>(())).as_deref(), Ok(&()));
    }
}
