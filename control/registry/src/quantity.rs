//! Kubernetes quantities: `100m`, `1.5Gi`, `12e6`, exact to a billionth.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

/// What a quantity counts in internally.
const NANO: i128 = 1_000_000_000;

/// A quantity that cannot be read; upstream's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a number followed by a suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The suffix is not one of those there are.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An amount of a resource. Amounts finer than a billionth are rounded up, and those too large for 2^63 - 1 are capped,
/// as upstream does both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity {
    nanos: i128,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0 };
    const MAX_NANOS: i128 = i64::MAX as i128 * NANO;

    /// A whole amount.
    #[must_use]
    pub const fn from_value(value: i64) -> Self {
        Self { nanos: value as i128 * NANO }
    }

    /// An amount in thousandths.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self { nanos: millis as i128 * (NANO / 1000) }
    }

    /// The amount, rounded up to a whole number.
    #[must_use]
    pub fn value(self) -> i64 {
        self.scaled_up(NANO)
    }

    /// The amount in thousandths, rounded up.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.scaled_up(NANO / 1000)
    }

    /// Whether it is a whole number.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }

    /// Whether it is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// With the largest binary suffix that loses nothing, where there are 1024 or more, rounded up to a whole number:
    /// `1536Mi`. Smaller ones read as decimal.
    #[must_use]
    pub fn in_binary(self) -> String {
        let mut number = self.value();
        if (-1023..1024).contains(&number) {
            return self.to_string();
        }
        let suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        let mut step = 0;
        while number % 1024 == 0 && step + 1 < suffixes.len() {
            number /= 1024;
            step += 1;
        }
        format!("{number}{}", suffixes[step])
    }

    fn scaled_up(self, unit: i128) -> i64 {
        let whole = self.nanos.div_euclid(unit) + i128::from(self.nanos.rem_euclid(unit) != 0);
        i64::try_from(whole).unwrap_or(if whole < 0 { i64::MIN } else { i64::MAX })
    }

    fn capped(nanos: i128) -> Self {
        Self { nanos: nanos.clamp(-Self::MAX_NANOS, Self::MAX_NANOS) }
    }
}

impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::capped(self.nanos.saturating_add(other.nanos))
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self::capped(self.nanos.saturating_sub(other.nanos))
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl TryFrom<&ApiQuantity> for Quantity {
    type Error = QuantityError;

    fn try_from(api: &ApiQuantity) -> Result<Self, QuantityError> {
        api.0.parse()
    }
}

impl From<Quantity> for ApiQuantity {
    fn from(quantity: Quantity) -> Self {
        Self(quantity.to_string())
    }
}

/// Decimal form with the largest suffix that loses nothing: `100m`, `3`, `12k`.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let steps =
            [("n", 0), ("u", 3), ("m", 6), ("", 9), ("k", 12), ("M", 15), ("G", 18), ("T", 21), ("P", 24), ("E", 27)];
        let fits = |exponent: u32| self.nanos % 10_i128.pow(exponent) == 0;
        let (suffix, exponent) = steps.into_iter().rev().find(|(_, exponent)| fits(*exponent)).unwrap_or(("n", 0));
        write!(f, "{}{suffix}", self.nanos / 10_i128.pow(exponent))
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let digits = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError::Format);
        }
        let magnitude = scaled(whole, fraction, unit(suffix)?);
        Ok(Self::capped(if negative { -magnitude } else { magnitude }))
    }
}

/// What a suffix multiplies by.
#[derive(Clone, Copy)]
enum Unit {
    Decimal(i32),
    Binary(u32),
}

fn unit(suffix: &str) -> Result<Unit, QuantityError> {
    Ok(match suffix {
        "n" => Unit::Decimal(-9),
        "u" => Unit::Decimal(-6),
        "m" => Unit::Decimal(-3),
        "" => Unit::Decimal(0),
        "k" => Unit::Decimal(3),
        "M" => Unit::Decimal(6),
        "G" => Unit::Decimal(9),
        "T" => Unit::Decimal(12),
        "P" => Unit::Decimal(15),
        "E" => Unit::Decimal(18),
        "Ki" => Unit::Binary(10),
        "Mi" => Unit::Binary(20),
        "Gi" => Unit::Binary(30),
        "Ti" => Unit::Binary(40),
        "Pi" => Unit::Binary(50),
        "Ei" => Unit::Binary(60),
        _ => match suffix.strip_prefix(['e', 'E']) {
            Some(exponent) => {
                let exponent: i32 = exponent.parse().map_err(|_| exponent_fault(exponent))?;
                Unit::Decimal(exponent)
            }
            None if suffix.bytes().all(|b| b"eEinumkKMGTP+-0123456789".contains(&b)) => {
                return Err(QuantityError::Suffix);
            }
            None => return Err(QuantityError::Format),
        },
    })
}

