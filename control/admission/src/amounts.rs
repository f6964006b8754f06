//! Amounts by resource, printed as they were written.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use skep_registry::Quantity;

/// A quantity, and whether it reads in powers of 1024.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How much.
    pub quantity: Quantity,
    /// Whether it was written with a binary suffix.
    pub binary: bool,
}

impl Amount {
    /// A whole number.
    #[must_use]
    pub const fn of(value: i64) -> Self {
        Self { quantity: Quantity::from_value(value), binary: false }
    }

    /// The larger one.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        if other.quantity > self.quantity { other } else { self }
    }

    /// Reads in the suffixes of the first one that is not zero, as upstream's does.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let binary = if self.quantity.is_zero() { other.binary } else { self.binary };
        Self { quantity: self.quantity + other.quantity, binary }
    }
}

impl From<&ApiQuantity> for Amount {
    /// What cannot be read counts as nothing; validation lets none through.
    fn from(api: &ApiQuantity) -> Self {
        Self { quantity: Quantity::try_from(api).unwrap_or_default(), binary: api.0.ends_with('i') }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.binary { f.write_str(&self.quantity.in_binary()) } else { self.quantity.fmt(f) }
    }
}

/// Amounts by the names of resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts(BTreeMap<String, Amount>);

impl Amounts {
    /// From a resource list of the API.
    #[must_use]
    pub fn from_api(list: Option<&BTreeMap<String, ApiQuantity>>) -> Self {
        Self(list.into_iter().flatten().map(|(name, amount)| (name.clone(), amount.into())).collect())
    }

    /// As a resource list of the API.
    #[must_use]
    pub fn to_api(&self) -> BTreeMap<String, ApiQuantity> {
        self.0.iter().map(|(name, amount)| (name.clone(), ApiQuantity(amount.to_string()))).collect()
    }

    /// The amount of one resource, if it is there.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Amount> {
        self.0.get(name).copied()
    }

    /// Sets the amount of one resource.
    pub fn set(&mut self, name: &str, amount: Amount) {
        self.0.insert(name.to_owned(), amount);
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Amount)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds each amount.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let own = self.0.entry(name.clone()).or_default();
            *own = own.plus(*amount);
        }
    }

    /// Makes each amount at least that of another list.
    pub fn raise(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let own = self.0.entry(name.clone()).or_insert(*amount);
            *own = own.max(*amount);
        }
    }

    /// How much more this is than another list, where it is more.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Self {
        let mut more = self.clone();
        for (name, amount) in &mut more.0 {
            let before = other.0.get(name).map_or(Quantity::ZERO, |amount| amount.quantity);
            amount.quantity = (amount.quantity - before).max(Quantity::ZERO);
        }
        more
    }

    /// Those for which something holds.
    #[must_use]
    pub fn filter(&self, holds: impl Fn(&str, Amount) -> bool) -> Self {
        Self(self.0.iter().filter(|(name, amount)| holds(name, **amount)).map(|(n, a)| (n.clone(), *a)).collect())
    }

    /// Whether both hold the same amounts, however they are written.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().all(|(name, amount)| other.get(name).is_some_and(|o| o.quantity == amount.quantity))
    }
}

impl FromIterator<(String, Amount)> for Amounts {
    fn from_iter<I: IntoIterator<Item = (String, Amount)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

/// `limits.cpu=1,pods=3`.
impl fmt::Display for Amounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        f.write_str(&parts.join(","))
    }
}
