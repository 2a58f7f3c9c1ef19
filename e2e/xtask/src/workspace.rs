//! How cargo builds and tests the workspace, with the lints of Clippy and rustdoc as a part of compiling.

use std::process::Command;

use crate::limits::Step;
use crate::steps::{cargo, root, step};

/// What compiles, lints and documents a crate.
const RUSTC_WITH_LINTS: &str = "e2e/xtask/rustc-with-lints.sh";

/// Without them the end-to-end tests are left out.
const E2E_FEATURES: &str = "im-e2e-tests/processes,im-e2e-tests/cluster,xtask/charts";

/// Builds every program and every test.
pub(crate) fn build_all(limit: &Step) -> anyhow::Result<()> {
    let mut build = linted(&["build", "--workspace", "--all-targets", "--locked"])?;
    build.args(["--quiet", "--features", E2E_FEATURES]);
    step(limit, &mut build)
}

/// `cargo test` with these arguments. The whole workspace is named, as everywhere: with a part of it,
/// cargo would choose other features for the crates below and build them all again.
pub(crate) fn whole_workspace(args: &[&str]) -> anyhow::Result<Command> {
    let mut tests = linted(&["test", "--workspace", "--locked"])?;
    tests.args(["--features", E2E_FEATURES]).args(args);
    Ok(tests)
}

/// A call of cargo whose compilations tell what Clippy and rustdoc say of the workspace's crates, as errors.
/// Nothing is noted for a faster next compilation, which would cost the first one a tenth.
pub(crate) fn linted(args: &[&str]) -> anyhow::Result<Command> {
    let mut command = cargo(args);
    command.env("RUSTC_WORKSPACE_WRAPPER", root()?.join(RUSTC_WITH_LINTS));
    command.env("CARGO_INCREMENTAL", "0");
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles a library of this text as cargo does; what was said, and whether there is a library.
    fn compiled(text: &str) -> (String, bool) {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("lib.rs");
        std::fs::write(&source, text).unwrap();
        let mut compile = Command::new(root().unwrap().join(RUSTC_WITH_LINTS));
        compile.args(["rustc", "--crate-name", "sample", "--edition=2024"]);
        compile.arg(&source).args(["--crate-type", "lib"]);
        compile.args(["--emit=dep-info,metadata,link", "--warn=clippy::todo"]);
        compile.arg("--out-dir").arg(folder.path());
        let output = compile.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let made = folder.path().join("libsample.rlib").is_file();
        assert!(output.status.success() || !said.is_empty());
        (said, output.status.success() && made)
    }

    #[test]
    fn what_clippy_or_rustdoc_warns_of_is_an_error() {
        assert_eq!(
            compiled("/// See [`two`].\npub fn one() {}\npub fn two() {}"),
            (String::new(), true)
        );
        for (text, lint) in [
            (
                "pub fn one(x: bool) -> bool { x == true }",
                "clippy::bool_comparison",
            ),
            ("pub fn one() { todo!() }", "clippy::todo"),
            ("fn one() {}", "dead-code"),
            (
                "/// See [`three`].\npub fn one() {}",
                "rustdoc::broken-intra-doc-links",
            ),
        ] {
            let (said, passed) = compiled(text);
            assert!(!passed, "{text}");
            assert!(said.contains(lint), "{text}: {said}");
        }
    }
}
