//! What can be said of a rule from its schema alone: fields and names that there cannot be, and what it may cost.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue};

use super::call::{NAMESPACES, type_named};
use super::value::unescape;
use crate::structural::{Additional, Structural};

/// The largest body of a request: nothing in an object is longer.
const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;

/// Global functions.
const FUNCTIONS: [&str; 19] = [
    "size",
    "type",
    "dyn",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "timestamp",
    "duration",
    "quantity",
    "isQuantity",
    "url",
    "isURL",
    "semver",
    "isSemver",
    "cidr",
];
const MORE_FUNCTIONS: [&str; 3] = ["isCIDR", "ip", "isIP"];

/// How many elements a list or a map can have.
pub(crate) fn elements_max(schema: &Structural) -> u64 {
    let said = if schema.kind == "array" { schema.checks.max_items } else { schema.checks.max_properties };
    if let Some(max) = said.and_then(|max| u64::try_from(max).ok()) {
        return max.max(1);
    }
    let smallest = match (&schema.items, &schema.additional) {
        (Some(items), _) => bytes_min(items) + 1,
        (None, Some(Additional::Fit(child))) => bytes_min(child) + 4,
        _ => 3,
    };
    REQUEST_BYTES_MAX / smallest.max(1)
}

/// The shortest that a value can be in JSON.
fn bytes_min(schema: &Structural) -> u64 {
    match schema.kind.as_str() {
        "string" => 2 + schema.checks.min_length.and_then(|min| u64::try_from(min).ok()).unwrap_or(0),
        "boolean" => 4,
        "array" => 2,
        "object" => {
            let required = schema.checks.required.iter().filter_map(|key| {
                let child = schema.properties.get(key)?;
                Some(u64::try_from(key.len()).unwrap_or(0) + 3 + bytes_min(child))
            });
            2 + required.sum::<u64>()
        }
        _ => 1,
    }
}

/// What is known of an expression's value.
#[derive(Clone, Copy)]
enum Known<'a> {
    Of(&'a Structural),
    /// The metadata of a whole object.
    Meta,
    /// `true` for what is optional is not told apart: nothing is known.
    Nothing,
}

struct Check<'a> {
    source: &'a str,
    names: Vec<(String, Known<'a>)>,
    root: bool,
    first_root: &'a Structural,
}

type Found<'a> = Result<(Known<'a>, u64), String>;

pub(super) fn check(source: &str, expr: &IdedExpr, schema: &Structural, root: bool) -> Result<u64, String> {
    let names = vec![("self".to_owned(), Known::Of(schema)), ("oldSelf".to_owned(), Known::Nothing)];
    let mut check = Check { source, names, root, first_root: schema };
    check.of(expr).map(|(_, cost)| cost)
}

impl<'a> Check<'a> {
    fn of(&mut self, expr: &IdedExpr) -> Found<'a> {
        match &expr.expr {
            Expr::Ident(name) => {
                let known = self.names.iter().rev().find(|(other, _)| other == name).map(|(_, known)| *known);
                match known {
                    Some(known) => Ok((known, 1)),
                    None if type_named(name).is_some() => Ok((Known::Nothing, 1)),
                    None => Err(self.fault(name, &format!("undeclared reference to '{name}' (in container '')"))),
                }
            }
            Expr::Select(select) => {
                let (operand, cost) = self.of(&select.operand)?;
                Ok((self.field(operand, &select.field)?, cost.saturating_add(1)))
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            other => {
                let mut cost = 1_u64;
                for child in super::children(other) {
                    cost = cost.saturating_add(self.of(child)?.1);
                }
                Ok((Known::Nothing, cost))
            }
        }
    }

    fn field(&self, operand: Known<'a>, name: &str) -> Result<Known<'a>, String> {
        let undefined = || Err(self.fault(name, &format!("undefined field '{name}'")));
        let schema = match operand {
            Known::Nothing => return Ok(Known::Nothing),
            Known::Meta if matches!(name, "name" | "generateName") => return Ok(Known::Nothing),
            Known::Meta => return undefined(),
            Known::Of(schema) => schema,
        };
        let whole = (self.root && std::ptr::eq(schema, self.first_root)) || schema.embedded;
        match (name, whole) {
            ("apiVersion" | "kind", true) => return Ok(Known::Nothing),
            ("metadata", true) => return Ok(Known::Meta),
            _ => {}
        }
        let plain = unescape(name);
        match (schema.properties.get(&*plain), &schema.additional) {
            (Some(child), _) => Ok(Known::Of(child)),
            (None, Some(Additional::Fit(child))) => Ok(Known::Of(child)),
            (None, _) if schema.kind != "object" => Ok(Known::Nothing),
            // What the schema does not know, rules do not see.
            (None, _) => undefined(),
        }
    }

    fn call(&mut self, call: &CallExpr) -> Found<'a> {
        let name = call.func_name.as_str();
        let mut cost = 1_u64;
        if let Some(target) = &call.target {
            let namespace = matches!(&target.expr, Expr::Ident(name) if NAMESPACES.contains(&name.as_str())
                && !self.names.iter().any(|(known, _)| known == name));
            let known = match namespace {
                true => Known::Nothing,
                false => {
                    let (known, more) = self.of(target)?;
                    cost = cost.saturating_add(more);
                    known
                }
            };
            return self.with_names(call, known, cost);
        }
        if let (true, [value, key]) = (matches!(name, "_?._" | "_[_]" | "_[?_]"), call.args.as_slice()) {
            return self.index(name, value, key);
        }
        let operator = name.starts_with(['_', '!', '@', '-']);
        if !operator && !FUNCTIONS.contains(&name) && !MORE_FUNCTIONS.contains(&name) {
            return Err(self.fault(name, &format!("undeclared reference to '{name}' (in container '')")));
        }
        for arg in &call.args {
            cost = cost.saturating_add(self.of(arg)?.1);
        }
        Ok((Known::Nothing, cost))
    }

