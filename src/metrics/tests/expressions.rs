//! Alert rules and the dashboard: each of their expressions names metrics that there are, and labels that these have.

use super::{Form, example, families};
use crate::check::{Code, Severity};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const RULES: &str = include_str!("../../../etc/prometheus/sled.rules.yml");
const DASHBOARD: &str = include_str!("../../../etc/grafana/sled.json");

/// What Prometheus adds to whatever it reads.
const ADDED: [&str; 2] = ["job", "instance"];
/// Codes of what somebody has asked for.
const ASKED_FOR: [&str; 3] = ["MAINTENANCE", "VOLUME_DRAINING", "SLED_STOPPING"];
/// Words of the language that are followed by labels, and those that are not.
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const WORDS: [&str; 4] = ["or", "and", "unless", "bool"];

/// Names in an expression.
#[derive(Debug, Default, PartialEq)]
struct Names {
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
}

/// Reads the names in an expression of PromQL: metrics are what is neither a function nor a word, labels stand between
/// braces and in lists.
fn names(expression: &str) -> Names {
    let mut names = Names::default();
    let (mut rest, mut labels_until) = (expression, None);
    let mut list_begins = false;
    while let Some(next) = rest.chars().next() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if next == '"' {
            let end = rest[1..].find('"').expect("a text ends");
            rest = &rest[end + 2..];
            continue;
        }
        if next.is_ascii_alphabetic() || next == '_' {
            let (found, after) = rest.split_at(rest.find(|c| !word(c)).unwrap_or(rest.len()));
            rest = after;
            let next = after.trim_start();
            let called = next.starts_with('(') || next.starts_with("by") || next.starts_with("without");
            if labels_until.is_some() {
                names.labels.insert(found.to_owned());
            } else if LISTS.contains(&found) {
                list_begins = true;
            } else if !called && !WORDS.contains(&found) {
                names.metrics.insert(found.to_owned());
            }
            continue;
        }
        match next {
            '{' => labels_until = Some('}'),
            '(' if std::mem::take(&mut list_begins) => labels_until = Some(')'),
            // A time, as in [5m], or one of Grafana's.
            '[' => rest = &rest[rest.find(']').expect("a range ends")..],
            // A number may have a letter behind it.
            '0'..='9' => {
                rest = &rest[rest.find(|c| !word(c) && c != '.').unwrap_or(rest.len())..];
                continue;
            }
            end if labels_until == Some(end) => labels_until = None,
            _ => {}
        }
        rest = &rest[1..];
    }
    names
}

#[test]
fn names_are_told_from_words_and_functions() {
    let expression = "histogram_quantile(0.9, sum by (job, le) (rate(a_bucket{b=~\"c{d\",e!=\"f\"}[$__rate_interval]))) > \
                      1e3 unless on(g) h == 1 or vector(0) * on (i) group_left (j) k";
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let (metrics, labels) = (of(&["a_bucket", "h", "k"]), of(&["job", "le", "b", "e", "g", "i", "j"]));
    assert_eq!(names(expression), Names { metrics, labels });
}

/// The metrics that there are, each with the labels that it has.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let page = example(Form::Plain);
    let mut all: BTreeMap<_, BTreeSet<_>> = [("up".to_owned(), BTreeSet::new())].into();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        all.entry(name.to_owned()).or_default().extend(names(&format!("{{{labels}")).labels);
    }
    assert!(families(&page).len() > 25, "{page}");
    all
}

/// What is wrong with an expression.
fn faults(expression: &str, known: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let Names { metrics, labels } = names(expression);
    let has = |label: &String| {
        let of_theirs = metrics.iter().filter_map(|name| known.get(name)).any(|labels| labels.contains(label));
        ADDED.contains(&label.as_str()) || of_theirs
    };
    let none = metrics.is_empty().then(|| "it names nothing".to_owned());
    let missing = metrics.iter().filter(|name| !known.contains_key(*name)).map(|name| format!("there is no {name}"));
    let odd = labels.iter().filter(|label| !has(label)).map(|label| format!("none of these has {label}"));
    missing.chain(odd).chain(none).map(|fault| format!("{expression}: {fault}")).collect()
}

