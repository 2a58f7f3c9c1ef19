//! The metrics that the sources register.

use std::collections::BTreeSet;
use std::path::Path;

/// Names of metrics, and the words of the files that register them.
pub(crate) struct Metrics {
    names: BTreeSet<String>,
    words: BTreeSet<String>,
}

impl Metrics {
    /// Reads every source file below `dir`.
    pub(crate) fn of_sources(dir: &Path) -> Self {
        let mut this = Self {
            names: BTreeSet::new(),
            words: BTreeSet::new(),
        };
        this.read(dir);
        assert!(!this.names.is_empty(), "no metrics below {}", dir.display());
        this
    }

    fn read(&mut self, dir: &Path) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("tests") && !path.ends_with("target") {
                    self.read(&path);
                }
            } else if path.extension().is_some_and(|end| end == "rs") {
                self.source(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    fn source(&mut self, text: &str) {
        let is_name = |text: &str| {
            !text.is_empty() && text.bytes().all(|c| c == b'_' || c.is_ascii_lowercase())
        };
        let names = text.split('"').filter(|text| is_name(text));
        // A file with a prefix registers below it, for every role where it names one.
        let prefix = text
            .split_once("sub_registry_with_prefix(")
            .map(|(_, rest)| rest.trim_start_matches("format!("))
            .and_then(|rest| rest.strip_prefix('"')?.split('"').next());
        let prefixes: Vec<String> = prefix.map_or_else(Vec::new, |prefix| {
            let roles = im_role::TABLE.roles.iter();
            roles
                .map(|role| prefix.replace("{role}", role.section))
                .collect()
        });
        for name in names {
            if prefixes.is_empty() {
                if name.starts_with("im_") {
                    self.names.insert(name.to_owned());
                }
            } else {
                let below = prefixes.iter().map(|prefix| format!("{prefix}_{name}"));
                self.names.extend(below);
            }
        }
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        self.words.extend(words.map(str::to_owned));
    }

    /// Whether there is a metric of this name, and a value of each of its labels: `im_x{reason="Y"}`.
    pub(crate) fn has(&self, metric: &str) -> bool {
        let (name, labels) = metric.split_once('{').unwrap_or((metric, ""));
        let values = labels.split('"').skip(1).step_by(2);
        let is_known =
            |value: &str| self.words.contains(value) || self.words.contains(&of_an_enum(value));
        self.names.contains(name) && { values }.all(is_known)
    }
}

/// The value of an enum whose label this is: `too_long` is `TooLong`.
fn of_an_enum(label: &str) -> String {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    };
    label.split('_').map(capital).collect()
}
