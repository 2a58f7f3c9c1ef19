//! Finds the installation's secret, or makes it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use im_config::ImdConfig;
use im_rpc::Secret;
use im_store::DataDir;

use crate::config::BadConfig;
use crate::connect::ADMIN_SECRET;

/// A secret and the file that it follows.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) secret: Secret,
    pub(super) file: PathBuf,
}

impl Kept {
    fn load(file: &Path) -> Result<Self, BadConfig> {
        Ok(Self {
            secret: Secret::load(file)?,
            file: file.to_owned(),
        })
    }
}

/// The secret of a role: configuration names its file.
pub(super) fn of_role(config: &ImdConfig) -> Result<Kept, BadConfig> {
    let Some(path) = &config.secret_file else {
        return Err(BadConfig::Missing {
            key: "secret_file",
            why: "every internal port and every link needs the installation's secret; give \
                  --secret-file, IMD_SECRET_FILE or the key",
        });
    };
    Kept::load(path)
}

/// The secret of a process that runs everything: `secret` in its data directory, made with mode
/// 0600 when missing, unless configuration names another file.
pub(super) fn of_all_in_one(config: &ImdConfig) -> anyhow::Result<Kept> {
    if config.secret_file.is_some() {
        return Ok(of_role(config)?);
    }
    let why = "all-in-one needs a directory for its data; give --data-dir or the key";
    in_data_dir(config, "secret", why)
}

/// The administrators' secret of a process that runs db-proxy: `admin-secret` in its data directory,
/// made with mode 0600 when missing, unless configuration names another file.
pub(super) fn of_administrators(config: &ImdConfig) -> anyhow::Result<Kept> {
    if let Some(path) = &config.db_proxy.admin_secret_file {
        return Ok(Kept::load(path)?);
    }
    let why = "db-proxy needs a directory for its data; give --data-dir or the key";
    in_data_dir(config, ADMIN_SECRET, why)
}

fn in_data_dir(config: &ImdConfig, name: &str, why: &'static str) -> anyhow::Result<Kept> {
    let key = "data_dir";
    let Some(dir) = &config.data_dir else {
        return Err(BadConfig::Missing { key, why }.into());
    };
    let path = dir.join(name);
    make(dir, &path).with_context(|| format!("make secret file {}", path.display()))?;
    Ok(Kept::load(&path)?)
}

/// Writes a new secret unless there is one. It appears under its name only when it is whole.
fn make(dir: &Path, path: &Path) -> io::Result<()> {
    DataDir::make(dir).map_err(io::Error::other)?;
    if path.try_exists()? {
        return Ok(());
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
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
        let text = |kept: Kept| kept.secret.expose();
        let first = text(of_all_in_one(&config).unwrap());
        assert_eq!(text(of_all_in_one(&config).unwrap()), first);
        let admin = text(of_administrators(&config).unwrap());
        assert_eq!(text(of_administrators(&config).unwrap()), admin);
        assert_ne!(admin, first);
        for name in ["secret", "admin-secret"] {
            let mode = std::fs::metadata(data.join(name)).unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 2);
    }

    #[test]
    fn a_role_without_a_secret_is_told_the_key() {
        let error = of_role(&ImdConfig::default()).unwrap_err().to_string();
        assert!(error.starts_with("set secret_file: "), "{error}");
        let error = of_all_in_one(&ImdConfig::default()).unwrap_err();
        assert!(error.is::<BadConfig>() && error.to_string().starts_with("set data_dir: "));
    }
}