#[test]
fn a_name_that_is_not_there_is_found() {
    let known = known();
    for (expression, count) in [
        ("sled_well == 0", 0),
        ("sled_wel == 0", 1),
        ("sum by (region) (sled_volume_ready)", 1),
        ("sled_check{core=\"X\"}", 1),
        ("vector(1)", 1),
    ] {
        assert_eq!(faults(expression, &known).len(), count, "{expression}");
    }
}

/// The rules: the name of each alert, and its expression, in the line of its key or in those below that are indented
/// further. promtool reads the file as what it is (`tests/run faces`).
fn rules() -> Vec<(String, String)> {
    let indented = |line: &str| line.len() - line.trim_start().len();
    let mut rules: Vec<(String, String)> = Vec::new();
    let mut lines = RULES.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(alert) = line.trim_start().strip_prefix("- alert: ") {
            rules.push((alert.to_owned(), String::new()));
        } else if let Some(begin) = line.trim_start().strip_prefix("expr: ") {
            let expression = &mut rules.last_mut().unwrap().1;
            *expression = begin.trim_start_matches(">-").to_owned();
            while let Some(more) = lines.next_if(|more| indented(more) > indented(line)) {
                *expression += more;
            }
        }
    }
    assert!(rules.iter().all(|(_, expression)| !expression.is_empty()), "{rules:?}");
    rules
}

/// Every text behind this key, at any depth.
fn behind<'a>(key: &str, within: &'a Value, found: &mut Vec<&'a str>) {
    match within {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value.as_str() {
            Some(text) if name == key => found.push(text),
            _ => behind(key, value, found),
        }),
        Value::Array(all) => all.iter().for_each(|one| behind(key, one, found)),
        _ => {}
    }
}

#[test]
fn rules_and_dashboard_name_what_there_is() {
    let (known, dashboard) = (known(), serde_json::from_str::<Value>(DASHBOARD).unwrap());
    let mut shown = Vec::new();
    behind("expr", &dashboard, &mut shown);
    let rules = rules();
    assert!(shown.len() > 20 && rules.len() > 10, "{} in the dashboard, {} rules", shown.len(), rules.len());
    let all = rules.iter().map(|(_, expression)| expression.as_str()).chain(shown.iter().copied());
    let faults: Vec<_> = all.clone().flat_map(|expression| faults(expression, &known)).collect();
    assert_eq!(faults, Vec::<String>::new());
    // What is told, and neither shown nor watched by anybody, is told in vain.
    let used: BTreeSet<_> = all.flat_map(|expression| names(expression).metrics).collect();
    let base = |name: &str| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    let used: BTreeSet<_> = used.iter().map(|name| base(name)).collect();
    let unused: Vec<_> = known.keys().map(|name| base(name)).filter(|name| !used.contains(name)).collect();
    assert_eq!(unused, Vec::<String>::new());
}

/// Every condition that keeps hosts out is alerted on, but for steps on the way to being well and what was asked for.
#[test]
fn the_rule_of_blocking_conditions_is_of_the_table_of_checks() {
    let rules: BTreeMap<_, _> = rules().into_iter().collect();
    let left_out = rules["SledCheckBlocking"].split("code!~\"").nth(1).unwrap().split('"').next().unwrap();
    let left_out: BTreeSet<_> = left_out.split('|').collect();
    let passes = |code: &&Code| code.passes() || ASKED_FOR.contains(&code.as_str());
    let blocking = Code::ALL.iter().filter(|code| code.severity() == Severity::Blocking);
    assert_eq!(left_out, blocking.filter(passes).map(|code| code.as_str()).collect());
}
