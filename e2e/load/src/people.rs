//! The people of a benchmark: `u1`, `u2`, … with one password, imported with a ready hash so that
//! preparing ten thousand of them costs nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use im_client::Password;
use im_e2e::people::PASSWORD;
pub(crate) use im_e2e::people::name;

const SALT: &[u8; 16] = b"salt of the runs";

/// How expensive a first login is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hashing {
    /// As little as argon2 allows: for scenarios that are not about logins.
    Cheap,
    /// As the servers do by default.
    Default,
}

impl Hashing {
    /// Memory in KiB and passes.
    const fn cost(self) -> (u32, u32) {
        match self {
            Self::Cheap => (8, 1),
            Self::Default => (19_456, 2),
        }
    }

    /// Settings that make the servers use this cost, so that no login replaces its hash.
    pub(crate) fn settings(self) -> [String; 2] {
        let (memory, passes) = self.cost();
        [
            format!("db_proxy.accounts.argon2_memory={memory}KiB"),
            format!("db_proxy.accounts.argon2_iterations={passes}"),
        ]
    }
}

/// The password of everybody, which is also that of the test people: their terminals can log these in.
pub(crate) fn password() -> Password {
    Password::clear(PASSWORD)
}

/// Writes a directory file with the people `1..=count`.
pub(crate) fn write_csv(dir: &Path, count: u32, hashing: Hashing) -> anyhow::Result<PathBuf> {
    let hash = hash(hashing)?;
    let mut csv = String::from("id,name,password_hash,nick,department,status\n");
    for id in 1..=count {
        // The hash has commas.
        writeln!(csv, "{id},u{id},\"{hash}\",Person {id},Company,active")?;
    }
    let path = dir.join("bench-people.csv");
    std::fs::write(&path, csv).context("write directory file")?;
    Ok(path)
}

/// The password's hash as a PHC string.
fn hash(hashing: Hashing) -> anyhow::Result<String> {
    let (memory, passes) = hashing.cost();
    let params = Params::new(memory, passes, 1, None).map_err(|error| anyhow!("{error}"))?;
    let mut out = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password().as_wire().as_bytes(), SALT, &mut out)
        .map_err(|error| anyhow!("hash password: {error}"))?;
    Ok(format!(
        "$argon2id$v=19$m={memory},t={passes},p=1${}${}",
        STANDARD_NO_PAD.encode(SALT),
        STANDARD_NO_PAD.encode(out)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_names_the_parameters_that_the_servers_are_told() {
        let hash = hash(Hashing::Cheap).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        assert!(Hashing::Cheap.settings().concat().contains("8KiB"));
    }

    #[test]
    fn a_directory_file_has_a_line_for_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let path = write_csv(dir.path(), 3, Hashing::Cheap).unwrap();
        let csv = std::fs::read_to_string(path).unwrap();
        assert_eq!(csv.lines().count(), 4);
        assert!(csv.lines().last().unwrap().starts_with("3,u3,\"$argon2id$"));
    }
}
