//! `make mutants`: would the tests of the pure cores notice a fault? Each function is changed in turn, by
//! cargo-mutants, and the tests of its crate are run; what no test notices is listed.
//!
//! What cannot be noticed, since it changes nothing that is promised, stands with its reason in
//! `.cargo/mutants.toml`.

use std::fs;
use std::process::Command;

use anyhow::bail;

use crate::limits;
use crate::steps::{root, step};
use crate::tools;

/// Decides without I/O: a crate's files whose tests must notice a fault.
struct Core {
    name: &'static str,
    package: &'static str,
    files: &'static [&'static str],
}

const fn core(name: &'static str, package: &'static str, files: &'static [&'static str]) -> Core {
    Core {
        name,
        package,
        files,
    }
}

const CORES: &[Core] = &[
    core(
        "position",
        "im-msg",
        &["services/msg/src/gateway/delivery/position.rs"],
    ),
    core(
        "writer-plan",
        "im-writer",
        &["services/writer/src/writer/plan.rs"],
    ),
    core(
        "retry-window",
        "im-writer",
        &["services/writer/src/writer/retries.rs"],
    ),
    core(
        "directory",
        "im-route",
        &[
            "services/route/src/directory.rs",
            "services/route/src/directory/*.rs",
        ],
    ),
    core(
        "login-table",
        "im-login",
        &[
            "services/login/src/table.rs",
            "services/login/src/table/*.rs",
        ],
    ),
    core(
        "msg-planner",
        "im-operator-plan",
        &["operator/plan/src/msg.rs", "operator/plan/src/msg/*.rs"],
    ),
    core("codec", "im-codec", &["services/codec/src/**/*.rs"]),
];

/// Runs it over one core, or over all.
pub(crate) fn run(name: Option<&str>) -> anyhow::Result<()> {
    tools::check()?;
    let chosen: Vec<&Core> = CORES
        .iter()
        .filter(|core| name.is_none_or(|name| name == core.name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = CORES.iter().map(|core| core.name).collect();
        bail!(
            "there is no core {:?}; there are {}",
            name.unwrap_or_default(),
            names.join(", ")
        );
    }
    let cargo_mutants = tools::cargo_mutants()?;
    let out = root()?.join("target/mutants");
    let mut failed = Vec::new();
    for core in chosen {
        println!("    {}", core.name);
        let mut command = Command::new(&cargo_mutants);
        command.args(["mutants", "--package", core.package]);
        for file in core.files {
            command.args(["--file", file]);
        }
        let out = out.join(core.name);
        fs::create_dir_all(&out)?;
        command.arg("--output").arg(&out);
        // What is built stays for the next run, and the tests of the crate are enough.
        command.env(
            "CARGO_TARGET_DIR",
            tools::cache_dir()?.join("mutants-target"),
        );
        command.args(["--minimum-test-timeout", "60", "--", "--locked"]);
        if let Err(error) = step(&limits::MUTANTS, &mut command) {
            failed.push(format!(
                "{}: {error}: see {}/mutants.out",
                core.name,
                out.display()
            ));
        }
    }
    if !failed.is_empty() {
        bail!(
            "changes that no test noticed, or no result:\n  {}",
            failed.join("\n  ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_is_in_the_tree_and_in_its_crate() {
        let root = root().unwrap();
        for core in CORES {
            for file in core.files {
                let folder = file.split("/src/").next().unwrap();
                let manifest = fs::read_to_string(root.join(folder).join("Cargo.toml")).unwrap();
                let name = format!("name = \"{}\"", core.package);
                assert!(
                    manifest.contains(&name),
                    "{file} is not of {}",
                    core.package
                );
                let before_glob = file.split('*').next().unwrap();
                assert!(root.join(before_glob).try_exists().unwrap(), "{file}");
            }
        }
    }

    #[test]
    fn an_unknown_core_is_answered_with_those_that_there_are() {
        let error = run(Some("posit")).unwrap_err().to_string();
        assert!(error.contains("\"posit\""), "{error}");
        assert!(
            CORES.iter().all(|core| error.contains(core.name)),
            "{error}"
        );
    }
}
