//! Operators and functions, by name.

use std::rc::Rc;

use cel::common::ast::{CallExpr, Expr, IdedExpr};

use super::eval::{Evaluation, Result, error, no_overload};
use super::value::Val;
use super::{library, number, text};

/// The type that a name stands for.
pub(super) fn type_named(name: &str) -> Option<&'static str> {
    Some(match name {
        "bool" => "bool",
        "int" => "int",
        "uint" => "uint",
        "double" => "double",
        "string" => "string",
        "bytes" => "bytes",
        "list" => "list",
        "map" => "map",
        "null_type" => "null_type",
        "type" => "type",
        "optional_type" => "optional_type",
        _ => return None,
    })
}

/// The qualified name that an expression spells, e.g. `optional` in `optional.of(x)`.
fn spelled(expr: &IdedExpr) -> Option<&str> {
    match &expr.expr {
        Expr::Ident(name) => Some(name),
        _ => None,
    }
}

/// Libraries whose functions are called by a qualified name.
pub(super) const NAMESPACES: [&str; 8] = ["optional", "sets", "cel", "base64", "math", "strings", "format", "ip"];

pub(super) fn call<'a>(run: &mut Evaluation<'a>, call: &CallExpr) -> Result<Val<'a>> {
    let name = call.func_name.as_str();
    let namespace = call.target.as_deref().and_then(spelled).filter(|name| NAMESPACES.contains(name));
    let namespace = namespace.filter(|name| !run.names.iter().any(|(known, _)| known == name));
    if let Some(namespace) = namespace {
        if let ("cel", "bind", [variable, value, expr]) = (namespace, name, call.args.as_slice()) {
            let Some(variable) = spelled(variable) else { return no_overload() };
            let value = run.eval(value)?;
            return run.with(variable, value, expr);
        }
        let args = call.args.iter().map(|arg| run.eval(arg)).collect::<Result<Vec<_>>>()?;
        return qualified(run, namespace, name, &args);
    }
    if let Some(target) = call.target.as_deref() {
        let target = run.eval(target)?;
        if let Some(result) = lazy(run, &target, name, &call.args) {
            return result;
        }
        let args = call.args.iter().map(|arg| run.eval(arg)).collect::<Result<Vec<_>>>()?;
        return method(run, &target, name, &args);
    }
    let args = call.args.iter().map(|arg| run.eval(arg)).collect::<Result<Vec<_>>>()?;
    function(run, name, &args)
}

/// Macros whose arguments are evaluated with names bound, or not at all.
fn lazy<'a>(run: &mut Evaluation<'a>, target: &Val<'a>, name: &str, args: &[IdedExpr]) -> Option<Result<Val<'a>>> {
    Some(match (name, target, args) {
        ("optMap" | "optFlatMap", Val::Optional(value), [variable, expr]) => {
            let variable = spelled(variable)?;
            match value {
                None => Ok(Val::Optional(None)),
                Some(value) => run.with(variable, value.as_ref().clone(), expr).map(|result| match name {
                    "optMap" => Val::some(result),
                    _ => result,
                }),
            }
        }
        ("orValue" | "or", Val::Optional(value), [other]) => match (value, name) {
            (Some(value), "orValue") => Ok(value.as_ref().clone()),
            (Some(_), _) => Ok(target.clone()),
            (None, _) => run.eval(other),
        },
        ("all" | "exists" | "existsOne", _, [first, second, expr]) => {
            let names = [spelled(first)?, spelled(second)?];
            let (mut holds, mut others) = (0_usize, 0_usize);
            let done = run.each(target, &names, expr, &mut |_, _, _, value| match value {
                Val::Bool(true) => {
                    holds += 1;
                    Ok(name != "exists")
                }
                Val::Bool(false) => {
                    others += 1;
                    Ok(name != "all")
                }
                _ => no_overload(),
            });
            done.map(|()| {
                Val::Bool(match name {
                    "all" => others == 0,
                    "exists" => holds > 0,
                    _ => holds == 1,
                })
            })
        }
        ("transformList" | "transformMap", _, [first, second, expr]) => {
            let names = [spelled(first)?, spelled(second)?];
            let mut entries = Vec::new();
            let done = run.each(target, &names, expr, &mut |_, key, _, value| {
                entries.push((key.clone(), value));
                Ok(true)
            });
            done.map(|()| match name {
                "transformMap" => Val::Map(Rc::new(entries)),
                _ => Val::list(entries.into_iter().map(|(_, value)| value).collect()),
            })
        }
        _ => return None,
    })
}

