//! Finds the secrets of a process, or makes them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use im_config::ImdConfig;
use im_db_proxy::RememberKeys;
use im_rpc::Secret;
use im_store::{DataDir, make_private_file};

use crate::config::BadConfig;
use crate::connect::ADMIN_SECRET;

/// The key of remembered logins in the data directory.
const REMEMBER_KEY: &str = "remember_key";

/// A secret and the file that it follows.
#[derive(Debug)]
pub(super) struct Kept<S = Secret> {
    pub(super) secret: S,
    pub(super) file: PathBuf,
}

impl<S> Kept<S> {
    fn load<E>(file: PathBuf, load: impl FnOnce(&Path) -> Result<S, E>) -> Result<Self, BadConfig>
    where
        BadConfig: From<E>,
    {
        Ok(Self {
            secret: load(&file)?,
            file,
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
    Kept::load(path.clone(), Secret::load)
}

/// The secret of a process that runs everything: `secret` in its data directory, made with mode
/// 0600 when missing, unless configuration names another file.
pub(super) fn of_all_in_one(config: &ImdConfig) -> anyhow::Result<Kept> {
    if config.secret_file.is_some() {
        return Ok(of_role(config)?);
    }
    let why = "all-in-one needs a directory for its data; give --data-dir or the key";
    let file = in_data_dir(config, "secret", why)?;
    Ok(Kept::load(file, Secret::load)?)
}

/// The administrators' secret of a process that runs db-proxy: `admin-secret` in its data directory,
/// made with mode 0600 when missing, unless configuration names another file.
pub(super) fn of_administrators(config: &ImdConfig) -> anyhow::Result<Kept> {
    let file = match &config.db_proxy.admin_secret_file {
        Some(path) => path.clone(),
        None => in_data_dir(config, ADMIN_SECRET, DB_PROXY_NEEDS)?,
    };
    Ok(Kept::load(file, Secret::load)?)
}

/// The administrators' secret of a process that calls db-proxy as one of them: configuration names its file.
pub(super) fn of_http_api(config: &ImdConfig) -> Result<Kept, BadConfig> {
    let file = config.http_api.admin_secret_file.clone();
    let file = file.ok_or(BadConfig::Missing {
        key: "http_api.admin_secret_file",
        why: "http-api asks db-proxy for everything, which asks it for the administrators' secret",
    })?;
    Kept::load(file, Secret::load)
}

/// The keys of remembered logins of a process that runs db-proxy: `remember_key` in its data directory,
/// made with mode 0600 when missing, unless configuration names another file. `None` when logins are not
/// remembered.
pub(super) fn of_remembered_logins(
    config: &ImdConfig,
) -> anyhow::Result<Option<Kept<RememberKeys>>> {
    let accounts = &config.db_proxy.accounts;
    if accounts.remember_for.is_zero() {
        return Ok(None);
    }
    let file = match &accounts.remember_key_file {
        Some(path) => path.clone(),
        None => in_data_dir(config, REMEMBER_KEY, DB_PROXY_NEEDS)?,
    };
    Ok(Some(Kept::load(file, RememberKeys::load)?))
}

const DB_PROXY_NEEDS: &str = "db-proxy needs a directory for its data; give --data-dir or the key";

/// A file in the data directory, made with 256 random bits in hex when missing.
fn in_data_dir(config: &ImdConfig, name: &str, why: &'static str) -> anyhow::Result<PathBuf> {
    let key = "data_dir";
    let Some(dir) = &config.data_dir else {
        return Err(BadConfig::Missing { key, why }.into());
    };
    let path = dir.join(name);
    DataDir::make(dir)?;
    let made = make_private_file(&path, &format!("{}\n", Secret::generate().expose()));
    made.with_context(|| format!("make secret file {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn all_in_one_makes_secrets_for_its_owner_only_and_keeps_them() {
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
        let keys = || of_remembered_logins(&config).unwrap().unwrap();
        let file = keys().file;
        let key = std::fs::read_to_string(&file).unwrap();
        assert_eq!(std::fs::read_to_string(keys().file).unwrap(), key);
        for name in ["secret", "admin-secret", "remember_key"] {
            let mode = std::fs::metadata(data.join(name)).unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 3);
    }

    #[test]
    fn a_role_without_a_secret_is_told_the_key() {
        let error = of_role(&ImdConfig::default()).unwrap_err().to_string();
        assert!(error.starts_with("set secret_file: "), "{error}");
        let error = of_all_in_one(&ImdConfig::default()).unwrap_err();
        assert!(error.is::<BadConfig>() && error.to_string().starts_with("set data_dir: "));
    }

    #[test]
    fn a_key_file_that_cannot_be_used_is_a_bad_configuration_that_names_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, "short").unwrap();
        let mut config = ImdConfig::default();
        config.db_proxy.accounts.remember_key_file = Some(file);
        let error = of_remembered_logins(&config).unwrap_err();
        assert!(error.is::<BadConfig>(), "{error:#}");
        let text = error.to_string();
        assert!(
            text.contains("db_proxy.accounts.remember_key_file"),
            "{text}"
        );
        // Nobody reads it then.
        config.db_proxy.accounts.remember_for = "0s".parse().unwrap();
        assert!(of_remembered_logins(&config).unwrap().is_none());
    }
}
