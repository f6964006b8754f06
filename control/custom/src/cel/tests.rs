use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn run_with(rule: &str, schema: &Value, value: &Value) -> Outcome {
    let schema = Structural::read(schema);
    let bound = Bound { value, old: None, optional: false, schema: &schema };
    Program::read(rule).unwrap().run(&bound, &mut Budget::of_request())
}

fn run(rule: &str) -> Outcome {
    run_with(rule, &json!({}), &json!({"a": 1, "list": [1, 2, 3], "text": "abc", "map": {"x": 1}, "none": null}))
}

#[test]
fn what_holds_holds() {
    let rules = [
        "self.a == 1 && self.list.size() == 3",
        "self.list.all(x, x > 0) && self.list.exists(x, x == 2) && self.list.exists_one(x, x == 2)",
        "self.list.map(x, x * 2) == [2, 4, 6]",
        "self.list.filter(x, x > 1) == [2, 3]",
        "self.list.map(x, x > 1, x * x) == [4, 9]",
        "self.list.all(i, x, x == i + 1)",
        "has(self.a) && !has(self.b)",
        "self.?b.orValue(7) == 7 && self.?a.hasValue()",
        "self.?a.optMap(x, x + 1).orValue(0) == 2",
        "self.text.matches('^a.c$') && self.text.startsWith('a') && self.text.endsWith('c')",
        "self.text.substring(1, 2) == 'b' && self.text.upperAscii() == 'ABC' && 'a,b'.split(',') == ['a', 'b']",
        "['a', 'b'].join('-') == 'a-b' && 'abcabc'.replace('b', 'x') == 'axcaxc'",
        "'x' in self.map && 2 in self.list && !('y' in self.map)",
        "1 == 1.0 && 1u == 1 && 2 > 1.5",
        "int('7') == 7 && string(7) == '7' && double(1) == 1.0 && type(1) == int",
        "timestamp('2026-01-01T00:00:00Z').getFullYear() == 2026",
        "timestamp('2026-01-01T00:00:00Z') + duration('24h') == timestamp('2026-01-02T00:00:00Z')",
        "duration('90m').getMinutes() == 90 && duration('1h') > duration('59m')",
        "quantity('1Gi').isGreaterThan(quantity('1G')) && isQuantity('100m') && !isQuantity('x')",
        "quantity('1').add(quantity('500m')).compareTo(quantity('1500m')) == 0 && quantity('2').asInteger() == 2",
        "ip('10.0.0.1').family() == 4 && isIP('fd00::1') && cidr('10.0.0.0/8').containsIP('10.1.2.3')",
        "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')",
        "ip.isCanonical('fd00::1') && !ip.isCanonical('fd00:0::1')",
        "url('https://example.com:80/a?b=c').getPort() == '80' && url('https://example.com/a?b=c').getQuery()['b'] == ['c']",
        "isURL('https://example.com') && !isURL('a b')",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-alpha').compareTo(semver('1.0.0')) == -1",
        "sets.contains([1, 2, 3], [2]) && sets.equivalent([1, 2], [2, 1, 1]) && !sets.intersects([1], [2])",
        "[1, 2, 2].isSorted() && [1, 2].sum() == 3 && [3, 1].min() == 1 && [1, 2, 1].lastIndexOf(1) == 2",
        "'abc 123'.find('[0-9]+') == '123' && 'a1b2'.findAll('[0-9]') == ['1', '2']",
        "format.dns1123Label().validate('ok') == optional.none() && format.dns1123Label().validate('-').hasValue()",
        "'%s has %d'.format(['a', 3]) == 'a has 3'",
        "cel.bind(x, self.a + 1, x == 2)",
        "dyn(self.text) == 'abc' && {'a': 1}['a'] == 1 && {'a': 1}.a == 1",
        "self.none == null",
        "false ? 1 / 0 == 1 : true",
        "true || 1 / 0 == 1",
    ];
    for rule in rules {
        assert_eq!(run(rule), Outcome::Value(Answer::Bool(true)), "{rule}");
    }
}

#[test]
fn errors_read_as_upstreams() {
    for (rule, why) in [
        ("self.b == 1", "no such key: b"),
        ("self.list[3] == 1", "index out of bounds: 3"),
        ("1 / 0 == 1", "division by zero"),
        ("9223372036854775807 + 1 == 0", "integer overflow"),
        ("self.a == 1 && self.text + 1 == ''", "no such overload"),
    ] {
        assert_eq!(run(rule), Outcome::Failed(why.to_owned()), "{rule}");
    }
    assert!(Program::read("self.a ==").is_err());
}

