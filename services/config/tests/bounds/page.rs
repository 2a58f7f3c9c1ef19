//! The page as text: two tables between marks, and what is written by hand around them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::keys::Key;

const BOUNDS: &str = "<!-- bounds -->\n";
const SETTINGS: &str = "<!-- settings -->\n";
const END: &str = "<!-- end -->\n";

/// What is written by hand in a row of the bounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cells {
    /// What happens at the bound.
    pub(crate) at: String,
    /// The metric, or why there is none.
    pub(crate) counted: String,
}

/// The page, apart.
#[derive(Debug)]
pub(crate) struct Page {
    before: String,
    between: String,
    after: String,
    /// Rows of the bounds by key.
    pub(crate) bounds: BTreeMap<String, Cells>,
    /// Keys that bound nothing.
    settings: Vec<String>,
}

impl Page {
    /// Takes a page apart. One without its marks cannot be kept.
    pub(crate) fn parse(text: &str) -> Self {
        let (before, rest) = text.split_once(BOUNDS).unwrap();
        let (bounds, rest) = rest.split_once(END).unwrap();
        let (between, rest) = rest.split_once(SETTINGS).unwrap();
        let (settings, after) = rest.split_once(END).unwrap();
        let bounds = rows(bounds).map(|(key, cells)| {
            let cell = |at: usize| cells.get(at).cloned().unwrap_or_default();
            let (at, counted) = (cell(3), cell(4));
            (key, Cells { at, counted })
        });
        Self {
            before: before.to_owned(),
            between: between.to_owned(),
            after: after.to_owned(),
            bounds: bounds.collect(),
            settings: rows(settings).map(|(key, _)| key).collect(),
        }
    }

    /// The page for these keys, with the cells that it has.
    pub(crate) fn render(&self, keys: &[Key]) -> String {
        let mut bounds = String::from(
            "| Key | Range | Default | What it bounds | At the bound | Counted by |\n\
             |---|---|---|---|---|---|\n",
        );
        let mut settings = String::from("| Key | Range | Default | Meaning |\n|---|---|---|---|\n");
        for key in keys {
            let Key {
                path,
                range,
                default,
                meaning,
            } = key;
            if self.settings.contains(path) {
                writeln!(settings, "| `{path}` | {range} | {default} | {meaning} |").unwrap();
            } else {
                let Cells { at, counted } = self.bounds.get(path).cloned().unwrap_or_default();
                writeln!(
                    bounds,
                    "| `{path}` | {range} | {default} | {meaning} | {at} | {counted} |"
                )
                .unwrap();
            }
        }
        let Self {
            before,
            between,
            after,
            ..
        } = self;
        format!("{before}{BOUNDS}{bounds}{END}{between}{SETTINGS}{settings}{END}{after}")
    }

    /// Metrics that the bounds name, with their labels.
    pub(crate) fn named_metrics(&self) -> Vec<String> {
        let cells = self.bounds.values().map(|cells| cells.counted.as_str());
        let fixed = self.after.lines().filter(|line| line.starts_with('|'));
        let parts = cells.chain(fixed).flat_map(|cell| cell.split('`'));
        let names = parts.filter(|part| part.starts_with("im_"));
        names.map(str::to_owned).collect()
    }
}

/// Rows of a table: the key, and the cells after it.
fn rows(table: &str) -> impl Iterator<Item = (String, Vec<String>)> {
    table.lines().filter_map(|line| {
        let escaped = line.replace("\\|", "\u{0}");
        let mut cells = escaped
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().replace('\u{0}', "\\|"));
        let key = cells.next()?.trim_matches('`').to_owned();
        let is_key = key.contains('.') && !key.contains(' ');
        is_key.then(|| (key, cells.collect()))
    })
}
