//! Schedules in cron's five fields, as upstream reads them.

use std::ops::RangeInclusive;

/// A field: what its numbers may be, and the names that stand for numbers.
struct Field {
    range: RangeInclusive<u32>,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field { range: 0..=59, names: &[] },
    Field { range: 0..=23, names: &[] },
    Field { range: 1..=31, names: &[] },
    Field { range: 1..=12, names: MONTHS },
    Field { range: 0..=6, names: DAYS },
];
const DESCRIPTORS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Checks a schedule.
///
/// # Errors
/// Upstream's message.
pub(crate) fn check(schedule: &str) -> Result<(), String> {
    if schedule.is_empty() {
        return Err("empty spec string".to_owned());
    }
    if schedule.starts_with('@') {
        return check_descriptor(schedule);
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    for (text, field) in fields.iter().zip(&FIELDS) {
        // Empty parts between commas stand for nothing.
        for part in text.split(',').filter(|part| !part.is_empty()) {
            check_part(part, field)?;
        }
    }
    Ok(())
}

fn check_descriptor(schedule: &str) -> Result<(), String> {
    if DESCRIPTORS.contains(&schedule) {
        return Ok(());
    }
    match schedule.strip_prefix("@every ") {
        Some(duration) if is_go_duration(duration) => Ok(()),
        Some(duration) => Err(format!("failed to parse duration {schedule}: time: invalid duration {duration:?}")),
        None => Err(format!("unrecognized descriptor: {schedule}")),
    }
}

/// `NUMBER`, `A-B`, `*` or `?`, each with an optional `/STEP`.
fn check_part(part: &str, field: &Field) -> Result<(), String> {
    let (least, most) = (*field.range.start(), *field.range.end());
    let with_step: Vec<&str> = part.split('/').collect();
    let low_and_high: Vec<&str> = with_step[0].split('-').collect();
    let (start, mut end) = match low_and_high.as_slice() {
        ["*" | "?", ..] => (least, most),
        [single] => {
            let number = number_or_name(single, field)?;
            (number, number)
        }
        [low, high] => (number_or_name(low, field)?, number_or_name(high, field)?),
        _ => return Err(format!("too many hyphens: {part}")),
    };
    let step = match with_step.as_slice() {
        [_] => 1,
        [_, step] => {
            if low_and_high.len() == 1 {
                end = most;
            }
            number(step)?
        }
        _ => return Err(format!("too many slashes: {part}")),
    };
    if start < least {
        return Err(format!("beginning of range ({start}) below minimum ({least}): {part}"));
    }
    if end > most {
        return Err(format!("end of range ({end}) above maximum ({most}): {part}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {part}"));
    }
    Ok(())
}

fn number_or_name(text: &str, field: &Field) -> Result<u32, String> {
    let lower = text.to_lowercase();
    match (*field.range.start()..).zip(field.names).find(|(_, name)| **name == lower) {
        Some((number, _)) => Ok(number),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Err(_) => Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")),
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
    }
}

/// `1h30m`, `1.5s`: numbers with units, without anything between them.
fn is_go_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &rest[..rest.len() - after.len()];
        let dots = number.matches('.').count();
        if number.len() == dots || dots > 1 {
            return false;
        }
        let Some(after) = ["ns", "us", "µs", "ms", "s", "m", "h"].iter().find_map(|unit| {
            let after = after.strip_prefix(unit)?;
            after.chars().next().is_none_or(|c| c.is_ascii_digit() || c == '.').then_some(after)
        }) else {
            return false;
        };
        rest = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_ones_pass() {
        for text in
            ["* * * * *", "*/5 0-6 1,15 JAN-mar Mon", "? 1/2 * * 0-6/2", "@daily", "@every 1h30m", "@every 1.5s"]
        {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn faults_read_as_upstream() {
        for (text, fault) in [
            ("", "empty spec string"),
            ("a b", "expected exactly 5 fields, found 2: [a b]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("@often", "unrecognized descriptor: @often"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
        ] {
            assert_eq!(check(text), Err(fault.to_owned()), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "[-*/,@?0-9a-z ]{0,20}") {
            let _ = check(&text);
        }
    }
}