fn qualified<'a>(run: &mut Evaluation<'a>, namespace: &str, name: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    match (namespace, name, args) {
        ("optional", "of", [value]) => Ok(Val::some(value.clone())),
        ("optional", "none", []) => Ok(Val::Optional(None)),
        ("optional", "ofNonZeroValue", [value]) => {
            let zero = match value {
                Val::Null | Val::Bool(false) | Val::Int(0) | Val::UInt(0) => true,
                Val::Double(number) => *number == 0.0,
                other => other.len() == Some(0),
            };
            Ok(if zero { Val::Optional(None) } else { Val::some(value.clone()) })
        }
        ("sets", _, [a, b]) => {
            let (Some(a), Some(b)) = (a.items(), b.items()) else { return no_overload() };
            run.spend(a.len().saturating_mul(b.len()))?;
            let within = |a: &[Val<'a>], b: &[Val<'a>]| a.iter().all(|item| b.iter().any(|other| item.equals(other)));
            match name {
                "contains" => Ok(Val::Bool(within(&b, &a))),
                "equivalent" => Ok(Val::Bool(within(&a, &b) && within(&b, &a))),
                "intersects" => Ok(Val::Bool(a.iter().any(|item| b.iter().any(|other| item.equals(other))))),
                _ => no_overload(),
            }
        }
        ("math", "greatest" | "least", args) => {
            let items = match args {
                [one] => one.items().unwrap_or_else(|| vec![one.clone()]),
                several => several.to_vec(),
            };
            number::extreme(&items, name == "greatest")
        }
        ("base64" | "strings", ..) => text::qualified(run, namespace, name, args),
        ("format", ..) => library::format(name, args),
        ("ip", "isCanonical", [Val::Text(text)]) => match text.parse::<std::net::IpAddr>() {
            Ok(address) => Ok(Val::Bool(address.to_string() == **text)),
            Err(_) => error(format!("IP Address \"{text}\" parse error during conversion from string")),
        },
        _ => error(format!("undeclared reference to '{namespace}.{name}'")),
    }
}

fn function<'a>(run: &mut Evaluation<'a>, name: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    match (name, args) {
        ("_==_", [a, b]) => compare_cost(run, a, b).map(|()| Val::Bool(a.equals(b))),
        ("_!=_", [a, b]) => compare_cost(run, a, b).map(|()| Val::Bool(!a.equals(b))),
        ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => {
            compare_cost(run, a, b)?;
            let Some(order) = a.compare(b) else {
                // Something that is no number compares to nothing, and everything else has an order.
                let numbers = matches!(a, Val::Double(_)) || matches!(b, Val::Double(_));
                return if numbers { Ok(Val::Bool(false)) } else { no_overload() };
            };
            Ok(Val::Bool(match name {
                "_<_" => order.is_lt(),
                "_<=_" => order.is_le(),
                "_>_" => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
        ("!_", [Val::Bool(value)]) => Ok(Val::Bool(!value)),
        ("_+_", [a, b]) if a.items().is_some() => match (a.items(), b.items()) {
            (Some(mut a), Some(b)) => {
                run.spend(a.len() + b.len())?;
                a.extend(b);
                Ok(Val::list(a))
            }
            _ => no_overload(),
        },
        ("_+_", [Val::Text(a), Val::Text(b)]) => {
            run.spend((a.len() + b.len()) / 10)?;
            Ok(Val::text(format!("{a}{b}")))
        }
        ("_+_", [Val::Bytes(a), Val::Bytes(b)]) => {
            run.spend((a.len() + b.len()) / 10)?;
            Ok(Val::Bytes([a.as_ref(), b.as_ref()].concat().into()))
        }
        ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [a, b]) => number::arithmetic(name, a, b),
        ("-_", [value]) => number::negate(value),
        ("@in", [item, range]) => contains(run, item, range),
        ("_[_]", [value, key]) => index(value, key),
        ("_[?_]", [value, key]) => Ok(match value {
            Val::Optional(None) => Val::Optional(None),
            Val::Optional(Some(value)) => Val::Optional(index(value, key).ok().map(Rc::new)),
            value => Val::Optional(index(value, key).ok().map(Rc::new)),
        }),
        ("_?._", [value, Val::Text(field)]) => Ok(match value {
            Val::Optional(None) => Val::Optional(None),
            Val::Optional(Some(value)) => Val::Optional(value.field(field).map(Rc::new)),
            value => Val::Optional(value.field(field).map(Rc::new)),
        }),
        ("size", [value]) => method(run, value, "size", &[]),
        ("type", [value]) => Ok(Val::Type(value.type_name())),
        ("dyn", [value]) => Ok(value.clone()),
        ("matches", [value, pattern]) => method(run, value, "matches", std::slice::from_ref(pattern)),
        ("int" | "uint" | "double" | "string" | "bytes" | "bool" | "timestamp" | "duration", [value]) => {
            number::convert(run, name, value)
        }
        _ => library::function(run, name, args),
    }
}

fn compare_cost<'a>(run: &mut Evaluation<'a>, a: &Val<'a>, b: &Val<'a>) -> Result<()> {
    let weight = |value: &Val<'_>| match value {
        Val::Text(text) => text.len() / 10,
        Val::Json(value, _) => weigh(value),
        Val::List(items) => items.len(),
        Val::Map(entries) => entries.len(),
        _ => 0,
    };
    run.spend(weight(a).min(weight(b)))
}

