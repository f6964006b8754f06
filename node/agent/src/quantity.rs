//! Kubernetes quantities (`100m`, `1.5Gi`, `2e3`) as whole numbers, rounded up as Kubernetes rounds them.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// In thousandths, rounded up; `None` where the text is not a quantity or does not fit.
pub(crate) fn milli(quantity: &Quantity) -> Option<i64> {
    scaled(&quantity.0, 1000)
}

/// In whole units (bytes, cores), rounded up; `None` where the text is not a quantity or does not fit.
pub(crate) fn whole(quantity: &Quantity) -> Option<i64> {
    scaled(&quantity.0, 1)
}

fn scaled(text: &str, scale: i128) -> Option<i64> {
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let number_len = text.bytes().position(|b| !b.is_ascii_digit() && b != b'.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(number_len);
    let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
    if integer.len() + fraction.len() == 0 || integer.len() > 18 || fraction.len() > 12 || fraction.contains('.') {
        return None;
    }
    let digits: i128 = format!("{integer}{fraction}").parse().ok()?;
    let (multiplier, divisor) = suffix_factor(suffix)?;
    let above = digits.checked_mul(multiplier)?.checked_mul(scale)?;
    let below = divisor.checked_mul(10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    let rounded = above / below + i128::from(above % below != 0);
    i64::try_from(if negative { -rounded } else { rounded }).ok()
}

/// What a suffix multiplies and divides by.
fn suffix_factor(suffix: &str) -> Option<(i128, i128)> {
    let decimal = |exponent: u32| Some((10_i128.pow(exponent), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => Some((1 << 10, 1)),
        "Mi" => Some((1 << 20, 1)),
        "Gi" => Some((1 << 30, 1)),
        "Ti" => Some((1 << 40, 1)),
        "Pi" => Some((1 << 50, 1)),
        "Ei" => Some((1 << 60, 1)),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            match exponent {
                0..=18 => decimal(exponent.unsigned_abs()),
                -9..0 => Some((1, 10_i128.pow(exponent.unsigned_abs()))),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn q(text: &str) -> Quantity {
        Quantity(text.to_owned())
    }

    #[test]
    fn reads_every_form() {
        for (text, expected) in [
            ("100m", 100),
            ("1", 1000),
            ("0.5", 500),
            ("1.5Gi", 1_610_612_736_000),
            ("2e3", 2_000_000),
            ("1E", 1_000_000_000_000_000_000_000_i128),
            ("1n", 1),
            (".5", 500),
            ("-1", -1000),
        ] {
            assert_eq!(milli(&q(text)).map(i128::from), i64::try_from(expected).ok().map(i128::from), "{text}");
        }
        assert_eq!(whole(&q("100m")), Some(1));
        assert_eq!(whole(&q("64Mi")), Some(64 << 20));
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for text in ["", "-", ".", "1.2.3", "1x", "Mi", "1ee3", "1e99"] {
            assert_eq!(milli(&q(text)), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,24}") {
            let _ = milli(&q(&text));
        }
    }
}
