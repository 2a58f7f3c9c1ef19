//! Dependencies that are declared and not used: of a crate, and of the workspace.
//!
//! Used is what a source file of the crate names as the beginning of a path, in `use`, or in the text of an
//! attribute. Programs that look for unused dependencies of crates know nothing of the workspace's own list.

use std::collections::BTreeSet;

/// Packages whose library has another name than theirs.
const RENAMED: &[(&str, &str)] = &[("md-5", "md5")];

/// Dependencies that only text elsewhere names: generated code.
const ELSEWHERE: &[(&str, &str)] = &[("im-proto-rpc", "prost"), ("im-proto-rpc", "tonic-prost")];

/// Those of `declared` that no source of a crate names.
fn unused<'a>(name: &str, declared: &[&'a str], sources: &[String]) -> Vec<&'a str> {
    let is_used = |dependency: &str| {
        let renamed = RENAMED.iter().find(|(package, _)| *package == dependency);
        let library = match renamed {
            Some((_, library)) => (*library).to_owned(),
            None => dependency.replace('-', "_"),
        };
        ELSEWHERE.contains(&(name, dependency)) || sources.iter().any(|text| names(text, &library))
    };
    let declared = declared.iter().copied();
    declared.filter(|dependency| !is_used(dependency)).collect()
}

/// Whether a source names a library, comments apart.
fn names(text: &str, library: &str) -> bool {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    text.lines().filter(is_code).any(|line| {
        line.match_indices(library).any(|(at, _)| {
            let (before, rest) = line.split_at(at);
            is_named(before, rest.strip_prefix(library).unwrap_or_default())
        })
    })
}

/// Whether what stands between these two names a library.
fn is_named(before: &str, behind: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_whole = !before.ends_with(in_word) && !behind.starts_with(in_word);
    let begins = !before.ends_with("::") && !before.ends_with('.');
    let words = before.trim_end();
    let is_use = words.ends_with("use") || words.ends_with("extern crate");
    is_whole && begins && (is_use || behind.starts_with("::") || behind.starts_with('"'))
}

/// Names in the list that the crates of a workspace share.
fn workspace_list(manifest: &str) -> BTreeSet<&str> {
    let lines = manifest.lines();
    lines
        .skip_while(|line| *line != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use cargo_metadata::{MetadataCommand, Package};

    use super::*;

    /// Every source file of a crate, but for crates that lie inside its folder.
    fn sources(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_another = path.join("Cargo.toml").is_file() || path.ends_with("target");
            if path.is_dir() && !is_another {
                sources(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(fs::read_to_string(path).unwrap());
            }
        }
    }

    fn declared(package: &Package) -> Vec<&str> {
        let dependencies = package.dependencies.iter();
        dependencies
            .map(|dependency| dependency.name.as_str())
            // A crate may name itself, to have features of its own in tests.
            .filter(|dependency| *dependency != package.name.as_str())
            .collect()
    }

    #[test]
    fn every_dependency_is_used() {
        let metadata = MetadataCommand::new().no_deps().exec().unwrap();
        let manifest = fs::read_to_string(metadata.workspace_root.join("Cargo.toml")).unwrap();
        let mut shared = workspace_list(&manifest);
        assert!(shared.contains("tokio") && shared.contains("im-core"));
        let mut wrong = Vec::new();
        for package in &metadata.packages {
            let folder = package.manifest_path.parent().unwrap();
            let mut texts = Vec::new();
            sources(folder.as_std_path(), &mut texts);
            let declared = declared(package);
            for name in unused(&package.name, &declared, &texts) {
                wrong.push(format!("{} does not use {name}", package.name));
            }
            shared.retain(|name| !package.dependencies.iter().any(|used| used.name == *name));
        }
        wrong.extend(shared.iter().map(|name| format!("no crate uses {name}")));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn what_only_looks_like_a_use_is_none() {
        let is_used = |text: &str| unused("x", &["md-5"], &[text.to_owned()]).is_empty();
        for text in [
            "use md5::Md5;",
            "use md5;",
            "fn f() { md5::compute(md5) }",
            "#[serde(with = \"md5::text\")]",
            "#[serde(crate = \"md5\")]",
        ] {
            assert!(is_used(text), "{text}");
        }
        for text in [
            "// use md5::Md5;",
            "use crate::md5::Md5;",
            "let md5 = a.md5; amd5::f(); md5_x::f();",
            "",
        ] {
            assert!(!is_used(text), "{text}");
        }
    }

    #[test]
    fn the_list_of_the_workspace_ends_where_the_next_table_begins() {
        let manifest = "[workspace]\nmembers = 1\n[workspace.dependencies]\n# --- ours\na-b = \"1\"\n\
                        c = { version = \"1\" }\n\n[workspace.lints]\nd = 1\n";
        assert_eq!(workspace_list(manifest), BTreeSet::from(["a-b", "c"]));
    }
}
