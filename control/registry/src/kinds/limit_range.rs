//! LimitRange.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::names;
use crate::quantity::Quantity;
use crate::resource_name;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

/// Limits and defaults for what is created in a namespace.
pub(crate) struct LimitRanges;

type Amounts = Option<BTreeMap<String, ApiQuantity>>;

impl Kind for LimitRanges {
    type Object = LimitRange;

    const CREATES_ON_UPDATE: bool = true;
    const SINGULAR: &'static str = "limitrange";
    const SHORT_NAMES: &'static [&'static str] = &["limits"];
    const COLUMNS: &'static [Column] = &[table::NAME, table::text("Created At", "When the object was created.")];

    fn default(object: &mut LimitRange) {
        for item in object.spec.iter_mut().flat_map(|spec| &mut spec.limits).filter(|item| item.type_ == "Container") {
            // What is said of one bound stands for the next weaker one that nothing is said of.
            fill(&mut item.default, &item.max);
            fill(&mut item.default_request, &item.default);
            fill(&mut item.default_request, &item.min);
        }
    }

    fn validate(object: &LimitRange) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let limits = Path::root("spec.limits");
        let mut types = BTreeSet::new();
        for (index, item) in object.spec.iter().flat_map(|spec| &spec.limits).enumerate() {
            let path = limits.index(index);
            let kind = path.child("type");
            errors.invalid_each(&kind, &item.type_, names::qualified_name(&item.type_));
            if !types.insert(&item.type_) {
                errors.duplicate(&kind, item.type_.as_str());
            }
            validate_item(&mut errors, &path, item);
        }
        errors.into_vec()
    }

    fn row(object: &LimitRange, _: Timestamp) -> Vec<Cell> {
        let created = object.metadata.creation_timestamp.as_ref();
        vec![table::name(&object.metadata), Cell::from(created.map(|time| time.0.to_string()).unwrap_or_default())]
    }
}

fn fill(into: &mut Amounts, from: &Amounts) {
    for (name, amount) in from.iter().flatten() {
        into.get_or_insert_default().entry(name.clone()).or_insert_with(|| amount.clone());
    }
}

fn validate_item(errors: &mut Errors, path: &Path<'_>, item: &LimitRangeItem) {
    let bounds = [
        ("max", &item.max),
        ("min", &item.min),
        ("default", &item.default),
        ("defaultRequest", &item.default_request),
        ("maxLimitRequestRatio", &item.max_limit_request_ratio),
    ];
    let in_container = matches!(item.type_.as_str(), "Pod" | "Container");
    for (field, amounts) in bounds {
        let path = path.child(field);
        if item.type_ == "Pod" && field.starts_with("default") {
            if amounts.as_ref().is_some_and(|amounts| !amounts.is_empty()) {
                errors.forbidden(&path, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, amount) in amounts.iter().flatten() {
            let path = path.key(name);
            if in_container {
                resource_name::validate_in_container(errors, &path, name);
            } else {
                resource_name::validate(errors, &path, name);
            }
            if let Err(error) = Quantity::try_from(amount) {
                errors.invalid(&path, amount.0.as_str(), &error.to_string());
            }
        }
    }
    let has_storage = |amounts: &Amounts| amounts.as_ref().is_some_and(|amounts| amounts.contains_key("storage"));
    if item.type_ == "PersistentVolumeClaim" && !has_storage(&item.min) && !has_storage(&item.max) {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(&path.child("limits"), why);
    }
    let names: BTreeSet<&String> =
        bounds.iter().flat_map(|(_, amounts)| amounts.iter().flat_map(BTreeMap::keys)).collect();
    for name in names {
        validate_order(errors, path, item, name);
    }
}

/// The bounds of one resource, from the smallest to the largest.
fn validate_order(errors: &mut Errors, path: &Path<'_>, item: &LimitRangeItem, name: &str) {
    let given = |amounts: &'static str| {
        let amounts = match amounts {
            "min" => &item.min,
            "max" => &item.max,
            "default" => &item.default,
            "defaultRequest" => &item.default_request,
            _ => &item.max_limit_request_ratio,
        };
        let text = amounts.as_ref()?.get(name)?;
        Some((text.0.as_str(), Quantity::try_from(text).ok()?))
    };
    // Smaller and what it is called, larger and what it is called, which is at fault and which is shown.
    let rules = [
        (("min", "min value"), ("max", "max value"), "min", "min"),
        (("min", "min value"), ("defaultRequest", "default request value"), "defaultRequest", "defaultRequest"),
        (("defaultRequest", "default request value"), ("max", "max value"), "defaultRequest", "defaultRequest"),
        (
            ("defaultRequest", "default request value"),
            ("default", "default limit value"),
            "defaultRequest",
            "defaultRequest",
        ),
        (("min", "min value"), ("default", "default value"), "default", "min"),
        (("default", "default value"), ("max", "max value"), "default", "max"),
    ];
    for ((small, small_name), (large, large_name), field, shown) in rules {
        if let (Some((small, least)), Some((large, most)), Some((shown, _))) =
            (given(small), given(large), given(shown))
            && least > most
        {
            let why = format!("{small_name} {small} is greater than {large_name} {large}");
            errors.invalid(&path.child(field).key(name), shown, &why);
        }
    }
    validate_ratio(errors, path, name, given("maxLimitRequestRatio"), given("min"), given("max"));
    if let (Some((limit, most)), Some((request, wanted))) = (given("default"), given("defaultRequest"))
        && !resource_name::may_overcommit(name)
        && most != wanted
    {
        let why = format!("default value {limit} must equal to defaultRequest value {request} in {name}");
        errors.invalid(&path.child("defaultRequest").key(name), request, &why);
    }
}

type Given<'a> = Option<(&'a str, Quantity)>;

