use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn check(selector: &str, pairs: &[(&str, &str)]) -> bool {
    LabelSelector::parse(selector).unwrap().matches(Some(&labels(pairs)))
}

#[test]
fn each_operator_matches_as_upstream() {
    let set = [("a", "b"), ("n", "5"), ("in", "x")];
    let hold = [
        "",
        "a=b",
        "a==b",
        "c!=d",
        "a!=c",
        "a in (b,c)",
        "a notin (c)",
        "z notin (b)",
        "a",
        "!z",
        "n>4",
        "n<6",
        "in=x",
        "in in (x)",
    ];
    for selector in hold {
        assert!(check(selector, &set), "{selector}");
    }
    let fail = ["a=c", "a!=b", "a in (c)", "a notin (b)", "!a", "z", "n>5", "n<5", "z>1", "a>1", "a="];
    for selector in fail {
        assert!(!check(selector, &set), "{selector}");
    }
    assert!(check("a=", &[("a", "")]));
    assert!(check("a in (,b)", &[("a", "")]));
    assert!(LabelSelector::parse("!a").unwrap().matches(None));
}

#[test]
fn errors_read_as_upstream() {
    let text = |s: &str| LabelSelector::parse(s).unwrap_err().to_string();
    assert_eq!(text("a,,b"), "found ',', expected: identifier after ','");
    assert_eq!(text("a b"), "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
    assert_eq!(text("=a"), "found '=', expected: !, identifier, or 'end of string'");
    assert_eq!(text("a in b"), "unable to parse requirement: found 'b' expected: '('");
    assert_eq!(
        text("a in ()"),
        "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
    );
    assert!(text("a>x").ends_with("for 'Gt', 'Lt' operators, the value must be an integer"));
    assert!(text("-a=b").contains("key: Invalid value: \"-a\": name part must consist of"));
}

#[test]
fn objects_and_strings_agree() {
    let api = meta::LabelSelector {
        match_labels: Some(labels(&[("b", "1")])),
        match_expressions: Some(vec![meta::LabelSelectorRequirement {
            key: "a".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec!["y".to_owned(), "x".to_owned()]),
        }]),
    };
    let selector = LabelSelector::from_api(&api).unwrap();
    assert_eq!(selector.to_string(), "a in (x,y),b=1");
    assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector);
}

proptest! {
    #[test]
    fn any_text_gives_an_answer(text in "\\PC*") {
        let _ = LabelSelector::parse(&text);
    }

    #[test]
    fn what_is_printed_parses_to_itself(
        terms in proptest::collection::vec(
            ("[a-z]{1,3}", 0..7usize, proptest::collection::btree_set("[a-z0-9]{1,3}", 1..3)), 0..4)
    ) {
        let text: Vec<String> = terms.iter().map(|(key, operator, values)| {
            let first = values.first().unwrap();
            let all = values.iter().cloned().collect::<Vec<_>>().join(",");
            match operator {
                0 => format!("{key}={first}"),
                1 => format!("{key}=={first}"),
                2 => format!("{key}!={first}"),
                3 => format!("{key} in ({all})"),
                4 => format!("{key} notin ({all})"),
                5 => format!("!{key}"),
                _ => key.clone(),
            }
        }).collect();
        let selector = LabelSelector::parse(&text.join(",")).unwrap();
        prop_assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector);
    }
}