#[test]
fn a_schema_gives_types_and_names() {
    let schema = json!({"type": "object", "properties": {
        "when": {"type": "string", "format": "date-time"},
        "long": {"type": "string", "format": "duration"},
        "number": {"type": "number"},
        "a-b": {"type": "string"},
        "namespace": {"type": "string"},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
    }});
    let value = json!({"when": "2026-01-01T00:00:00Z", "long": "1h", "number": 1, "a-b": "x", "namespace": "n",
        "set": ["b", "a"]});
    for rule in [
        "self.when < timestamp('2027-01-01T00:00:00Z')",
        "self.long == duration('60m')",
        "type(self.number) == double",
        "self.a__dash__b == 'x' && self.__namespace__ == 'n'",
    ] {
        assert_eq!(run_with(rule, &schema, &value), Outcome::Value(Answer::Bool(true)), "{rule}");
    }
}

#[test]
fn nothing_runs_without_end() {
    let value = Value::Array((0..2_000).map(Value::from).collect());
    let schema = json!({"type": "array", "items": {"type": "integer"}});
    assert_eq!(run_with("self.all(a, self.all(b, self.all(c, a + b + c >= 0)))", &schema, &value), Outcome::Spent);
    let doubling =
        format!("size({}) > 0", (0..60).fold("'aaaaaaaaaa'".to_owned(), |x, _| format!("[{x}].map(y, y + y)[0]")));
    // Too deep to be read, or too long to be made.
    assert!(Program::read(&doubling).is_err() || run(&doubling) == Outcome::Spent);
    let squared = "self.map(a, self).size() == 2000";
    assert_eq!(run_with(squared, &schema, &value), Outcome::Value(Answer::Bool(true)));
}

#[test]
fn what_cannot_be_is_found_before() {
    let schema = Structural::read(&json!({"type": "object", "properties": {
        "x": {"type": "array", "items": {"type": "object", "properties": {"y": {"type": "array", "items": {"type": "string"}}}}},
        "m": {"type": "array", "maxItems": 10, "items": {"type": "integer"}},
    }}));
    let check = |rule: &str, root: bool| Program::read(rule).unwrap().check(&schema, root);
    assert_eq!(
        check("self.z == 1", false).unwrap_err(),
        "ERROR: <input>:1:5: undefined field 'z'\n | self.z == 1\n | ....^"
    );
    assert!(check("self.x.all(a, a.w == 1)", false).unwrap_err().contains("undefined field 'w'"));
    assert!(check("other == 1", false).unwrap_err().contains("undeclared reference to 'other'"));
    assert!(check("self.metadata.name == 'a'", true).is_ok());
    assert!(check("self.metadata.name == 'a'", false).is_err());
    assert!(check("self.m.all(a, a > 0)", false).unwrap() < 1_000);
    assert!(check("self.x.all(a, a.y.all(b, b == ''))", false).unwrap() > RULE_COST_MAX * 100);
    assert!(too_expensive("estimated rule cost", RULE_COST_MAX * 200, RULE_COST_MAX).contains("more than 100x"));
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in "[a-z0-9 .()\\[\\]'?:+<>=&|!,{}-]{0,60}") {
        if let Ok(program) = Program::read(&text) {
            let value = json!({"a": [1, 2], "b": "c"});
            let bound = Bound { value: &value, old: None, optional: true, schema: &ANY };
            let _ = program.check(&ANY, true);
            let _ = program.run(&bound, &mut Budget::of_request());
        }
    }

    #[test]
    fn methods_take_anything(
        name in prop_oneof![Just("substring"), Just("indexOf"), Just("lastIndexOf"), Just("charAt"), Just("replace"),
            Just("split"), Just("slice"), Just("findAll"), Just("format"), Just("join"), Just("containsIP")],
        target in prop_oneof![Just("'aäb'"), Just("[1, 'a']"), Just("cidr('::/0')"), Just("cidr('10.0.0.0/0')")],
        args in proptest::collection::vec(prop_oneof![Just("''"), Just("'a'"), Just("0"), Just("-1"), Just("9"), Just("['%d']")], 0..3),
    ) {
        let program = Program::read(&format!("{target}.{name}({})", args.join(", "))).unwrap();
        let bound = Bound { value: &Value::Null, old: None, optional: false, schema: &ANY };
        let _ = program.run(&bound, &mut Budget::of_request());
    }
}
