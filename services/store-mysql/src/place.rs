//! The store by its URL.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use im_store::{
    BackupCopy, BackupError, OpenError, OpenStore, SchemaState, SchemaStep, StoreKind, StorePlace,
};

use crate::{MysqlOpenError, MysqlOptions, MysqlStore, upgrade};

const SCHEME: &str = "mysql";
const FORM: &str = "mysql://USER@HOST:PORT/DATABASE";
const DEFAULT_PORT: u16 = 3306;
/// What serves in place of our own backups.
const TOOLS: &str = "with the database's own tools, such as mariadb-backup, or mariadb-dump --single-transaction and mariadb";

/// Stores on MariaDB or MySQL servers, as a kind for [`im_store::store_at`].
pub fn kind(options: MysqlOptions) -> StoreKind {
    StoreKind::new(SCHEME, FORM, move |rest| {
        let server = MysqlServer::parse(rest)?;
        Ok(Box::new(MysqlPlace {
            server,
            options: options.clone(),
        }))
    })
}

/// A database and its user, as the URL of a store names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MysqlServer {
    /// Name or address of the machine.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whom connections log in as.
    pub user: String,
    /// The database.
    pub database: String,
}

impl MysqlServer {
    /// Reads a URL such as `mysql://im@db.example.com:3306/im`.
    ///
    /// # Errors
    /// What is wrong with it, without what may be a password.
    pub fn from_url(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("mysql:");
        Self::parse(rest.ok_or_else(|| format!("write it as {FORM}"))?)
    }

    /// Reads what follows `mysql:` in a URL; else what is wrong with it, without what may be a password.
    fn parse(rest: &str) -> Result<Self, String> {
        let place = rest.strip_prefix("//").ok_or("write // behind mysql:")?;
        let (user, place) = place.rsplit_once('@').ok_or("name the user")?;
        let (server, database) = place.split_once('/').ok_or("name the database")?;
        if user.contains(':') {
            return Err(
                "put the password into a file that the key mysql.password_file names: a URL is seen by many".to_owned(),
            );
        }
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().ok().filter(|port| *port != 0);
                (host, port.ok_or_else(|| format!("{server:?} has no port"))?)
            }
            _ => (server, DEFAULT_PORT),
        };
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = inner.unwrap_or(host);
        if host.is_empty() {
            return Err("name the host".to_owned());
        }
        if inner.is_none() && host.contains(':') {
            return Err("write an IPv6 address in brackets, as in [::1]:3306".to_owned());
        }
        for (what, name) in [("user", user), ("database", database)] {
            // What other tools would take for something else: an end, options, a character in disguise.
            let is_plain = |c: char| !c.is_control() && !"/?#%:".contains(c);
            if name.is_empty() || !name.chars().all(is_plain) {
                return Err(format!("name the {what} as it is, without / ? # % and :"));
            }
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            user: user.to_owned(),
            database: database.to_owned(),
        })
    }
}

/// A database with a store, or for one.
#[derive(Debug)]
struct MysqlPlace {
    server: MysqlServer,
    options: MysqlOptions,
}

pub(crate) fn refused(error: MysqlOpenError) -> OpenError {
    match error {
        MysqlOpenError::Store(error) => OpenError::Store(error),
        refused => OpenError::Server(Box::new(refused)),
    }
}

#[async_trait(?Send)]
impl StorePlace for MysqlPlace {
    async fn open(&self) -> Result<Arc<dyn OpenStore>, OpenError> {
        let opened = MysqlStore::open_at(&self.server, self.options.clone()).await;
        Ok(Arc::new(opened.map_err(refused)?))
    }

    async fn schema(&self) -> Result<SchemaState, OpenError> {
        upgrade::state(&self.server, &self.options)
            .await
            .map_err(refused)
    }

    async fn upgrade(&self, tell: &mut dyn FnMut(SchemaStep)) -> Result<(), OpenError> {
        upgrade::run(&self.server, &self.options, tell).await
    }

    async fn back_up(&self, _to: &Path) -> Result<(), BackupError> {
        Err(BackupError::OnServer { tools: TOOLS })
    }

    async fn spool(&self, _keep_free: u64) -> Result<BackupCopy, BackupError> {
        Err(BackupError::OnServer { tools: TOOLS })
    }

    async fn restore(&self, _from: &Path, _skip_ids: u32) -> Result<(), BackupError> {
        Err(BackupError::OnServer { tools: TOOLS })
    }

    async fn restore_stream(
        &self,
        _from: File,
        _name: &Path,
        _skip_ids: u32,
    ) -> Result<(), BackupError> {
        Err(BackupError::OnServer { tools: TOOLS })
    }
}

#[cfg(test)]
mod tests {
    use im_store::store_at;

    use super::*;

    fn server(host: &str, port: u16, user: &str, database: &str) -> MysqlServer {
        MysqlServer {
            host: host.to_owned(),
            port,
            user: user.to_owned(),
            database: database.to_owned(),
        }
    }

    fn parsed(url: &str) -> Result<MysqlServer, String> {
        MysqlServer::parse(url.strip_prefix("mysql:").unwrap())
    }

    #[test]
    fn a_url_names_user_server_and_database() {
        for (url, expected) in [
            ("mysql://im@db/im", server("db", 3306, "im", "im")),
            (
                "mysql://im@db.example.com:33060/chat",
                server("db.example.com", 33060, "im", "chat"),
            ),
            (
                "mysql://im@192.0.2.1:1/im",
                server("192.0.2.1", 1, "im", "im"),
            ),
            (
                "mysql://im@[2001:db8::1]/im",
                server("2001:db8::1", 3306, "im", "im"),
            ),
            (
                "mysql://im@[2001:db8::1]:7/im",
                server("2001:db8::1", 7, "im", "im"),
            ),
            ("mysql://a@b@db/im_1-x", server("db", 3306, "a@b", "im_1-x")),
        ] {
            assert_eq!(parsed(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn what_a_url_lacks_is_said_and_a_password_is_never_repeated() {
        for (url, says) in [
            ("mysql:im@db/im", "write //"),
            ("mysql://db/im", "name the user"),
            ("mysql://@db/im", "name the user as it is"),
            ("mysql://im@db", "name the database"),
            ("mysql://im@db/", "name the database as it is"),
            ("mysql://im@/im", "name the host"),
            ("mysql://im@:3306/im", "name the host"),
            ("mysql://im@db:/im", "has no port"),
            ("mysql://im@db:0/im", "has no port"),
            ("mysql://im@db:65536/im", "has no port"),
            ("mysql://im@2001:db8::1/im", "in brackets"),
            (
                "mysql://im@db/im?ssl-mode=disabled",
                "name the database as it is",
            ),
            ("mysql://i%6d@db/im", "name the user as it is"),
            ("mysql://im:hidden@db/im", "mysql.password_file"),
            ("mysql://im:hid/den@db/im", "mysql.password_file"),
        ] {
            let said = parsed(url).unwrap_err();
            assert!(said.contains(says), "{url}: {said}");
            assert!(!said.contains("hid"), "{said}");
        }
    }

    #[tokio::test]
    async fn backups_are_left_to_the_database() {
        let kinds = [kind(MysqlOptions::default())];
        let place = store_at("mysql://im@db/im", &kinds).unwrap();
        let path = Path::new("/nowhere/f");
        let said = [
            place.back_up(path).await.unwrap_err(),
            place.spool(0).await.map(drop).unwrap_err(),
            place.restore(path, 0).await.unwrap_err(),
        ];
        for error in said {
            let error = error.to_string();
            assert!(error.contains("mariadb-backup"), "{error}");
        }
    }
}
