//! What the chart of a cluster makes for Prometheus and Grafana: rules that do what their tests say, a runbook for
//! each alert, and no figure that nobody shows.
//!
//! Rules are tested by `ruletest` (`e2e/kube/rules`): the variable RULETEST names it, and without it it must be on the
//! PATH.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::helm::{objects, template};
use crate::{files, read, repository};

/// Words of the query language that stand where names of figures do.
const WORDS: [&str; 9] = [
    "and", "or", "unless", "offset", "bool", "inf", "nan", "atan2", "e",
];

/// Words before a list of labels in brackets.
const GROUPINGS: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// Figures that Prometheus makes itself.
const OF_PROMETHEUS: [&str; 1] = ["up"];

/// The pages of figures, each held against what processes show by a test of its own.
const PAGES: [&str; 2] = [
    "docs/reference/metrics.md",
    "docs/reference/operator-metrics.md",
];

fn rendered() -> Vec<Value> {
    let values = repository("charts/im-cluster/ci/monitored-values.yaml");
    let outcome = template("im-cluster", &values);
    assert!(outcome.success, "{}", outcome.complaint);
    objects(&outcome.out)
}

fn of_kind<'a>(all: &'a [Value], kind: &str) -> Vec<&'a Value> {
    all.iter().filter(|it| it["kind"] == kind).collect()
}

/// What the PrometheusRule holds.
fn rule_groups(all: &[Value]) -> Value {
    of_kind(all, "PrometheusRule")[0]["spec"].clone()
}

/// Every rule.
fn rules(groups: &Value) -> Vec<&Value> {
    let groups = groups["groups"].as_array().expect("groups");
    let rules = groups.iter().filter_map(|group| group["rules"].as_array());
    rules.flatten().collect()
}

fn alerts(groups: &Value) -> BTreeSet<&str> {
    rules(groups)
        .iter()
        .filter_map(|rule| rule["alert"].as_str())
        .collect()
}

fn tests_of_rules() -> Vec<std::path::PathBuf> {
    files(&repository("e2e/xtask/tests/charts/rules"), ".yaml")
}

