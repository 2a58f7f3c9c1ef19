//! Rendered charts against golden files, and values that must be refused.

use std::collections::BTreeSet;

use crate::helm::{helm, template};
use crate::{CHARTS, compare, files, read, repository};

/// The images have the programs' version as their tag.
#[test]
fn charts_have_the_version_of_the_programs() {
    for chart in CHARTS {
        let text = read(&repository("charts").join(chart).join("Chart.yaml"));
        for key in ["version", "appVersion"] {
            let line = format!("{key}: {}", env!("CARGO_PKG_VERSION"));
            assert!(
                text.lines().any(|found| found == line),
                "{chart}: no line {line:?}"
            );
        }
    }
}

#[test]
fn every_chart_passes_lint_with_every_set_of_values() {
    for chart in CHARTS {
        for values in files(&repository("charts").join(chart).join("ci"), "-values.yaml") {
            let path = values.to_str().expect("text");
            let outcome = helm(["lint", "--strict", chart, "--values", path]);
            assert!(outcome.success, "{path}: {}", outcome.out);
        }
    }
}

/// The definition's chart is compared with the definition instead: see `crds`.
#[test]
fn charts_render_as_their_golden_files_say() {
    for chart in ["im-operator", "im-cluster"] {
        let folder = repository("charts").join(chart);
        let mut wanted = BTreeSet::new();
        for values in files(&folder.join("ci"), "-values.yaml") {
            let name = values.file_name().and_then(|name| name.to_str());
            let name = name.expect("text").replace("-values.yaml", ".yaml");
            let golden = folder.join("golden").join(name);
            let outcome = template(chart, &values);
            assert!(
                outcome.success,
                "{}: {}",
                values.display(),
                outcome.complaint
            );
            compare(&golden, &outcome.out);
            wanted.insert(golden);
        }
        let found: BTreeSet<_> = files(&folder.join("golden"), ".yaml").into_iter().collect();
        assert_eq!(found, wanted, "golden files and values of {chart}");
        assert!(!wanted.is_empty(), "{chart} has no values to test");
    }
}

/// Each file begins with what the complaint must say: `# refused: …`.
#[test]
fn wrong_values_are_refused_with_the_name_of_the_field() {
    for chart in CHARTS {
        let folder = repository("charts").join(chart).join("ci/refused");
        let cases = files(&folder, ".yaml");
        assert!(!cases.is_empty(), "{chart} has no values to refuse");
        for values in cases {
            let text = read(&values);
            let complaint = text
                .lines()
                .next()
                .and_then(|line| line.strip_prefix("# refused: "))
                .unwrap_or_else(|| panic!("{} does not say what is wrong", values.display()));
            let outcome = template(chart, &values);
            assert!(!outcome.success, "{} is accepted", values.display());
            assert!(
                outcome.complaint.contains(complaint),
                "{}: {}",
                values.display(),
                outcome.complaint
            );
        }
    }
}

/// What Helm says after an installation: the next three commands.
#[test]
fn notes_tell_the_next_three_commands() {
    for chart in CHARTS {
        let release = ["install", "demo", chart, "--namespace", "chat"];
        let outcome = helm(release.iter().chain(&["--dry-run=client"]));
        assert!(outcome.success, "{}", outcome.complaint);
        let (_, notes) = outcome.out.split_once("\nNOTES:\n").expect("notes");
        let (_, next) = notes.split_once("Next:\n").expect("what is next");
        let commands = next
            .trim_start()
            .lines()
            .take_while(|line| !line.is_empty())
            .count();
        assert_eq!(commands, 3, "{notes}");
    }
}

/// Two renderings of the same values are the same, but for the password that is made up.
#[test]
fn a_password_is_made_up_each_time() {
    let values = tempfile::NamedTempFile::new().expect("make a file");
    let password = || {
        let outcome = template("im-cluster", values.path());
        assert!(outcome.success, "{}", outcome.complaint);
        let line = outcome
            .out
            .lines()
            .find_map(|line| line.trim().strip_prefix("password: "));
        line.expect("a password").trim_matches('"').to_owned()
    };
    let (one, two) = (password(), password());
    assert_eq!((one.len(), two.len()), (32, 32));
    assert_ne!(one, two);
}
