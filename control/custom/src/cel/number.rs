//! Numbers, times and conversions.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::eval::{Evaluation, Result, error, no_overload};
use super::text;
use super::value::Val;

/// Whole numbers of one sort.
macro_rules! whole {
    ($name:ident, $a:ident, $b:ident, $sort:path, $overflow:literal) => {{
        if *$b == 0 && matches!($name, "_/_" | "_%_") {
            return error(if $name == "_/_" { "division by zero" } else { "modulus by zero" });
        }
        let result = match $name {
            "_+_" => $a.checked_add(*$b),
            "_-_" => $a.checked_sub(*$b),
            "_*_" => $a.checked_mul(*$b),
            "_/_" => $a.checked_div(*$b),
            _ => $a.checked_rem(*$b),
        };
        result.map_or_else(|| error($overflow), |value| Ok($sort(value)))
    }};
}

pub(super) fn arithmetic<'a>(name: &str, a: &Val<'a>, b: &Val<'a>) -> Result<Val<'a>> {
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => whole!(name, a, b, Val::Int, "integer overflow"),
        (Val::UInt(a), Val::UInt(b)) => whole!(name, a, b, Val::UInt, "unsigned integer overflow"),
        (Val::Double(a), Val::Double(b)) => match name {
            "_+_" => Ok(Val::Double(a + b)),
            "_-_" => Ok(Val::Double(a - b)),
            "_*_" => Ok(Val::Double(a * b)),
            "_/_" => Ok(Val::Double(a / b)),
            _ => no_overload(),
        },
        (Val::Time(a), Val::Time(b)) if name == "_-_" => Ok(Val::Duration(a.duration_since(*b))),
        (Val::Time(a), Val::Duration(b)) | (Val::Duration(b), Val::Time(a)) if name == "_+_" => moved(*a, *b),
        (Val::Time(a), Val::Duration(b)) if name == "_-_" => match b.checked_neg() {
            Some(b) => moved(*a, b),
            None => error("duration overflow"),
        },
        (Val::Duration(a), Val::Duration(b)) => {
            let result = match name {
                "_+_" => a.checked_add(*b),
                "_-_" => a.checked_sub(*b),
                _ => return no_overload(),
            };
            result.map_or_else(|| error("duration overflow"), |value| Ok(Val::Duration(value)))
        }
        _ => no_overload(),
    }
}

fn moved<'a>(time: Timestamp, by: SignedDuration) -> Result<Val<'a>> {
    time.checked_add(by).map_or_else(|_| error("timestamp overflow"), |time| Ok(Val::Time(time)))
}

pub(super) fn negate<'a>(value: &Val<'a>) -> Result<Val<'a>> {
    match value {
        Val::Int(value) => value.checked_neg().map_or_else(|| error("integer overflow"), |v| Ok(Val::Int(v))),
        Val::Double(value) => Ok(Val::Double(-value)),
        Val::Duration(value) => {
            value.checked_neg().map_or_else(|| error("duration overflow"), |v| Ok(Val::Duration(v)))
        }
        _ => no_overload(),
    }
}

/// The greatest or the least of some values.
pub(super) fn extreme<'a>(items: &[Val<'a>], greatest: bool) -> Result<Val<'a>> {
    let mut best: Option<&Val<'a>> = None;
    for item in items {
        let better = match best {
            None => true,
            Some(best) => match item.compare(best) {
                Some(order) => {
                    if greatest {
                        order.is_gt()
                    } else {
                        order.is_lt()
                    }
                }
                None => return no_overload(),
            },
        };
        if better {
            best = Some(item);
        }
    }
    match best {
        Some(best) => Ok(best.clone()),
        None => error(format!("{} called on empty list", if greatest { "max" } else { "min" })),
    }
}

