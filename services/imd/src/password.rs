//! Passwords: from a file or asked for, never from a flag.

use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PasswordArgs {
    /// File whose first line is the password; without it the password is asked for.
    #[arg(long, env = "IMD_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

impl PasswordArgs {
    /// The password: from the file, from the terminal (twice), or the first line of the input.
    pub(crate) fn read(&self, user: &str) -> anyhow::Result<String> {
        let password = match &self.password_file {
            Some(path) => from_file(path)?,
            None if io::stdin().is_terminal() => ask(user)?,
            None => first_line(io::stdin().lock()).context("read password from standard input")?,
        };
        ensure!(!password.is_empty(), "the password is empty");
        Ok(password)
    }
}

fn from_file(path: &Path) -> anyhow::Result<String> {
    let file = std::fs::File::open(path)
        .with_context(|| format!("read password file {}", path.display()))?;
    first_line(io::BufReader::new(file))
        .with_context(|| format!("read password file {}", path.display()))
}

fn first_line(mut input: impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn ask(user: &str) -> anyhow::Result<String> {
    let first =
        rpassword::prompt_password(format!("New password of {user}: ")).context("read password")?;
    let second = rpassword::prompt_password("Again: ").context("read password")?;
    ensure!(first == second, "the passwords differ");
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_file_is_the_password_with_its_spaces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        std::fs::write(&path, " two words \r\nmore\n").unwrap();
        let args = PasswordArgs {
            password_file: Some(path),
        };
        assert_eq!(args.read("ann").unwrap(), " two words ");
    }

    #[test]
    fn an_empty_password_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        std::fs::write(&path, "\n").unwrap();
        let args = PasswordArgs {
            password_file: Some(path),
        };
        assert_eq!(
            args.read("ann").unwrap_err().to_string(),
            "the password is empty"
        );
    }
}
