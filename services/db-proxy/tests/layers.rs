//! Holds the order of the rooms of this crate: each uses only those above it in the list.

use std::path::{Path, PathBuf};

/// Every room of `src`, from the leaves up.
const ORDER: &[&str] = &[
    "support",
    "members",
    "publication",
    "profile",
    "calls",
    "metrics",
    "results",
    "publish",
    "positions",
    "writer",
    "assembly",
    "accounts",
    "answers",
    "admin",
    "attach",
    "server",
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            if name != "tests" {
                sources(&path, found);
            }
        } else if name != "tests.rs" && name != "testing.rs" {
            found.push(path);
        }
    }
}

/// Rooms that a text names by `crate::`, tests apart.
fn uses(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let word = |rest: &str| -> String {
        rest.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(word)
        .collect()
}

#[test]
fn every_room_uses_only_rooms_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let place = |room: &str| ORDER.iter().position(|known| *known == room);
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&src).unwrap();
        let first = inside.iter().next().unwrap().to_str().unwrap();
        let room = first.strip_suffix(".rs").unwrap_or(first);
        if room == "lib" {
            continue;
        }
        let own = place(room).unwrap_or_else(|| panic!("{room} is not in the order of rooms"));
        for used in uses(&std::fs::read_to_string(&file).unwrap()) {
            match place(&used) {
                Some(used) if used <= own => {}
                _ => wrong.push(format!("{} uses {used}", inside.display())),
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