fn exponent_fault(exponent: &str) -> QuantityError {
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.bytes().all(|b| b.is_ascii_digit()) { QuantityError::Suffix } else { QuantityError::Format }
}

/// `whole.fraction` times a unit, in billionths; rounded up, and saturated.
fn scaled(whole: &str, fraction: &str, unit: Unit) -> i128 {
    let (decimal, factor) = match unit {
        Unit::Decimal(exponent) => (exponent, 1),
        Unit::Binary(shift) => (0, 1_i128 << shift),
    };
    let whole = whole.trim_start_matches('0');
    // 28 digits of billionths are the most that counts, and 34 digits are the most that a product with a power of two
    // or ten is exact for.
    if whole.len() > 28 {
        return Quantity::MAX_NANOS;
    }
    let kept = &fraction[..fraction.len().min(15).min(34 - whole.len())];
    let rest = fraction[kept.len()..].bytes().any(|b| b != b'0');
    let mut mantissa: i128 = 0;
    for digit in whole.bytes().chain(kept.bytes()) {
        mantissa = mantissa.saturating_mul(10).saturating_add(i128::from(digit - b'0'));
    }
    if mantissa == 0 {
        return i128::from(rest);
    }
    let exponent = decimal.saturating_add(9).saturating_sub(i32::try_from(kept.len()).unwrap_or(0));
    let mut amount = mantissa;
    match exponent.cmp(&0) {
        Ordering::Less => {
            // The factor first, so that a binary unit keeps its fraction.
            let divisor = 10_i128.checked_pow(exponent.unsigned_abs());
            let Some(product) = amount.checked_mul(factor) else { return Quantity::MAX_NANOS };
            amount = divisor.map_or(1, |d| product / d + i128::from(product % d != 0));
        }
        Ordering::Equal | Ordering::Greater => {
            let scale = 10_i128.checked_pow(exponent.unsigned_abs()).unwrap_or(i128::MAX);
            amount = amount.saturating_mul(scale).saturating_mul(factor);
        }
    }
    amount.saturating_add(i128::from(rest)).min(Quantity::MAX_NANOS)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn q(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn suffixes_scale() {
        assert_eq!(q("100m").millis(), 100);
        assert_eq!(q("0.1"), q("100m"));
        assert_eq!(q("1.5Gi").value(), 1_610_612_736);
        assert_eq!(q("1Ki").value(), 1024);
        assert_eq!(q("12e6"), q("12M"));
        assert_eq!(q("1E3"), q("1k"));
        assert_eq!(q("1E").value(), 1_000_000_000_000_000_000);
        assert_eq!(q("1e-3"), q("1m"));
        assert_eq!(q(".5"), q("500m"));
        assert_eq!(q("5."), q("5"));
        assert_eq!(q("-3").value(), -3);
        assert_eq!(q("1m").value(), 1);
        assert_eq!(q("0.0000000001"), q("1n"));
        assert!(q("1Gi") > q("1G"));
        assert_eq!(q("9999999999999999999999"), q("9Ei") + q("9Ei"));
    }

    #[test]
    fn malformed_ones_are_refused() {
        for text in ["", ".", "a", "1.2.3", "1 Gi", "--1", "1Gib", "Gi", "1,5", "1é"] {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError::Format), "{text}");
        }
        for text in ["1i", "1mm", "1K", "1e+"] {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError::Suffix), "{text}");
        }
    }

    #[test]
    fn prints_the_shortest_decimal_form() {
        for (text, printed) in [("1000m", "1"), ("1500m", "1500m"), ("12000", "12k"), ("0", "0"), ("1Ki", "1024")] {
            assert_eq!(q(text).to_string(), printed);
        }
    }

    #[test]
    fn binary_amounts_keep_their_suffix() {
        for (text, printed) in [("1.5Gi", "1536Mi"), ("1Ki", "1Ki"), ("0", "0"), ("100m", "100m"), ("1023", "1023")] {
            assert_eq!(q(text).in_binary(), printed);
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "\\PC*") {
            let _ = text.parse::<Quantity>();
        }

        #[test]
        fn any_number_with_a_suffix_parses(text in "[+-]?[0-9]{1,30}(\\.[0-9]{0,30})?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,3})?") {
            prop_assert!(text.parse::<Quantity>().is_ok());
        }

        #[test]
        fn printing_loses_nothing(nanos in -Quantity::MAX_NANOS..Quantity::MAX_NANOS) {
            let quantity = Quantity { nanos };
            prop_assert_eq!(quantity.to_string().parse::<Quantity>().unwrap(), quantity);
        }
    }
}