/// Runs `ruletest`, and returns what it complains of.
fn ruletest(command: &str, files: &[&Path]) -> Result<(), String> {
    let program = std::env::var_os("RULETEST").unwrap_or_else(|| "ruletest".into());
    let output = Command::new(&program).arg(command).args(files).output();
    let output = output.unwrap_or_else(|error| {
        panic!(
            "run {}: {error}; the variable RULETEST names the program",
            program.display()
        )
    });
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn alerts_fire_and_stay_silent_as_their_tests_say() {
    let dir = tempfile::tempdir().expect("make a folder");
    let file = |name: &str| dir.path().join(name);
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("write");
    // JSON is YAML.
    write(&file("rules.yaml"), &rule_groups(&rendered()).to_string());
    assert_eq!(ruletest("check", &[&file("rules.yaml")]), Ok(()));
    let mut copies = Vec::new();
    for test in tests_of_rules() {
        let copy = file(
            test.file_name()
                .and_then(|name| name.to_str())
                .expect("a name"),
        );
        write(&copy, &read(&test));
        copies.push(copy);
    }
    let copies: Vec<&Path> = copies.iter().map(AsRef::as_ref).collect();
    if let Err(complaint) = ruletest("test", &copies) {
        panic!("{complaint}");
    }

    // The program sees what is wrong: an alert that does not come, one that nobody wanted, a rule that is none.
    let roll = read(&repository("e2e/xtask/tests/charts/rules/servers.yaml"));
    for (right, wrong) in [
        ("role: route}", "role: login}"),
        ("19x60", "90x60"),
        ("alertname: ImRoleDown", "alertname: ImRoleGone"),
        ("No route pod of demo answers", "Something else"),
    ] {
        assert!(roll.contains(right), "{right}");
        write(&file("wrong.yaml"), &roll.replace(right, wrong));
        assert!(ruletest("test", &[&file("wrong.yaml")]).is_err(), "{wrong}");
    }
    write(
        &file("no-rules.yaml"),
        "groups: [{name: a, rules: [{alert: A, expr: 'up =='}]}]",
    );
    assert!(ruletest("check", &[&file("no-rules.yaml")]).is_err());
}

/// One test in which it fires, and one in which it stays silent while everything is rolled.
#[test]
fn every_alert_is_tested_both_ways() {
    let groups = rule_groups(&rendered());
    let (mut fire, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for file in tests_of_rules() {
        let tests = objects(&read(&file)).remove(0);
        for test in tests["tests"].as_array().expect("tests") {
            for one in test["alert_rule_test"].as_array().expect("alerts") {
                let alert = one["alertname"].as_str().expect("a name").to_owned();
                let none = one["exp_alerts"].as_array().is_none_or(Vec::is_empty);
                if !none {
                    fire.insert(alert);
                } else if file.ends_with("roll.yaml") {
                    silent.insert(alert);
                }
            }
        }
    }
    let all: BTreeSet<String> = alerts(&groups).into_iter().map(str::to_owned).collect();
    assert!(all.len() >= 14, "{all:?}");
    assert_eq!(fire, all, "an alert for each, that comes");
    assert_eq!(silent, all, "and does not come in a roll");
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let all = rendered();
    let groups = rule_groups(&all);
    let page = read(&repository("docs/runbooks.md"));
    let headings: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    assert_eq!(headings, alerts(&groups));
    for rule in rules(&groups) {
        let Some(alert) = rule["alert"].as_str() else {
            continue;
        };
        let url = rule["annotations"]["runbook_url"].as_str().expect("a link");
        let anchor = format!("runbooks.md#{}", alert.to_lowercase());
        assert!(url.ends_with(&anchor), "{alert}: {url}");
        for key in ["summary", "description"] {
            assert!(rule["annotations"][key].is_string(), "{alert}: {key}");
        }
        let (_, section) = page
            .split_once(&format!("## {alert}\n"))
            .expect("a section");
        let section = section.split("\n## ").next().expect("its text");
        for part in ["**Means:**", "**Look:**", "**Do:**"] {
            assert!(section.contains(part), "{alert}: no {part}");
        }
    }
}

/// Names of figures in a query.
fn figures(query: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if let Some(after) = skipped(first, rest) {
            rest = after;
        } else if first.is_ascii_digit() || first == '.' {
            rest = rest.trim_start_matches(|c: char| word(c) || c == '.');
        } else if word(first) {
            let (name, after) = rest.split_at(rest.find(|c| !word(c)).unwrap_or(rest.len()));
            rest = after.trim_start();
            if GROUPINGS.contains(&name) && rest.starts_with('(') {
                rest = rest.split_once(')').map_or("", |(_, after)| after);
            } else if !is_function(rest) && !WORDS.contains(&name) {
                found.insert(name.to_owned());
            }
        } else {
            rest = rest.strip_prefix(first).unwrap_or_default();
        }
    }
    found
}

/// Whether a word is a function or an aggregation, by what follows it.
fn is_function(rest: &str) -> bool {
    let grouped = ["by", "without"].into_iter();
    let mut after = grouped.filter_map(|word| rest.strip_prefix(word));
    rest.starts_with('(') || after.any(|after| after.trim_start().starts_with('('))
}

/// What follows a selector, a range or a text, in which nothing is a figure. The end of a selector is none within a
/// text.
fn skipped(first: char, rest: &str) -> Option<&str> {
    let end = match first {
        '{' => '}',
        '[' => ']',
        '"' => '"',
        _ => return None,
    };
    let mut inside = false;
    let mut after = rest.strip_prefix(first)?.chars();
    for c in after.by_ref() {
        if c == end && !inside {
            break;
        }
        inside ^= c == '"';
    }
    Some(after.as_str())
}

/// Figures on the pages as processes show them, without what a histogram or counter adds.
fn shown() -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for page in PAGES {
        for line in read(&repository(page)).lines() {
            let cells: Vec<&str> = line.split(" | ").collect();
            let name = cells[0]
                .strip_prefix("| `")
                .and_then(|it| it.strip_suffix('`'));
            if let (Some(name), Some(kind)) = (name, cells.get(1)) {
                shown.insert(name.to_owned(), (*kind).to_owned());
            }
        }
    }
    shown
}