fn validate_ratio(errors: &mut Errors, path: &Path<'_>, name: &str, ratio: Given<'_>, min: Given<'_>, max: Given<'_>) {
    let Some((text, ratio)) = ratio else { return };
    let field = path.child("maxLimitRequestRatio");
    let path = field.key(name);
    if ratio < Quantity::from_value(1) {
        errors.invalid(&path, text, &format!("ratio {text} is less than 1"));
    }
    if let (Some((_, min)), Some((_, max))) = (min, max) {
        #[allow(clippy::cast_precision_loss)]
        let most = max.millis() as f64 / min.millis() as f64;
        #[allow(clippy::cast_precision_loss)]
        let asked = ratio.millis() as f64 / 1000.0;
        if asked > most {
            errors.invalid(&path, text, &format!("ratio {text} is greater than max/min = {most:.6}"));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn range(item: Value) -> LimitRange {
        let mut range =
            crate::decode::decode(json!({"metadata": {"name": "a"}, "spec": {"limits": [item]}})).unwrap().0;
        LimitRanges::default(&mut range);
        range
    }

    fn faults(item: Value) -> Vec<String> {
        LimitRanges::validate(&range(item)).iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
    }

    #[test]
    fn weaker_bounds_follow_stronger_ones() {
        let item =
            json!({"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}, "default": {"memory": "2Mi"}});
        let range = range(item);
        let item = &range.spec.unwrap().limits[0];
        let text = |amounts: &Amounts| serde_json::to_value(amounts).unwrap();
        assert_eq!(text(&item.default), json!({"cpu": "2", "memory": "2Mi"}));
        assert_eq!(text(&item.default_request), json!({"cpu": "2", "memory": "2Mi"}));
    }

    #[test]
    fn bounds_that_contradict_each_other_are_named() {
        assert!(faults(json!({"type": "Pod", "max": {"cpu": "2"}, "min": {"cpu": "2"}})).is_empty());
        assert_eq!(
            faults(json!({"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}, "default": {"cpu": "1"}})),
            [
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
                "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
                "spec.limits[0].default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1",
            ]
        );
        assert_eq!(
            faults(
                json!({"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "3"}, "defaultRequest": {"cpu": "2"}})
            ),
            [
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2\": default request value 2 is greater than max \
                 value 1",
                "spec.limits[0].default[cpu]: Invalid value: \"1\": default value 3 is greater than max value 1",
            ]
        );
        assert_eq!(
            faults(
                json!({"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "3"}})
            ),
            [
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.000000"
            ]
        );
        assert_eq!(
            faults(json!({"type": "PersistentVolumeClaim"})),
            [
                "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither \
              was provided"
            ]
        );
        assert_eq!(
            faults(json!({"type": "Container", "max": {"gadgets": "1"}}))[0],
            "spec.limits[0].max[gadgets]: Invalid value: \"gadgets\": must be a standard resource type or fully qualified"
        );
    }
}
