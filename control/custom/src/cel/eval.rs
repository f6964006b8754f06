//! Evaluation, step by step, each of which costs.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, MapExpr, SelectExpr};

use super::call;
use super::value::Val;

/// Why there is no value.
#[derive(Debug, PartialEq)]
pub(super) enum Fault {
    Error(String),
    /// There is nothing left to spend.
    Spent,
}

pub(super) type Result<T> = std::result::Result<T, Fault>;

pub(super) fn error<T>(why: impl Into<String>) -> Result<T> {
    Err(Fault::Error(why.into()))
}

pub(super) fn no_overload<T>() -> Result<T> {
    error("no such overload")
}

/// One run of an expression.
pub(super) struct Evaluation<'a> {
    /// What names stand for, the innermost last.
    pub names: Vec<(String, Val<'a>)>,
    pub left: u64,
    /// Regular expressions that were read.
    pub patterns: HashMap<String, regex::Regex>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn spend(&mut self, cost: usize) -> Result<()> {
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(cost).ok_or(Fault::Spent)?;
        Ok(())
    }

    pub(super) fn eval(&mut self, expr: &IdedExpr) -> Result<Val<'a>> {
        self.spend(1)?;
        match &expr.expr {
            Expr::Literal(literal) => Ok(constant(literal)),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => {
                let mut items = Vec::new();
                for (i, element) in list.elements.iter().enumerate() {
                    match (self.eval(element)?, list.optional_indices.contains(&i)) {
                        (Val::Optional(value), true) => items.extend(value.map(Rc::unwrap_or_clone)),
                        (value, _) => items.push(value),
                    }
                }
                Ok(Val::list(items))
            }
            Expr::Map(map) => self.map(map),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Struct(of) => error(format!("unknown type: {}", of.type_name)),
            Expr::Unspecified => error("unsupported expression"),
        }
    }

    fn name(&self, name: &str) -> Result<Val<'a>> {
        if let Some((_, value)) = self.names.iter().rev().find(|(known, _)| known == name) {
            return Ok(value.clone());
        }
        match call::type_named(name) {
            Some(known) => Ok(Val::Type(known)),
            None => error(format!("no such attribute(s): {name}")),
        }
    }

    fn select(&mut self, select: &SelectExpr) -> Result<Val<'a>> {
        let value = match self.eval(&select.operand)? {
            // A field of an optional value is optional.
            Val::Optional(None) if select.test => return Ok(Val::Bool(false)),
            Val::Optional(None) => return Ok(Val::Optional(None)),
            Val::Optional(Some(value)) => {
                let field = value.field(&select.field);
                return Ok(if select.test { Val::Bool(field.is_some()) } else { Val::Optional(field.map(Rc::new)) });
            }
            value => value,
        };
        if !matches!(value.type_name(), "map") {
            return no_overload();
        }
        let field = value.field(&select.field);
        if select.test {
            return Ok(Val::Bool(field.is_some()));
        }
        field.map_or_else(|| error(format!("no such key: {}", select.field)), Ok)
    }

    fn map(&mut self, map: &MapExpr) -> Result<Val<'a>> {
        let mut entries: Vec<(Val<'a>, Val<'a>)> = Vec::new();
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { return no_overload() };
            let (key, value) = (self.eval(&entry.key)?, self.eval(&entry.value)?);
            self.spend(entries.len() / 8)?;
            if entries.iter().any(|(other, _)| other.equals(&key)) {
                return error("Failed with repeated key");
            }
            match value {
                Val::Optional(value) if entry.optional => {
                    entries.extend(value.map(|value| (key, Rc::unwrap_or_clone(value))));
                }
                value => entries.push((key, value)),
            }
        }
        Ok(Val::Map(Rc::new(entries)))
    }

    fn comprehension(&mut self, c: &ComprehensionExpr) -> Result<Val<'a>> {
        let range = self.eval(&c.iter_range)?;
        let pairs = self.pairs(&range, c.iter_var2.is_some())?;
        let first = self.eval(&c.accu_init)?;
        let floor = self.names.len();
        self.names.push((c.accu_var.clone(), first));
        let result = self.rounds(c, pairs, floor);
        let result = match result {
            Ok(()) => self.eval(&c.result),
            Err(fault) => Err(fault),
        };
        self.names.truncate(floor);
        result
    }

    fn rounds(&mut self, c: &ComprehensionExpr, pairs: Vec<(Val<'a>, Val<'a>)>, accu: usize) -> Result<()> {
        for (first, second) in pairs {
            if matches!(self.eval(&c.loop_cond)?, Val::Bool(false)) {
                break;
            }
            self.names.push((c.iter_var.clone(), first));
            if let Some(name) = &c.iter_var2 {
                self.names.push((name.clone(), second));
            }
            let next = self.step(&c.loop_step, &c.accu_var, accu);
            self.names.truncate(accu + 1);
            // An error may still be outweighed by a later element, as in `exists`.
            match next {
                Ok(next) => self.names[accu].1 = next,
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// A round's result. Lists grow in place, so that making one of n elements takes n steps.
    fn step(&mut self, step: &IdedExpr, accu_var: &str, accu: usize) -> Result<Val<'a>> {
        if let Expr::Call(call) = &step.expr {
            if call.func_name == "_?_:_"
                && let [condition, yes, no] = call.args.as_slice()
            {
                return match self.eval(condition)? {
                    Val::Bool(true) => self.step(yes, accu_var, accu),
                    Val::Bool(false) => self.step(no, accu_var, accu),
                    _ => no_overload(),
                };
            }
            if call.func_name == "_+_"
                && let [left, right] = call.args.as_slice()
                && matches!(&left.expr, Expr::Ident(name) if name == accu_var)
                && matches!(self.names[accu].1, Val::List(_))
            {
                let added = self.eval(right)?;
                let Some(items) = added.items() else { return no_overload() };
                self.spend(items.len())?;
                if let Val::List(mut list) = std::mem::replace(&mut self.names[accu].1, Val::Null) {
                    Rc::make_mut(&mut list).extend(items);
                    return Ok(Val::List(list));
                }
            }
        }
        self.eval(step)
    }

    /// What a comprehension goes through: elements, or keys; with two variables, indexes and elements, or keys and values.
    fn pairs(&mut self, range: &Val<'a>, both: bool) -> Result<Vec<(Val<'a>, Val<'a>)>> {
        self.spend(range.len().unwrap_or(0) / 4)?;
        if let Some(items) = range.items() {
            let pair = |(i, item): (usize, Val<'a>)| match both {
                true => (Val::Int(i64::try_from(i).unwrap_or(i64::MAX)), item),
                false => (item, Val::Null),
            };
            return Ok(items.into_iter().enumerate().map(pair).collect());
        }
        range.entries().map_or_else(no_overload, Ok)
    }

    /// A macro that binds one or two names to the elements of a range and asks an expression for each.
    pub(super) fn each(
        &mut self,
        range: &Val<'a>,
        names: &[&str],
        expr: &IdedExpr,
        take: &mut dyn FnMut(&mut Self, &Val<'a>, &Val<'a>, Val<'a>) -> Result<bool>,
    ) -> Result<()> {
        let floor = self.names.len();
        for (first, second) in self.pairs(range, names.len() > 1)? {
            let values = [first.clone(), second.clone()];
            self.names.extend(names.iter().map(|name| (*name).to_owned()).zip(values));
            let value = self.eval(expr);
            self.names.truncate(floor);
            if !take(self, &first, &second, value?)? {
                break;
            }
        }
        Ok(())
    }

    /// An expression with one more name.
    pub(super) fn with(&mut self, name: &str, value: Val<'a>, expr: &IdedExpr) -> Result<Val<'a>> {
        let floor = self.names.len();
        self.names.push((name.to_owned(), value));
        let result = self.eval(expr);
        self.names.truncate(floor);
        result
    }

    fn call(&mut self, call: &CallExpr) -> Result<Val<'a>> {
        match (call.func_name.as_str(), call.args.as_slice()) {
            ("_&&_", [left, right]) => self.logic(left, right, false),
            ("_||_", [left, right]) => self.logic(left, right, true),
            ("_?_:_", [condition, yes, no]) => match self.eval(condition)? {
                Val::Bool(true) => self.eval(yes),
                Val::Bool(false) => self.eval(no),
                _ => no_overload(),
            },
            ("@not_strictly_false", [value]) => match self.eval(value) {
                Ok(Val::Bool(value)) => Ok(Val::Bool(value)),
                Err(Fault::Spent) => Err(Fault::Spent),
                _ => Ok(Val::Bool(true)),
            },
            _ => call::call(self, call),
        }
    }

    /// `&&` and `||`: the side that decides outweighs an error on the other.
    fn logic(&mut self, left: &IdedExpr, right: &IdedExpr, decides: bool) -> Result<Val<'a>> {
        let first = self.eval(left);
        match first {
            Ok(Val::Bool(value)) if value == decides => return Ok(Val::Bool(decides)),
            Err(Fault::Spent) => return Err(Fault::Spent),
            _ => {}
        }
        match (first, self.eval(right)) {
            (_, Ok(Val::Bool(value))) if value == decides => Ok(Val::Bool(decides)),
            (_, Err(Fault::Spent)) => Err(Fault::Spent),
            (Ok(Val::Bool(_)), Ok(Val::Bool(_))) => Ok(Val::Bool(!decides)),
            (Err(fault), _) | (_, Err(fault)) => Err(fault),
            _ => no_overload(),
        }
    }
}

fn constant<'a>(literal: &LiteralValue) -> Val<'a> {
    match literal {
        LiteralValue::Boolean(value) => Val::Bool(*value.inner()),
        LiteralValue::Bytes(value) => Val::Bytes(value.inner().into()),
        LiteralValue::Double(value) => Val::Double(*value.inner()),
        LiteralValue::Int(value) => Val::Int(*value.inner()),
        LiteralValue::Null => Val::Null,
        LiteralValue::String(value) => Val::Text(Cow::Owned(value.inner().to_owned())),
        LiteralValue::UInt(value) => Val::UInt(*value.inner()),
    }
}