    fn index(&mut self, name: &str, value: &IdedExpr, key: &IdedExpr) -> Found<'a> {
        let (known, mut cost) = self.of(value)?;
        if let ("_?._", Expr::Literal(LiteralValue::String(field))) = (name, &key.expr) {
            self.field(known, field.inner())?;
            return Ok((Known::Nothing, cost.saturating_add(1)));
        }
        cost = cost.saturating_add(self.of(key)?.1).saturating_add(1);
        let element = match (name, known) {
            ("_[_]", Known::Of(schema)) => element(schema),
            _ => Known::Nothing,
        };
        Ok((element, cost))
    }

    /// A method; those that are macros bind their first arguments.
    fn with_names(&mut self, call: &CallExpr, target: Known<'a>, mut cost: u64) -> Found<'a> {
        let floor = self.names.len();
        let mut times = 1_u64;
        let mut args = call.args.as_slice();
        let binds = match (call.func_name.as_str(), args.len()) {
            ("all" | "exists" | "existsOne" | "transformList" | "transformMap", 3) => 2,
            ("optMap" | "optFlatMap", 2) | ("bind", 3) => 1,
            _ => 0,
        };
        for _ in 0..binds {
            if let Some((first, rest)) = args.split_first()
                && let Expr::Ident(name) = &first.expr
            {
                self.names.push((name.clone(), Known::Nothing));
                args = rest;
            }
        }
        if let (2, Known::Of(schema)) = (binds, target) {
            times = elements_max(schema);
        }
        for arg in args {
            match self.of(arg) {
                Ok((_, more)) => cost = cost.saturating_add(more.saturating_mul(times)),
                Err(why) => {
                    self.names.truncate(floor);
                    return Err(why);
                }
            }
        }
        self.names.truncate(floor);
        Ok((Known::Nothing, cost))
    }

    fn comprehension(&mut self, c: &ComprehensionExpr) -> Found<'a> {
        let (range, cost) = self.of(&c.iter_range)?;
        let (_, begin) = self.of(&c.accu_init)?;
        let floor = self.names.len();
        let (times, element) = match range {
            Known::Of(schema) if schema.kind == "object" => (elements_max(schema), Known::Nothing),
            Known::Of(schema) => (elements_max(schema), element(schema)),
            // A literal list, or what a function made.
            _ => (literal_len(&c.iter_range), Known::Nothing),
        };
        self.names.push((c.accu_var.clone(), Known::Nothing));
        self.names.push((c.iter_var.clone(), if c.iter_var2.is_some() { Known::Nothing } else { element }));
        if let Some(name) = &c.iter_var2 {
            self.names.push((name.clone(), element));
        }
        let inner = self.of(&c.loop_step).and_then(|(_, step)| Ok(step.saturating_add(self.of(&c.loop_cond)?.1)));
        let result = self.of(&c.result).map(|(_, cost)| cost);
        self.names.truncate(floor);
        let cost = cost.saturating_add(begin).saturating_add(inner?.saturating_mul(times)).saturating_add(result?);
        Ok((Known::Nothing, cost))
    }

    /// Where in the source it is, as upstream's compiler shows it.
    fn fault(&self, word: &str, what: &str) -> String {
        let found = self.source.find(word).unwrap_or(0);
        let (before, line) = match self.source[..found].rfind('\n') {
            Some(end) => (end + 1, self.source[..found].matches('\n').count() + 1),
            None => (0, 1),
        };
        let column = self.source[before..found].chars().count();
        let text = self.source[before..].lines().next().unwrap_or_default();
        // A selection is shown at its dot.
        let column = column.saturating_sub(usize::from(what.starts_with("undefined")));
        format!("ERROR: <input>:{line}:{}: {what}\n | {text}\n | {}^", column + 1, ".".repeat(column))
    }
}

fn element(schema: &Structural) -> Known<'_> {
    match (&schema.items, &schema.additional) {
        (Some(items), _) => Known::Of(items),
        (None, Some(Additional::Fit(child))) => Known::Of(child),
        _ => Known::Nothing,
    }
}

fn literal_len(expr: &IdedExpr) -> u64 {
    match &expr.expr {
        Expr::List(list) => u64::try_from(list.elements.len()).unwrap_or(u64::MAX),
        Expr::Map(map) => u64::try_from(map.entries.len()).unwrap_or(u64::MAX),
        _ => 1,
    }
}
