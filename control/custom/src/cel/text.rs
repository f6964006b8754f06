//! Strings and lists.

use base64::Engine as _;
use jiff::SignedDuration;
use jiff::tz::Offset;
use regex::{Regex, RegexBuilder};

use super::eval::{Evaluation, Fault, Result, error, no_overload};
use super::number;
use super::value::Val;

/// Longest regular expression that is compiled.
const PATTERN_BYTES_MAX: usize = 10_000;
/// Largest form that one is compiled to.
const PROGRAM_BYTES_MAX: usize = 1 << 20;
/// What compiling one costs at least.
const PATTERN_COST: usize = 300;

pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// A duration as Go writes it: `1h30m`, `-1.5s`, `250ms`.
pub(super) fn duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let end = unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len());
        let (unit, next) = unit.split_at(end);
        let size = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            _ => return None,
        };
        nanos += number.parse::<f64>().ok()? * size;
        rest = next;
    }
    if nanos > 9.2e18 {
        return None;
    }
    // A bound was checked above.
    let whole = nanos.round() as i64;
    Some(SignedDuration::from_nanos(if negative { -whole } else { whole }))
}

/// `+02:00` or `-05:30`.
pub(super) fn offset(name: &str) -> Option<Offset> {
    let (negative, rest) = match name.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, name.strip_prefix('+').unwrap_or(name)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let seconds =
        hours.parse::<i32>().ok()?.checked_mul(3600)?.checked_add(minutes.parse::<i32>().ok()?.checked_mul(60)?)?;
    Offset::from_seconds(if negative { -seconds } else { seconds }).ok()
}

