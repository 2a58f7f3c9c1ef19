//! What comments and documents refer to: documents of this repository, and what stands in them.

use std::collections::BTreeSet;

/// The documents whose rows and headings others name by a letter and a number.
struct Numbered {
    /// Deliberate differences, D1 and so on.
    differences: BTreeSet<String>,
    /// Golden frames, F1 and so on.
    frames: BTreeSet<String>,
    /// Rows of the requirements, S-01 and so on.
    rows: BTreeSet<String>,
    /// Paths of all documents.
    documents: BTreeSet<String>,
}

impl Numbered {
    /// What is wrong with the references of a line; `folder` is that of its file.
    fn faults(&self, folder: &str, line: &str) -> Vec<String> {
        let mut faults = Vec::new();
        if line.contains('§') {
            faults.push("a section of nothing that is here".to_owned());
        }
        for phrase in [
            "wire specification",
            "backend specification",
            "wire description",
        ] {
            if line.to_lowercase().contains(phrase) {
                faults.push(phrase.to_owned());
            }
        }
        faults.extend(references(line).filter(|word| !self.is_known(folder, word)));
        faults
    }

    /// Whether what a word refers to is here.
    fn is_known(&self, folder: &str, word: &str) -> bool {
        if let Some(path) = word.strip_suffix(".md") {
            return self.has_document(folder, path);
        }
        match word.chars().next() {
            Some('D') => self.differences.contains(word),
            Some('F') => self.frames.contains(word),
            _ => self.rows.contains(word),
        }
    }

    /// Whether there is a document at this path, without its ending: from the root, from a folder, or
    /// anywhere if it is a name only.
    fn has_document(&self, folder: &str, path: &str) -> bool {
        let from_folder = join(folder, path);
        let name = format!("/{path}");
        let is_name = !path.contains('/');
        self.documents.iter().any(|document| {
            document == path || *document == from_folder || (is_name && document.ends_with(&name))
        })
    }
}

/// A path from a folder, both from the root.
fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The words of a line that refer to a document, a difference, a frame or a row.
fn references(line: &str) -> impl Iterator<Item = String> {
    let in_word = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    line.split(move |c: char| !in_word(c))
        .map(|word| word.trim_end_matches(['.', '-', '/']))
        .filter(|word| {
            let is_document = word
                .strip_suffix(".md")
                .is_some_and(|name| !name.is_empty() && !name.starts_with("//"));
            is_document || is_numbered(word)
        })
        .map(str::to_owned)
}

/// Whether a word is a letter with a number: D13, F9, S-01.
fn is_numbered(word: &str) -> bool {
    let digits = ["D", "F", "S-"]
        .into_iter()
        .find_map(|letter| word.strip_prefix(letter));
    digits.is_some_and(|digits| {
        (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The part of a line that is a comment: of a document all of it.
fn comment<'a>(ending: &str, line: &'a str) -> &'a str {
    let mark = match ending {
        "md" => return line,
        "rs" | "proto" => "//",
        _ => "#",
    };
    line.find(mark).map_or("", |at| line.split_at(at).1)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::steps::root;

    /// Folders and files with text that people read; what is generated or built is not among them.
    const PLACES: &[&str] = &[
        ".github",
        "charts",
        "docs",
        "e2e",
        "operator",
        "proto",
        "services",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "COMPATIBILITY.md",
        "CONTRIBUTING.md",
        "Cargo.toml",
        "Containerfile",
        "Makefile",
        "README.md",
        "SECURITY.md",
    ];

    fn is_text(path: &Path) -> bool {
        let ending = path.extension().and_then(|ending| ending.to_str());
        matches!(
            ending,
            Some("md" | "rs" | "proto" | "toml" | "sh" | "yaml" | "yml") | None
        )
    }

    fn files(path: PathBuf, found: &mut Vec<PathBuf>) {
        if path.is_file() {
            found.extend(is_text(&path).then_some(path));
            return;
        }
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if !path.ends_with("target") && !path.ends_with("golden") {
                files(path, found);
            }
        }
    }

    /// All texts by their paths from the root.
    fn texts() -> Vec<(String, String)> {
        let root = root().unwrap();
        let mut found = Vec::new();
        for place in PLACES {
            files(root.join(place), &mut found);
        }
        found.sort();
        let read = found.into_iter().filter_map(|path| {
            let name = path
                .strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            Some((name, fs::read_to_string(&path).ok()?))
        });
        read.collect()
    }

    /// The first cells of the rows of a document's tables, and the names of its frames.
    fn marks(text: &str) -> BTreeSet<String> {
        let marks = text.lines().filter_map(|line| {
            let rest = line
                .strip_prefix("| ")
                .or_else(|| line.strip_prefix("```frame "))?;
            rest.split(' ').next().filter(|mark| is_numbered(mark))
        });
        marks.map(str::to_owned).collect()
    }

    fn numbered(texts: &[(String, String)]) -> Numbered {
        let of = |name: &str| {
            let (_, text) = texts.iter().find(|(path, _)| path == name).unwrap();
            marks(text)
        };
        Numbered {
            differences: of("COMPATIBILITY.md"),
            frames: of("docs/protocol.md"),
            rows: of("docs/requirements.md"),
            documents: texts
                .iter()
                .filter_map(|(path, _)| path.strip_suffix(".md").map(str::to_owned))
                .collect(),
        }
    }

    #[test]
    fn comments_and_documents_refer_only_to_what_is_here() {
        let texts = texts();
        let numbered = numbered(&texts);
        let mut faults = Vec::new();
        for (path, text) in &texts {
            // Names the words that it looks for.
            if path == "e2e/xtask/src/citations.rs" {
                continue;
            }
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
            for (number, line) in text.lines().enumerate() {
                for fault in numbered.faults(folder, comment(ending, line)) {
                    faults.push(format!("{path}:{}: {fault}", number + 1));
                }
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        // They were read: each has dozens.
        for marks in [&numbered.differences, &numbered.frames, &numbered.rows] {
            assert!(marks.len() > 40, "{marks:?}");
        }
    }

    #[test]
    fn what_is_not_here_is_found() {
        let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let numbered = Numbered {
            differences: set(&["D1"]),
            frames: set(&["F2"]),
            rows: set(&["S-03"]),
            documents: set(&["README", "docs/protocol"]),
        };
        let faults = |line| numbered.faults("docs", line);
        assert_eq!(
            faults("D1, F2 and S-03, as README.md and protocol.md say."),
            [""; 0]
        );
        assert_eq!(
            faults("[x](../README.md), docs/protocol.md, ./protocol.md"),
            [""; 0]
        );
        assert_eq!(faults("(D2; S-04)"), ["D2", "S-04"]);
        assert_eq!(faults("F3-F2"), [""; 0], "no reference: one word");
        assert_eq!(faults("see wire.md"), ["wire.md"]);
        assert_eq!(faults("the Wire specification 7.1").len(), 1);
        assert_eq!(faults("§7").len(), 1);
        assert_eq!(comment("rs", "let x = 1; // D2"), "// D2");
        assert_eq!(comment("toml", "x = 1 # D2"), "# D2");
        assert_eq!(comment("rs", "let D2 = 1;"), "");
    }
}
