//! Workflows run exactly what was looked at: every action of others is named by the hash of a commit.

use std::fs;

use crate::steps::root;

#[test]
fn every_action_is_pinned_by_the_hash_of_a_commit_and_says_its_version() {
    let folder = root().unwrap().join(".github/workflows");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let uses = text.lines().filter_map(|line| line.split_once("uses: "));
        for (_, action) in uses {
            seen += 1;
            let what = format!("{}: {action}", path.display());
            let (name, version) = action.split_once(" # v").expect(&what);
            let (_, hash) = name.split_once('@').expect(&what);
            let is_hash = hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(is_hash, "{what}");
            assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{what}");
        }
    }
    assert!(seen > 0);
}

#[test]
fn a_release_waits_for_advisories_and_is_built_on_both_processors() {
    let path = root().unwrap().join(".github/workflows/release.yml");
    let workflow: serde_json::Value =
        serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let jobs = &workflow["jobs"];
    let needs = jobs["publish"]["needs"].as_array().unwrap();
    for job in ["advisories", "images"] {
        assert!(needs.iter().any(|it| it == job), "{needs:?}");
        assert!(jobs[job]["continue-on-error"].is_null(), "{job}");
    }
    let gate = jobs["advisories"].to_string();
    assert!(gate.contains("xtask -- advisories"), "{gate}");
    let runners = jobs["images"]["strategy"]["matrix"]["include"]
        .as_array()
        .unwrap();
    let processors: Vec<_> = runners
        .iter()
        .map(|it| it["processor"].as_str().unwrap())
        .collect();
    assert_eq!(processors, ["amd64", "arm64"]);
}
