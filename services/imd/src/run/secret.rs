//! Finds the installation's secret, or makes it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Context;
use im_config::ImdConfig;
use im_rpc::Secret;

use crate::config::BadConfig;

/// The secret of a role: configuration names its file.
pub(super) fn of_role(config: &ImdConfig) -> Result<Secret, BadConfig> {
    let Some(path) = &config.secret_file else {
        return Err(BadConfig::Missing {
            key: "secret_file",
            why: "every internal port and every link needs the installation's secret; give \
                  --secret-file, IMD_SECRET_FILE or the key",
        });
    };
    Ok(Secret::load(path)?)
}

/// The secret of a process that runs everything: `secret` in its data directory, made with mode
/// 0600 when missing, unless configuration names another file.
pub(super) fn of_all_in_one(config: &ImdConfig) -> anyhow::Result<Secret> {
    if config.secret_file.is_some() {
        return Ok(of_role(config)?);
    }
    let Some(dir) = &config.data_dir else {
        return Err(BadConfig::Missing {
            key: "data_dir",
            why: "all-in-one needs a directory for its data; give --data-dir or the key",
        }
        .into());
    };
    let path = dir.join("secret");
    make(dir, &path).with_context(|| format!("make secret file {}", path.display()))?;
    Ok(Secret::load(&path).map_err(BadConfig::Secret)?)
}

/// Writes a new secret unless there is one. It appears under its name only when it is whole.
fn make(dir: &Path, path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if path.try_exists()? {
        return Ok(());
    }
    let draft = dir.join(format!("secret.{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    writeln!(file, "{}", Secret::generate().expose())?;
    file.sync_all()?;
    // A link, unlike a renaming, never replaces a file that has appeared meanwhile.
    match std::fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        linked => linked?,
    }
    std::fs::remove_file(&draft)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn all_in_one_makes_a_secret_for_its_owner_only_and_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/data");
        let config = ImdConfig {
            data_dir: Some(data.clone()),
            ..ImdConfig::default()
        };
        let first = of_all_in_one(&config).unwrap();
        assert_eq!(of_all_in_one(&config).unwrap().expose(), first.expose());
        let mode = std::fs::metadata(data.join("secret"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1);
    }

    #[test]
    fn a_role_without_a_secret_is_told_the_key() {
        let error = of_role(&ImdConfig::default()).unwrap_err().to_string();
        assert!(error.starts_with("set secret_file: "), "{error}");
        let error = of_all_in_one(&ImdConfig::default()).unwrap_err();
        assert!(error.is::<BadConfig>() && error.to_string().starts_with("set data_dir: "));
    }
}
