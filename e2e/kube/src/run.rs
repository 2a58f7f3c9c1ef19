//! Running other programs and reporting what they said when they fail.

use std::process::Command;

use anyhow::{Context, bail};

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// The command cannot be started, or fails: the error holds the command line, the status and all
/// that it printed.
pub fn check_output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("start {command:?}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}\n{stdout}{stderr}", output.status);
    }
    Ok(stdout)
}
