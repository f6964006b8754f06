//! Expressions of the Common Expression Language, as rules have them.
//!
//! The `cel` crate reads them. They are evaluated here: within a budget, so that no rule holds up the server; over JSON
//! and its schema without a copy; and with the functions that Kubernetes adds.

use std::collections::HashMap;
use std::sync::LazyLock;

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr};
use cel::parser::Parser;
use serde_json::Value;

use crate::structural::Structural;

mod call;
mod check;
mod eval;
mod library;
mod number;
mod text;
mod value;

use eval::Evaluation;
use value::Val;

/// What one rule may cost, as estimated from its schema.
pub(crate) const RULE_COST_MAX: u64 = 10_000_000;
/// What all rules of a schema may cost together, as estimated.
pub(crate) const SCHEMA_COST_MAX: u64 = 100_000_000;
/// What one evaluation may really cost.
const CALL_COST_MAX: u64 = 1_000_000;
/// What all evaluations for one request may really cost.
const REQUEST_COST_MAX: u64 = 10_000_000;

pub(crate) use check::elements_max;

/// A schema that says nothing.
static ANY: LazyLock<Structural> = LazyLock::new(Structural::default);

/// An expression that was read.
#[derive(Debug)]
pub(crate) struct Program {
    source: String,
    root: IdedExpr,
}

/// What is left to spend.
pub(crate) struct Budget(u64);

impl Budget {
    pub(crate) fn of_request() -> Self {
        Self(REQUEST_COST_MAX)
    }
}

/// What the names in a rule stand for.
pub(crate) struct Bound<'a> {
    pub value: &'a Value,
    pub old: Option<&'a Value>,
    /// Whether `oldSelf` is an optional value.
    pub optional: bool,
    pub schema: &'a Structural,
}

/// What an expression came to.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Bool(bool),
    Text(String),
    Other,
}

/// How an evaluation ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Value(Answer),
    /// With an error of the language, e.g. `no such key: x`.
    Failed(String),
    /// With nothing left to spend.
    Spent,
}

impl Program {
    /// Reads an expression.
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let parsed = Parser::default().enable_optional_syntax(true).parse(text);
        let root = parsed.map_err(|errors| errors.to_string())?;
        Ok(Self { source: text.to_owned(), root })
    }

    /// Whether a name is used in it.
    pub(crate) fn names(&self, name: &str) -> bool {
        any(&self.root, &|expr| matches!(expr, Expr::Ident(ident) if ident == name))
    }

    /// What it may cost for values of a schema.
    ///
    /// # Errors
    /// A field or a name that there cannot be.
    pub(crate) fn check(&self, schema: &Structural, root: bool) -> Result<u64, String> {
        check::check(&self.source, &self.root, schema, root)
    }

    /// Evaluates it.
    pub(crate) fn run(&self, bound: &Bound<'_>, budget: &mut Budget) -> Outcome {
        let allowed = budget.0.min(CALL_COST_MAX);
        let own = Val::of(bound.value, bound.schema);
        let old = bound.old.map(|old| Val::of(old, bound.schema));
        let old = if bound.optional { Some(Val::Optional(old.map(std::rc::Rc::new))) } else { old };
        let mut names = vec![("self".to_owned(), own)];
        names.extend(old.map(|old| ("oldSelf".to_owned(), old)));
        let mut evaluation = Evaluation { names, left: allowed, patterns: HashMap::new() };
        let result = evaluation.eval(&self.root);
        budget.0 -= allowed - evaluation.left;
        match result {
            Ok(Val::Bool(value)) => Outcome::Value(Answer::Bool(value)),
            Ok(Val::Text(text)) => Outcome::Value(Answer::Text(text.into_owned())),
            Ok(_) => Outcome::Value(Answer::Other),
            Err(eval::Fault::Spent) => Outcome::Spent,
            Err(eval::Fault::Error(why)) => Outcome::Failed(why),
        }
    }
}

/// Whether a test holds for an expression or one in it.
fn any(expr: &IdedExpr, test: &dyn Fn(&Expr) -> bool) -> bool {
    test(&expr.expr) || children(&expr.expr).into_iter().any(|child| any(child, test))
}

/// The expressions that stand directly in another.
fn children(expr: &Expr) -> Vec<&IdedExpr> {
    match expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(c) => vec![&c.iter_range, &c.accu_init, &c.loop_cond, &c.loop_step, &c.result],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => entries(&map.entries),
        Expr::Select(select) => vec![&select.operand],
        Expr::Struct(of) => entries(&of.entries),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}

fn entries(entries: &[IdedEntryExpr]) -> Vec<&IdedExpr> {
    let mut found = Vec::new();
    for entry in entries {
        match &entry.expr {
            EntryExpr::StructField(field) => found.push(&field.value),
            EntryExpr::MapEntry(entry) => found.extend([&entry.key, &entry.value]),
        }
    }
    found
}

/// Upstream's words for an estimate that is too high.
pub(crate) fn too_expensive(what: &str, cost: u64, limit: u64) -> String {
    // Only shown, with one digit after the point.
    let times = cost as f64 / limit as f64;
    let factor = match times {
        times if times > 100.0 => "more than 100x".to_owned(),
        times if times < 1.5 => format!("{times:.6}x"),
        times => format!("{times:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