/// How many values there are in one.
fn weigh(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(weigh).sum::<usize>(),
        serde_json::Value::Object(fields) => 1 + fields.values().map(weigh).sum::<usize>(),
        serde_json::Value::String(text) => 1 + text.len() / 10,
        _ => 1,
    }
}

fn contains<'a>(run: &mut Evaluation<'a>, item: &Val<'a>, range: &Val<'a>) -> Result<Val<'a>> {
    if let Some(items) = range.items() {
        run.spend(items.len())?;
        return Ok(Val::Bool(items.iter().any(|other| other.equals(item))));
    }
    match (item, range.type_name()) {
        (Val::Text(name), "map") => Ok(Val::Bool(range.field(name).is_some())),
        (_, "map") => Ok(Val::Bool(range.key(item).is_some())),
        _ => no_overload(),
    }
}

fn index<'a>(value: &Val<'a>, key: &Val<'a>) -> Result<Val<'a>> {
    if value.type_name() == "list" {
        let at = match key {
            Val::Int(at) => usize::try_from(*at).ok(),
            Val::UInt(at) => usize::try_from(*at).ok(),
            // An index that was computed may be a whole number with a fraction part of none.
            Val::Double(at) if at.fract() == 0.0 && *at >= 0.0 && *at < 4e9 => {
                let at = *at as usize;
                Some(at)
            }
            _ => return no_overload(),
        };
        let found = match value {
            Val::List(items) => at.and_then(|at| items.get(at).cloned()),
            _ => at.and_then(|at| value.items()?.into_iter().nth(at)),
        };
        let shown = super::text::shown(key);
        return found.map_or_else(|| error(format!("index out of bounds: {shown}")), Ok);
    }
    if value.type_name() != "map" {
        return no_overload();
    }
    let found = match key {
        Val::Text(name) => value.key(key).or_else(|| value.field(name)),
        key => value.key(key),
    };
    found.map_or_else(|| error(format!("no such key: {}", super::text::shown(key))), Ok)
}

fn method<'a>(run: &mut Evaluation<'a>, target: &Val<'a>, name: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    match (name, target, args) {
        ("size", _, []) => match target.len() {
            Some(len) => Ok(Val::Int(i64::try_from(len).unwrap_or(i64::MAX))),
            None => no_overload(),
        },
        ("hasValue", Val::Optional(value), []) => Ok(Val::Bool(value.is_some())),
        ("value", Val::Optional(value), []) => match value {
            Some(value) => Ok(value.as_ref().clone()),
            None => error("optional.none() dereference"),
        },
        (_, Val::Text(_), _) => text::method(run, target, name, args),
        (_, Val::Time(_) | Val::Duration(_), _) => number::time_part(target, name, args),
        _ if target.type_name() == "list" => text::of_list(run, target, name, args),
        _ => library::method(target, name, args),
    }
}