#[test]
fn no_rule_and_no_dashboard_names_a_figure_that_nobody_shows() {
    let all = rendered();
    let mut queries = Vec::new();
    let groups = rule_groups(&all);
    let mut recorded = BTreeSet::new();
    for rule in rules(&groups) {
        recorded.extend(rule["record"].as_str());
        queries.push(rule["expr"].as_str().expect("a query").to_owned());
    }
    let dashboards = of_kind(&all, "ConfigMap");
    assert_eq!(dashboards.len(), 4);
    for dashboard in dashboards {
        for (name, text) in dashboard["data"].as_object().expect("files") {
            let json: Value = serde_json::from_str(text.as_str().expect("text")).expect(name);
            for panel in json["panels"].as_array().expect("panels") {
                for target in panel["targets"].as_array().expect("queries") {
                    queries.push(target["expr"].as_str().expect("a query").to_owned());
                }
            }
        }
    }
    let shown = shown();
    assert!(shown.len() > 150, "{}", shown.len());
    let mut seen = BTreeSet::new();
    for query in queries {
        for figure in figures(&query) {
            let known = OF_PROMETHEUS.contains(&figure.as_str())
                || recorded.contains(figure.as_str())
                || shown.iter().any(|(name, kind)| is_of(&figure, name, kind));
            assert!(known, "{figure}: nobody shows it; {query}");
            seen.insert(figure);
        }
    }
    assert!(seen.len() > 50, "{seen:?}");
}

/// Whether a figure is what the exposition has of this metric.
fn is_of(figure: &str, name: &str, kind: &str) -> bool {
    let Some(end) = figure.strip_prefix(name) else {
        return false;
    };
    match kind {
        "counter" => end == "_total",
        "histogram" => ["_bucket", "_sum", "_count"].contains(&end),
        "info" => end == "_info",
        _ => end.is_empty(),
    }
}

#[test]
fn the_names_of_figures_are_found_in_queries() {
    let found = figures(
        "sum by (role, pod) (rate(a_total{b=\"c d\",e=~\"f}\"}[5m] offset 1h)) / on (x) group_left (y) z:w \
         > 14.4 * 1e3 and h{i=\"}\"} unless (j or time())",
    );
    let wanted = ["a_total", "h", "j", "z:w"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(wanted));
    assert!(is_of("a_b_total", "a_b", "counter") && !is_of("a_b", "a_b", "counter"));
    assert!(is_of("a_s_bucket", "a_s", "histogram") && is_of("g", "g", "gauge"));
    assert!(!is_of("g_total", "g", "gauge"));
}

/// Objects of other people's kinds are an error where nobody has defined these.
#[test]
fn nothing_of_it_is_there_unless_asked_for() {
    for values in files(&repository("charts/im-cluster/ci"), "-values.yaml") {
        if values.ends_with("monitored-values.yaml") {
            continue;
        }
        let outcome = template("im-cluster", &values);
        assert!(outcome.success, "{}", outcome.complaint);
        for kind in [
            "PodMonitor",
            "PrometheusRule",
            "Deployment",
            "ConfigMap",
            "Service",
        ] {
            assert!(
                of_kind(&objects(&outcome.out), kind).is_empty(),
                "{}: {kind}",
                values.display()
            );
        }
    }
}
