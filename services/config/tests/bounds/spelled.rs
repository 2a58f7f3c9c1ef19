//! Nothing in the repository is written with an old key, but for what tells of them.

use std::path::Path;

use im_config::renamed;

use crate::root;

/// The table, tests of it, and what shows how older servers are told.
const MAY: [&str; 6] = [
    "CHANGELOG.md",
    "services/config/src/renamed",
    "services/imd/src/manifest/tests.rs",
    "services/imd/tests/it/refusals.rs",
    "operator/plan/tests/it/validation.rs",
    "operator/api/tests/manifests/good/older-servers.yaml",
];

const KINDS: [&str; 9] = ["rs", "md", "yaml", "yml", "json", "toml", "sh", "py", "txt"];

fn walk(dir: &Path, seen: &mut usize, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default();
        let relative = path.strip_prefix(root()).unwrap().to_owned();
        if MAY.iter().any(|may| relative.starts_with(may)) {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            let is_hidden = name.to_string_lossy().starts_with('.');
            if !is_hidden && name != "target" {
                walk(&path, seen, found);
            }
        } else if path
            .extension()
            .is_some_and(|kind| KINDS.iter().any(|it| kind == *it))
        {
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            *seen += 1;
            found.extend(renamed::all().filter_map(|key| {
                let variable = format!("IMD_{}", key.old.replace('.', "__").to_uppercase());
                let is_there = text.contains(&key.old) || text.contains(&variable);
                is_there.then(|| format!("{}: {}", relative.display(), key.old))
            }));
        }
    }
}

#[test]
fn no_old_key_is_used() {
    let (mut seen, mut found) = (0, Vec::new());
    walk(&root(), &mut seen, &mut found);
    assert!(seen > 500, "{seen} files");
    assert!(found.is_empty(), "{found:#?}");
}