/// A value as the language writes it.
pub(super) fn shown(value: &Val<'_>) -> String {
    match value {
        Val::Null => "null".to_owned(),
        Val::Bool(value) => value.to_string(),
        Val::Int(value) => value.to_string(),
        Val::UInt(value) => value.to_string(),
        Val::Double(value) => value.to_string(),
        Val::Text(value) => value.to_string(),
        Val::Bytes(value) => String::from_utf8_lossy(value).into_owned(),
        Val::Duration(value) => {
            let seconds = value.as_secs_f64();
            format!("{seconds}s")
        }
        Val::Time(value) => value.to_string(),
        Val::Type(name) => (*name).to_owned(),
        Val::Ip(address) => address.to_string(),
        Val::Cidr(address, bits) => format!("{address}/{bits}"),
        Val::Quantity(quantity) => quantity.to_string(),
        other => match (other.items(), other.entries()) {
            (Some(items), _) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
            (_, Some(entries)) => {
                let entries = entries.iter().map(|(key, value)| format!("{}: {}", shown(key), shown(value)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
            _ => other.type_name().to_owned(),
        },
    }
}

/// A regular expression. Reading one takes as long as some hundred steps, so that each is read once.
fn regex(run: &mut Evaluation<'_>, pattern: &str) -> Result<Regex> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return error("the regular expression is too long");
    }
    if let Some(known) = run.patterns.get(pattern) {
        return Ok(known.clone());
    }
    run.spend(PATTERN_COST + pattern.len())?;
    let read = RegexBuilder::new(pattern).size_limit(PROGRAM_BYTES_MAX).build();
    let read = read.map_err(|_| Fault::Error(format!("error parsing regexp: `{pattern}`")))?;
    run.patterns.insert(pattern.to_owned(), read.clone());
    Ok(read)
}

fn index_of(text: &[char], what: &[char], from: usize) -> Option<usize> {
    if what.is_empty() {
        return Some(from.min(text.len()));
    }
    (from..text.len()).find(|at| text[*at..].starts_with(what))
}

fn int<'a>(at: Option<usize>) -> Val<'a> {
    Val::Int(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
}

fn place(index: i64, len: usize) -> Result<usize> {
    match usize::try_from(index) {
        Ok(index) if index <= len => Ok(index),
        _ => error(format!("index out of range: {index}")),
    }
}

/// Functions of a string.
pub(super) fn method<'a>(run: &mut Evaluation<'a>, target: &Val<'a>, name: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    let Val::Text(text) = target else { return no_overload() };
    run.spend(1 + text.len() / 10)?;
    let chars = || text.chars().collect::<Vec<char>>();
    Ok(match (name, args) {
        ("contains", [Val::Text(part)]) => {
            run.spend(text.len().saturating_mul(part.len()) / 100)?;
            Val::Bool(text.contains(&**part))
        }
        ("startsWith", [Val::Text(part)]) => Val::Bool(text.starts_with(&**part)),
        ("endsWith", [Val::Text(part)]) => Val::Bool(text.ends_with(&**part)),
        ("matches", [Val::Text(pattern)]) => {
            run.spend(pattern.len() / 4 + text.len() / 4)?;
            Val::Bool(regex(run, pattern)?.is_match(text))
        }
        ("find", [Val::Text(pattern)]) => {
            run.spend(pattern.len() / 4 + text.len() / 4)?;
            Val::text(regex(run, pattern)?.find(text).map_or("", |found| found.as_str()))
        }
        ("findAll", [Val::Text(pattern), rest @ ..]) => {
            run.spend(pattern.len() / 4 + text.len() / 4)?;
            let limit = match rest {
                [] => usize::MAX,
                [Val::Int(limit)] => usize::try_from(*limit).unwrap_or(usize::MAX),
                _ => return no_overload(),
            };
            let regex = regex(run, pattern)?;
            Val::list(regex.find_iter(text).take(limit).map(|found| Val::text(found.as_str())).collect())
        }
        ("charAt", [Val::Int(at)]) => {
            let chars = chars();
            let at = place(*at, chars.len())?;
            Val::text(chars.get(at).map(char::to_string).unwrap_or_default())
        }
        ("indexOf" | "lastIndexOf", [Val::Text(part), rest @ ..]) => {
            let (chars, part) = (chars(), part.chars().collect::<Vec<char>>());
            run.spend(chars.len().saturating_mul(part.len().max(1)) / 10)?;
            let from = match rest {
                [] if name == "indexOf" => 0,
                [] => chars.len(),
                [Val::Int(from)] => place(*from, chars.len())?,
                _ => return no_overload(),
            };
            if name == "indexOf" {
                int(index_of(&chars, &part, from))
            } else {
                int((0..=from.min(chars.len())).rev().find(|at| chars[*at..].starts_with(&part)))
            }
        }
        ("lowerAscii", []) => Val::text(text.to_ascii_lowercase()),
        ("upperAscii", []) => Val::text(text.to_ascii_uppercase()),
        ("trim", []) => Val::text(text.trim()),
        ("reverse", []) => Val::text(text.chars().rev().collect::<String>()),
        ("replace", [Val::Text(from), Val::Text(to), rest @ ..]) => {
            let limit = match rest {
                [] => usize::MAX,
                [Val::Int(limit)] => usize::try_from(*limit).unwrap_or(usize::MAX),
                _ => return no_overload(),
            };
            let times = text.matches(&**from).take(limit).count();
            run.spend((text.len() + times.saturating_mul(to.len())) / 10)?;
            Val::text(text.replacen(&**from, to, limit))
        }
        ("split", [Val::Text(by), rest @ ..]) => {
            run.spend(text.len())?;
            let parts: Vec<&str> = match (rest, by.is_empty()) {
                ([], true) => text.split("").filter(|part| !part.is_empty()).collect(),
                ([], false) => text.split(&**by).collect(),
                ([Val::Int(0)], _) => Vec::new(),
                ([Val::Int(limit)], _) => text.splitn(usize::try_from(*limit).unwrap_or(usize::MAX), &**by).collect(),
                _ => return no_overload(),
            };
            Val::list(parts.into_iter().map(Val::text).collect())
        }
        ("substring", [Val::Int(from), rest @ ..]) => {
            let chars = chars();
            let from = place(*from, chars.len())?;
            let to = match rest {
                [] => chars.len(),
                [Val::Int(to)] => place(*to, chars.len())?,
                _ => return no_overload(),
            };
            if from > to {
                return error(format!("invalid substring range. start: {from}, end: {to}"));
            }
            Val::text(chars[from..to].iter().collect::<String>())
        }
        ("format", [list]) => match list.items() {
            Some(items) => Val::text(formatted(run, text, &items)?),
            None => return no_overload(),
        },
        _ => return no_overload(),
    })
}

/// `"%s is %d".format([..])`.
fn formatted(run: &mut Evaluation<'_>, text: &str, items: &[Val<'_>]) -> Result<String> {
    let mut out = String::new();
    let mut items = items.iter();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut precision = String::new();
        if chars.peek() == Some(&'.') {
            chars.next();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                precision.push(digit);
            }
        }
        let Some(clause) = chars.next() else { return error("unexpected end of string") };
        if clause == '%' {
            out.push('%');
            continue;
        }
        let Some(item) = items.next() else { return error("index out of range") };
        let places = precision.parse::<usize>().unwrap_or(6).min(100);
        let text = match (clause, item) {
            ('s', item) => shown(item),
            ('d', Val::Int(_) | Val::UInt(_)) => shown(item),
            ('f', Val::Double(value)) => format!("{value:.places$}"),
            ('e', Val::Double(value)) => format!("{value:.places$e}"),
            ('b', Val::Int(value)) => format!("{value:b}"),
            ('b', Val::Bool(value)) => u8::from(*value).to_string(),
            ('x', Val::Int(value)) => format!("{value:x}"),
            ('X', Val::Int(value)) => format!("{value:X}"),
            ('o', Val::Int(value)) => format!("{value:o}"),
            ('x', Val::Text(value)) => value.bytes().map(|byte| format!("{byte:02x}")).collect(),
            _ => return error(format!("unrecognized formatting clause \"{clause}\"")),
        };
        run.spend(text.len() / 10)?;
        out.push_str(&text);
    }
    Ok(out)
}

