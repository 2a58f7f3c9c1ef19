//! The table of values in each chart's README is made from the comments of values.yaml.

use crate::{CHARTS, compare, read, repository};

const BEGIN: &str = "<!-- values: made from values.yaml -->\n";
const END: &str = "<!-- end of values -->";

/// A value with its meaning.
#[derive(Debug, PartialEq)]
struct Entry {
    key: String,
    default: String,
    meaning: String,
}

/// Reads keys, defaults and the comments above them. A commented key with nothing but maps below is
/// one entry with its whole default; every other key with a value needs a comment.
fn entries(text: &str) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    // The depth of a documented map, whose members are its default.
    let mut whole: Option<usize> = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        let depth = line.len() - trimmed.len();
        if let Some(words) = trimmed.strip_prefix("# ") {
            comment.push(words);
            continue;
        }
        if trimmed.is_empty() {
            comment.clear();
            continue;
        }
        let (key, value) = trimmed
            .split_once(':')
            .ok_or_else(|| format!("no key: {line}"))?;
        let value = value.trim();
        path.retain(|(outer, _)| *outer < depth);
        path.push((depth, key.to_owned()));
        if whole.is_some_and(|outer| depth > outer) {
            let entry: &mut Entry = entries.last_mut().ok_or("no entry")?;
            if !value.is_empty() {
                let inner: Vec<&str> = path
                    .iter()
                    .filter(|(at, _)| whole.is_some_and(|outer| *at > outer))
                    .map(|(_, key)| key.as_str())
                    .collect();
                let separator = if entry.default.is_empty() { "" } else { ", " };
                entry.default += &format!("{separator}{}: {value}", inner.join("."));
            }
            continue;
        }
        whole = None;
        let key = path
            .iter()
            .map(|(_, key)| key.as_str())
            .collect::<Vec<_>>()
            .join(".");
        match (value.is_empty(), comment.is_empty()) {
            (true, true) => continue,
            (true, false) => whole = Some(depth),
            (false, true) => return Err(format!("{key} has no comment")),
            (false, false) => {}
        }
        entries.push(Entry {
            key,
            default: value.to_owned(),
            meaning: comment.join(" "),
        });
        comment.clear();
    }
    Ok(entries)
}

fn table(entries: &[Entry]) -> String {
    let mut table = "| Value | Default | Meaning |\n|---|---|---|\n".to_owned();
    for entry in entries {
        let Entry {
            key,
            default,
            meaning,
        } = entry;
        table += &format!("| `{key}` | `{default}` | {meaning} |\n");
    }
    table.replace("`\"\"`", "empty")
}

#[test]
fn readmes_list_every_value() {
    for chart in CHARTS {
        let folder = repository("charts").join(chart);
        let entries = entries(&read(&folder.join("values.yaml")))
            .unwrap_or_else(|error| panic!("values.yaml of {chart}: {error}"));
        let path = folder.join("README.md");
        let text = read(&path);
        let (before, rest) = text.split_once(BEGIN).expect("the mark of the table");
        let (_, after) = rest.split_once(END).expect("the mark of the table's end");
        let wanted = format!("{before}{BEGIN}\n{}\n{END}{after}", table(&entries));
        compare(&path, &wanted);
    }
}

#[test]
fn comments_nesting_and_defaults_are_read() {
    let text = "# Two\n# lines.\na: 1\n\nb:\n  # Inner.\n  c: [x]\n\n# All of it.\nd:\n  e:\n    f: 1\n    g: 2\n  h: 3\n# Last.\ni: {}\n";
    let entry = |key: &str, default: &str, meaning: &str| Entry {
        key: key.to_owned(),
        default: default.to_owned(),
        meaning: meaning.to_owned(),
    };
    assert_eq!(
        entries(text),
        Ok(vec![
            entry("a", "1", "Two lines."),
            entry("b.c", "[x]", "Inner."),
            entry("d", "e.f: 1, e.g: 2, h: 3", "All of it."),
            entry("i", "{}", "Last."),
        ])
    );
    assert_eq!(
        entries("b:\n  c: 1\n"),
        Err("b.c has no comment".to_owned())
    );
}
