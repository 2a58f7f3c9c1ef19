//! Holds `docs/requirements.md` against the tests that there are.

use std::collections::{BTreeMap, BTreeSet};

/// Rows that there are.
const ROWS: usize = 108;

/// A row of the document.
#[derive(Debug, PartialEq, Eq)]
struct Row<'a> {
    name: &'a str,
    what: &'a str,
    state: &'a str,
    open: &'a str,
    tests: Vec<&'a str>,
}

/// The row on a line, if there is one.
fn row(line: &str) -> Option<Row<'_>> {
    let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
    let cells: Vec<&str> = cells.split(" | ").map(str::trim).collect();
    let [name, what, state, open, tests] = cells.as_slice() else {
        return None;
    };
    let is_row = name.starts_with("S-");
    is_row.then(|| Row {
        name,
        what,
        state,
        open,
        tests: tests
            .split(", ")
            .map(|test| test.trim_matches('`'))
            .filter(|test| !test.is_empty())
            .collect(),
    })
}

/// What is wrong with a row.
fn faults(row: &Row<'_>, tests: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |is: bool, what: &str| {
        if is {
            faults.push(format!("{}: {what}", row.name));
        }
    };
    let (has_tests, has_open) = (!row.tests.is_empty(), !row.open.is_empty());
    match row.state {
        "done" => fault(
            !has_tests || has_open,
            "done needs tests, and nothing is open",
        ),
        "partly" => fault(
            !has_tests || !has_open,
            "partly needs tests, and what is open",
        ),
        "not yet" => fault(has_tests, "what is not there has no tests"),
        "excluded" => fault(!has_open, "excluded needs a reason"),
        _ => fault(true, "unknown state"),
    }
    fault(row.what.is_empty(), "says nothing");
    for test in &row.tests {
        fault(!tests.contains(*test), &format!("there is no test {test}"));
    }
    faults
}

/// Names of the tests of a source file: functions under an attribute that ends with "test", and those
/// that the contract of the store and property tests are made of.
fn tests_of(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        let name = line.split_once("fn ").and_then(|(before, rest)| {
            let is_function = before.split(' ').all(|word| {
                matches!(word, "" | "pub" | "async" | "const") || word.starts_with("pub(")
            });
            let (name, _) = rest.split_once(['(', '<'])?;
            is_function.then_some(name)
        });
        if let Some(name) = name {
            if is_test {
                found.insert(name.to_owned());
            }
            is_test = false;
        } else if line.starts_with("#[") {
            let attribute = line.trim_start_matches("#[").split(['(', ']', ' ']).next();
            is_test |= attribute.is_some_and(|name| name == "test" || name.ends_with("::test"));
        } else if !line.starts_with("//") && line.ends_with('}') {
            is_test = false;
        }
    }
    found
}

/// How many rows there are in each state.
fn states<'a>(rows: &[Row<'a>]) -> BTreeMap<&'a str, usize> {
    let mut states = BTreeMap::new();
    for row in rows {
        *states.entry(row.state).or_default() += 1;
    }
    states
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::steps::root;

    fn all_tests(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                all_tests(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.extend(tests_of(&fs::read_to_string(path).unwrap()));
            }
        }
    }

    /// The table of bad input names nothing but tests that there are.
    #[test]
    fn tests_of_bad_input_exist() {
        let root = root().unwrap();
        let mut tests = BTreeSet::new();
        for folder in ["e2e", "operator", "proto", "services"] {
            all_tests(&root.join(folder), &mut tests);
        }
        let text = fs::read_to_string(root.join("docs/requirements.md")).unwrap();
        let (_, table) = text.split_once("## Bad input").unwrap();
        let named: Vec<&str> = table.split('`').skip(1).step_by(2).collect();
        assert!(named.len() > 30, "{}", named.len());
        let missing: Vec<&&str> = named.iter().filter(|it| !tests.contains(**it)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn every_row_is_there_and_each_test_that_it_names_exists() {
        let root = root().unwrap();
        let mut tests = BTreeSet::new();
        for folder in ["e2e", "operator", "proto", "services"] {
            all_tests(&root.join(folder), &mut tests);
        }
        let text = fs::read_to_string(root.join("docs/requirements.md")).unwrap();
        let rows: Vec<Row<'_>> = text.lines().filter_map(row).collect();
        let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
        let expected: Vec<String> = (1..=ROWS).map(|number| format!("S-{number:02}")).collect();
        assert_eq!(names, expected);
        let faults: Vec<String> = rows.iter().flat_map(|row| faults(row, &tests)).collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));

        let states = states(&rows);
        let sum = format!(
            "Of {ROWS} rows {} are done, {} partly, {} not yet, and {} are excluded.",
            states["done"], states["partly"], states["not yet"], states["excluded"]
        );
        assert!(text.contains(&sum), "{sum}");
    }

    #[test]
    fn a_row_that_promises_more_than_its_tests_is_found() {
        let tests = tests_of(
            "#[test]\nfn one() {}\n\nfn two() {}\n#[tokio::test(x)]\nasync fn three() {\n",
        );
        let names: Vec<&str> = tests.iter().map(String::as_str).collect();
        assert_eq!(names, ["one", "three"]);
        let faults = |line| faults(&row(line).unwrap(), &tests).len();
        assert_eq!(faults("| S-01 | What | done |  | `one`, `three` |"), 0);
        assert_eq!(faults("| S-01 | What | done |  | `two` |"), 1);
        assert_eq!(faults("| S-01 | What | done |  |  |"), 1);
        assert_eq!(faults("| S-01 | What | done | this | `one` |"), 1);
        assert_eq!(faults("| S-01 | What | partly |  | `one` |"), 1);
        assert_eq!(faults("| S-01 | What | not yet |  |  |"), 0);
        assert_eq!(faults("| S-01 | What | excluded |  |  |"), 1);
        assert_eq!(faults("| S-01 | What | perhaps |  |  |"), 1);
    }
}