/// Functions of a list.
pub(super) fn of_list<'a>(run: &mut Evaluation<'a>, target: &Val<'a>, name: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    let Some(items) = target.items() else { return no_overload() };
    run.spend(items.len())?;
    match (name, args) {
        ("isSorted", []) => {
            let mut sorted = true;
            for pair in items.windows(2) {
                let [a, b] = pair else { continue };
                let Some(order) = a.compare(b) else { return no_overload() };
                sorted &= order.is_le();
            }
            Ok(Val::Bool(sorted))
        }
        ("sum", []) => {
            let Some((first, rest)) = items.split_first() else { return Ok(Val::Int(0)) };
            rest.iter().try_fold(first.clone(), |sum, item| number::arithmetic("_+_", &sum, item))
        }
        ("min" | "max", []) => number::extreme(&items, name == "max"),
        ("indexOf", [item]) => Ok(int(items.iter().position(|other| other.equals(item)))),
        ("lastIndexOf", [item]) => Ok(int(items.iter().rposition(|other| other.equals(item)))),
        ("join", rest) => {
            let by = match rest {
                [] => "",
                [Val::Text(by)] => by,
                _ => return no_overload(),
            };
            let mut parts = Vec::new();
            for item in &items {
                let Val::Text(text) = item else { return no_overload() };
                run.spend(1 + (text.len() + by.len()) / 10)?;
                parts.push(&**text);
            }
            Ok(Val::text(parts.join(by)))
        }
        ("reverse", []) => Ok(Val::list(items.into_iter().rev().collect())),
        ("slice", [Val::Int(from), Val::Int(to)]) => {
            let (from, to) = (place(*from, items.len())?, place(*to, items.len())?);
            items.get(from..to).map_or_else(|| error("invalid slice range"), |part| Ok(Val::list(part.to_vec())))
        }
        ("distinct", []) => {
            run.spend(items.len().saturating_mul(items.len()) / 2)?;
            let mut distinct: Vec<Val<'a>> = Vec::new();
            for item in items {
                if !distinct.iter().any(|other| other.equals(&item)) {
                    distinct.push(item);
                }
            }
            Ok(Val::list(distinct))
        }
        ("flatten", []) => {
            let mut flat = Vec::new();
            for item in items {
                match item.items() {
                    Some(inner) => flat.extend(inner),
                    None => flat.push(item),
                }
            }
            run.spend(flat.len())?;
            Ok(Val::list(flat))
        }
        _ => no_overload(),
    }
}

/// `base64.encode(b)`, `strings.quote(s)`.
pub(super) fn qualified<'a>(
    run: &mut Evaluation<'a>,
    namespace: &str,
    name: &str,
    args: &[Val<'a>],
) -> Result<Val<'a>> {
    match (namespace, name, args) {
        ("base64", "encode", [Val::Bytes(bytes)]) => {
            run.spend(bytes.len() / 10)?;
            Ok(Val::text(base64::engine::general_purpose::STANDARD.encode(bytes)))
        }
        ("base64", "decode", [Val::Text(text)]) => {
            run.spend(text.len() / 10)?;
            base64(text).map_or_else(|| error("illegal base64 data"), |bytes| Ok(Val::Bytes(bytes.into())))
        }
        ("strings", "quote", [Val::Text(text)]) => {
            run.spend(text.len() / 10)?;
            Ok(Val::text(serde_json::Value::from(&**text).to_string()))
        }
        _ => no_overload(),
    }
}