/// `int(x)`, `string(x)` and their like.
pub(super) fn convert<'a>(run: &mut Evaluation<'a>, name: &str, value: &Val<'a>) -> Result<Val<'a>> {
    let fails = |why: &str| error(why);
    match (name, value) {
        ("int", Val::Int(_))
        | ("uint", Val::UInt(_))
        | ("double", Val::Double(_))
        | ("string", Val::Text(_))
        | ("bytes", Val::Bytes(_))
        | ("bool", Val::Bool(_))
        | ("timestamp", Val::Time(_))
        | ("duration", Val::Duration(_)) => Ok(value.clone()),
        ("int", Val::UInt(value)) => {
            i64::try_from(*value).map_or_else(|_| fails("integer overflow"), |v| Ok(Val::Int(v)))
        }
        ("int", Val::Double(value)) if value.is_finite() && value.abs() < 9.2e18 => {
            // The fraction is cut, as the language has it.
            let whole = *value as i64;
            Ok(Val::Int(whole))
        }
        ("int", Val::Double(_)) => fails("integer overflow"),
        ("int", Val::Text(text)) => text.parse().map_or_else(
            |_| fails(&format!("strconv.ParseInt: parsing \"{text}\": invalid syntax")),
            |v| Ok(Val::Int(v)),
        ),
        ("int", Val::Time(time)) => Ok(Val::Int(time.as_second())),
        ("uint", Val::Int(value)) => {
            u64::try_from(*value).map_or_else(|_| fails("unsigned integer overflow"), |v| Ok(Val::UInt(v)))
        }
        ("uint", Val::Double(value)) if *value >= 0.0 && *value < 1.8e19 => {
            let whole = *value as u64;
            Ok(Val::UInt(whole))
        }
        ("uint", Val::Text(text)) => {
            text.parse().map_or_else(|_| fails("unsigned integer overflow"), |v| Ok(Val::UInt(v)))
        }
        // Large whole numbers lose their last digits, as the language has it.
        ("double", Val::Int(value)) => Ok(Val::Double(*value as f64)),
        ("double", Val::UInt(value)) => Ok(Val::Double(*value as f64)),
        ("double", Val::Text(text)) => text.parse().map_or_else(
            |_| fails(&format!("strconv.ParseFloat: parsing \"{text}\": invalid syntax")),
            |v| Ok(Val::Double(v)),
        ),
        ("bool", Val::Text(text)) => match text.as_ref() {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Val::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Val::Bool(false)),
            _ => fails(&format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")),
        },
        ("bytes", Val::Text(text)) => Ok(Val::Bytes(text.as_bytes().into())),
        ("string", Val::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Val::text(text)),
            Err(_) => fails("invalid UTF-8 in bytes, cannot convert to string"),
        },
        (
            "string",
            Val::Int(_)
            | Val::UInt(_)
            | Val::Double(_)
            | Val::Bool(_)
            | Val::Time(_)
            | Val::Duration(_)
            | Val::Ip(_)
            | Val::Cidr(..),
        ) => {
            run.spend(1)?;
            Ok(Val::text(text::shown(value)))
        }
        ("timestamp", Val::Text(text)) => {
            text.parse().map_or_else(|_| fails("timestamp must be an RFC 3339 string"), |v| Ok(Val::Time(v)))
        }
        ("timestamp", Val::Int(seconds)) => {
            Timestamp::from_second(*seconds).map_or_else(|_| fails("timestamp overflow"), |v| Ok(Val::Time(v)))
        }
        ("duration", Val::Text(said)) => text::duration(said)
            .map_or_else(|| fails(&format!("time: invalid duration \"{said}\"")), |v| Ok(Val::Duration(v))),
        _ => no_overload(),
    }
}

/// Parts of times and durations.
pub(super) fn time_part<'a>(target: &Val<'a>, name: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    let int = |value: i64| Ok(Val::Int(value));
    match target {
        Val::Duration(duration) => {
            let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
            match name {
                "getHours" => int(duration.as_secs() / 3600),
                "getMinutes" => int(duration.as_secs() / 60),
                "getSeconds" => int(duration.as_secs()),
                "getMilliseconds" => int(millis),
                _ => no_overload(),
            }
        }
        Val::Time(time) => {
            let zone = match args {
                [] => TimeZone::UTC,
                [Val::Text(name)] if name.as_ref() == "UTC" => TimeZone::UTC,
                [Val::Text(name)] => match text::offset(name) {
                    Some(offset) => TimeZone::fixed(offset),
                    None => return error(format!("unknown time zone {name}")),
                },
                _ => return no_overload(),
            };
            let at = time.to_zoned(zone);
            match name {
                "getFullYear" => int(at.year().into()),
                "getMonth" => int(i64::from(at.month()) - 1),
                "getDate" => int(at.day().into()),
                "getDayOfMonth" => int(i64::from(at.day()) - 1),
                "getDayOfYear" => int(i64::from(at.day_of_year()) - 1),
                "getDayOfWeek" => int(at.weekday().since(Weekday::Sunday).into()),
                "getHours" => int(at.hour().into()),
                "getMinutes" => int(at.minute().into()),
                "getSeconds" => int(at.second().into()),
                "getMilliseconds" => int(at.millisecond().into()),
                _ => no_overload(),
            }
        }
        _ => no_overload(),
    }
}
