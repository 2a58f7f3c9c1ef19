//! The order of modules inside a crate: each may use those listed before it, and nothing else.
//!
//! A listed module covers the modules below it that are not listed themselves. A folder's face, the
//! file that declares and re-exports, is listed behind what is inside: whoever is inside uses the
//! others there directly. Tests are left out.

/// Crates that are held to an order: source folder, modules from the bottom up.
const ORDERS: &[(&str, &[&str])] = &[
    ("services/msg/src", MSG),
    ("services/writer/src", WRITER),
    ("services/accounts/src", ACCOUNTS),
    ("services/answers/src", ANSWERS),
    ("services/db-proxy/src", DB_PROXY),
];

const MSG: &[&str] = &[
    "ids",
    "clock",
    "metrics",
    "requests",
    "env",
    "connection::pace",
    "connection::outbound",
    "connection::budget",
    "connection::closes",
    "connection::identity",
    "connection::admission",
    "connection::room",
    "connection::conn",
    "connection::table",
    "connection::partial",
    "connection::meter",
    "connection::user_meters",
    "connection::turn",
    "connection::read",
    "connection::sweep",
    "connection",
    "session::registry",
    "session::sessions",
    "session::takeover",
    "session",
    "gateway::drain",
    "gateway::shed",
    "gateway::ask",
    "gateway::inbox",
    "gateway::public",
    "gateway::routes",
    "gateway::calls",
    "gateway::files",
    "gateway::statuses",
    "gateway::state",
    "gateway::handle",
    "gateway::service",
    "gateway::db",
    "gateway::file_link",
    "gateway::delivery",
    "gateway::load",
    "gateway::endpoint",
    "gateway",
    "server",
];

const WRITER: &[&str] = &[
    "members",
    "publication",
    "reject",
    "filter",
    "bells",
    "metrics",
    "space",
    "stored",
    "publish",
    "positions",
    "writer",
    "assembly",
];

const ACCOUNTS: &[&str] = &["names", "profile", "accounts"];

const ANSWERS: &[&str] = &["answered", "hourly", "striped_locks", "answers"];

const DB_PROXY: &[&str] = &[
    "calls",
    "metrics",
    "results",
    "log",
    "comings",
    "delivery",
    "test_push",
    "filter",
    "sends",
    "announce",
    "admin",
    "attach",
    "follow",
    "retention",
    "dump",
    "server",
];

/// What is wrong in one file: `module` is its path inside the crate, `order` the crate's list.
fn violations(module: &str, text: &str, order: &[&str]) -> Vec<String> {
    let Some(own) = place(module, order) else {
        return vec![format!("{module} is not in the list")];
    };
    let mut wrong = Vec::new();
    for path in paths(&code(text)) {
        let target = resolve(module, &path);
        match place(&target, order) {
            Some(used) if used <= own => {}
            Some(used) => wrong.push(format!("{module} may not use {}", order[used])),
            None => wrong.push(format!("{module} uses {target}, which is not in the list")),
        }
    }
    wrong
}

/// Where the list has this module, or the nearest one above it.
fn place(path: &str, order: &[&str]) -> Option<usize> {
    let mut path = path;
    loop {
        if let Some(index) = order.iter().position(|listed| *listed == path) {
            return Some(index);
        }
        path = path.rsplit_once("::")?.0;
    }
}

/// The text without comments and without items that only tests have.
fn code(text: &str) -> String {
    let mut kept = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("#[cfg(test)]") {
            // One line, or all to the bracket that closes it.
            let end = |line: &str| line.ends_with(';') && !line.starts_with(' ') || line == "}";
            lines.find(|line| end(line));
        } else if !line.trim_start().starts_with("//") {
            kept.push(line);
        }
    }
    kept.join("\n")
}

/// Every path that begins with `crate` or `super`, braces spelled out.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let (before, mut rest) = code.split_at(at);
            let before = before.chars().next_back();
            if before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':') {
                expand("", &mut rest, &mut found);
            }
        }
    }
    found
}

