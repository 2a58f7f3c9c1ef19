//! Every object of one manifest, and how those of others differ, as files to look at. `IM_UPDATE=1` writes
//! them.

use std::path::Path;

use im_operator_api::testing::{Manifest, manifests};
use im_operator_plan::{build, slots};
use serde_json::Value;

use crate::support::{built, owner, read, validate};

/// Shown as a whole.
const FULL: &str = "minimal";

/// Shown by what is different.
const OTHERS: [&str; 13] = [
    "ephemeral",
    "ipv6",
    "dual-stack",
    "node-port",
    "load-balancer",
    "all-fields",
    "older-servers",
    "files-and-pictures",
    "bucket",
    "back-office",
    "push",
    "filter",
    "mysql",
];

/// Equal lines that stand around those that differ.
const CONTEXT: usize = 2;

/// An object as text.
struct Shown {
    /// Kind and name; of a revision, without its hash.
    name: String,
    lines: Vec<String>,
}

impl Shown {
    fn new(stage: &str, object: &Value) -> Self {
        let mut name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let revision = &object["metadata"]["labels"]["imcluster.io/revision"];
        if let Some(revision) = revision.as_str() {
            name = name.replace(revision, "*");
        }
        let kind = object["kind"].as_str().unwrap_or("Service");
        let head = format!("# stage: {stage}");
        let yaml = serde_saphyr::to_string(object).unwrap();
        let lines = [head.as_str(), "---"].into_iter().chain(yaml.lines());
        Self {
            name: format!("{kind} {name}"),
            lines: lines.map(str::to_owned).collect(),
        }
    }
}

/// Everything that a manifest becomes, the ReplicaSet and two Services of the msg planner included.
fn objects(manifest: &Manifest) -> Vec<Shown> {
    let cluster = validate(&read(manifest)).unwrap();
    let desired = built(&cluster);
    let children = desired.children.iter();
    let mut objects: Vec<_> = children
        .map(|it| Shown::new(&it.stage.to_string(), &it.child.to_json().unwrap()))
        .collect();
    let replicas = cluster.spec.roles.msg.replicas;
    let set = build::msg_replica_set(&cluster, &owner(), &desired.msg, replicas);
    let slot = |index, bound| slots::service(&cluster, &owner(), index, bound);
    let planned = [
        serde_json::to_value(set).unwrap(),
        serde_json::to_value(slot(0, true)).unwrap(),
        serde_json::to_value(slot(1, false)).unwrap(),
    ];
    objects.extend(
        planned
            .iter()
            .map(|it| Shown::new("by the msg planner", it)),
    );
    objects
}

fn differences(full: &[Shown], other: &[Shown]) -> String {
    let find = |all: &[Shown], name: &str| all.iter().position(|shown| shown.name == name);
    let mut text = format!("# What differs from {FULL}.yaml.\n");
    for shown in full {
        let lines = find(other, &shown.name).map_or(&[][..], |at| &other[at].lines);
        if lines != shown.lines {
            text.push_str(&format!("\n{}\n", shown.name));
            text.push_str(&changes(&shown.lines, lines));
        }
    }
    for shown in other {
        if find(full, &shown.name).is_none() {
            text.push_str(&format!("\n{}\n", shown.name));
            text.push_str(&changes(&[], &shown.lines));
        }
    }
    text
}

/// The lines that go and come, with some of those around them; `...` where lines are left out.
fn changes(old: &[String], new: &[String]) -> String {
    let script = script(old, new);
    let is_near = |at: usize| {
        let near = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(script.len());
        script[near].iter().any(|(sign, _)| *sign != ' ')
    };
    let mut text = String::new();
    let mut left_out = false;
    for (at, (sign, line)) in script.iter().enumerate() {
        if is_near(at) {
            text.push_str(if left_out { "  ...\n" } else { "" });
            text.push_str(&format!("{sign} {line}\n"));
        }
        left_out = !is_near(at);
    }
    text
}

/// The shortest way from one text to the other: lines that stay, go and come.
fn script<'a>(old: &'a [String], new: &'a [String]) -> Vec<(char, &'a str)> {
    // Lines that the rests from here have in common at most.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for (i, left) in old.iter().enumerate().rev() {
        for (j, right) in new.iter().enumerate().rev() {
            common[i][j] = if left == right {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut script = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            script.push((' ', old[i].as_str()));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            script.push(('-', old[i].as_str()));
            i += 1;
        } else {
            script.push(('+', new[j].as_str()));
            j += 1;
        }
    }
    script
}

fn check(file: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file);
    if std::env::var_os("IM_UPDATE").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let present = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        present == text,
        "{} differs; IM_UPDATE=1 cargo test -p im-operator-plan writes it",
        file.display()
    );
}

#[test]
fn the_objects_of_one_manifest_and_the_differences_of_others_are_those_of_the_files() {
    let manifests = manifests("good").unwrap();
    let objects = |name: &str| {
        let manifest = manifests.iter().find(|manifest| manifest.name == name);
        objects(manifest.unwrap_or_else(|| panic!("{name} is gone")))
    };
    let full = objects(FULL);
    let texts: Vec<_> = full.iter().map(|shown| shown.lines.join("\n")).collect();
    check(&format!("{FULL}.yaml"), &(texts.join("\n") + "\n"));
    for name in OTHERS {
        check(&format!("{name}.diff"), &differences(&full, &objects(name)));
    }
}

#[test]
fn a_difference_shows_what_goes_and_comes_and_what_stands_around_it() {
    let lines = |text: &str| -> Vec<String> { text.chars().map(String::from).collect() };
    let shown = changes(&lines("abcdefgh"), &lines("abxdefghy"));
    let expected = "  a\n  b\n- c\n+ x\n  d\n  e\n  ...\n  g\n  h\n+ y\n";
    assert_eq!(shown, expected);
    assert_eq!(changes(&lines("ab"), &lines("ab")), "");
}