/// Reads one path, or a list of them in braces, from the head of `rest`.
fn expand(prefix: &str, rest: &mut &str, found: &mut Vec<String>) {
    let mut path = prefix.to_owned();
    loop {
        *rest = rest.trim_start();
        if let Some(inner) = rest.strip_prefix('{') {
            *rest = inner;
            while !rest.is_empty() && !rest.starts_with('}') {
                expand(&path, rest, found);
                *rest = rest.trim_start().trim_start_matches(',').trim_start();
            }
            *rest = rest.strip_prefix('}').unwrap_or(rest);
            return;
        }
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*')
            .unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        *rest = behind;
        if name.is_empty() {
            // Not a path after all; go on behind the odd character.
            let mut chars = rest.chars();
            chars.next();
            *rest = chars.as_str();
            return;
        }
        if !path.is_empty() {
            path.push_str("::");
        }
        path.push_str(name);
        match rest.strip_prefix("::") {
            Some(behind) => *rest = behind,
            None => break,
        }
    }
    // `use a as b` inside braces.
    if let Some(behind) = rest.trim_start().strip_prefix("as ") {
        let end = behind.find([',', '}', ';']).unwrap_or(behind.len());
        *rest = behind.split_at(end).1;
    }
    found.push(path);
}

/// The path from the crate's root.
fn resolve(module: &str, path: &str) -> String {
    let mut base: Vec<&str> = module.split("::").collect();
    let mut names = path.split("::").peekable();
    if names.next_if_eq(&"crate").is_some() {
        base.clear();
    }
    while names.next_if_eq(&"super").is_some() {
        base.pop();
    }
    base.extend(names);
    base.join("::")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{ORDERS, paths, violations};

    /// Files of a folder, tests left out, with their module paths.
    fn modules(folder: &Path, above: &str, into: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if ["tests", "testing", "lib"].contains(&stem.as_str()) {
                continue;
            }
            let module = if above.is_empty() {
                stem
            } else {
                format!("{above}::{stem}")
            };
            if path.is_dir() {
                modules(&path, &module, into);
            } else {
                into.push((module, fs::read_to_string(&path).unwrap()));
            }
        }
    }

    #[test]
    fn modules_use_only_those_before_them() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut wrong = Vec::new();
        for (folder, order) in ORDERS {
            let mut found = Vec::new();
            modules(&root.join(folder), "", &mut found);
            assert!(found.len() > 3, "{folder} has no modules");
            for (module, text) in &found {
                wrong.extend(violations(module, text, order));
            }
            for listed in *order {
                let is_there = |(module, _): &(String, String)| {
                    module == listed || module.starts_with(&format!("{listed}::"))
                };
                assert!(found.iter().any(is_there), "{folder} has no {listed}");
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let order = ["low", "mid::one", "mid::two", "mid", "high"];
        let check = |module, text| violations(module, text, &order);
        let clean: [String; 0] = [];
        assert_eq!(check("high", "use crate::mid::X;"), clean);
        assert_eq!(
            check("mid::two", "use super::one::X;\nuse crate::low::Y;"),
            clean
        );
        assert_eq!(check("mid", "// crate::high\nuse one::X;"), clean);
        let tests = "#[cfg(test)]\nmod tests {\n    use crate::high::X;\n}\n";
        assert_eq!(check("low", tests), clean);
        assert_eq!(check("low", "#[cfg(test)]\nuse crate::high::X;"), clean);
        for (module, text) in [
            ("low", "fn f() { crate::high::f(); }"),
            (
                "mid::one",
                "use crate::{\n    low::Y,\n    mid::{two::X as Z, one},\n};",
            ),
            ("mid::one", "use super::{Face, one::X};"),
            ("mid::two::deep", "use super::super::Face;"),
            ("low", "use crate::ROOT;"),
            ("low", "#[cfg(test)]\nmod tests;\nuse crate::high::X;"),
            ("low", "#[cfg(test)]\nfn t() {\n}\nuse crate::high::X;"),
            ("new", ""),
        ] {
            assert_eq!(check(module, text).len(), 1, "{module}: {text}");
        }
    }

    #[test]
    fn braces_are_spelled_out() {
        assert_eq!(
            paths("use crate::{a::{B, c::D as E}, f};"),
            ["crate::a::B", "crate::a::c::D", "crate::f"]
        );
    }
}
