//! Why a store on a server is not open, in words for whoever configured it.

use std::io;
use std::path::PathBuf;

use im_store::StoreError;
use sqlx::Error;
use sqlx::mysql::MySqlConnectOptions;

use crate::rows::code;

/// Why a store is not open. Connecting and the first statements fail in ways that the database calls by numbers; here each has
/// its words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MysqlOpenError {
    /// The file with the password.
    #[error("read the password in {}", .file.display())]
    Password {
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that the configuration names for TLS.
    #[error("read {}", .file.display())]
    TlsFile {
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The name of the host leads nowhere.
    #[error("find the host {host}")]
    NoHost {
        /// Which.
        host: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("reach the database server at {server}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// What the driver said.
        #[source]
        source: Error,
    },
    /// Nobody answers there in time.
    #[error("reach the database server at {server}: it does not answer in time")]
    Silent {
        /// Host and port.
        server: String,
    },
    /// No encrypted connection that is as the configuration wants it.
    #[error("make an encrypted connection to {server}, as key mysql.tls wants it")]
    Tls {
        /// Host and port.
        server: String,
        /// What the driver said.
        #[source]
        source: Error,
    },
    /// The server does not let this user in.
    #[error(
        "log in at {server} as {user}: the server refuses this name, the password of mysql.password_file, a connection from \
         here, or one without TLS"
    )]
    Denied {
        /// Host and port.
        server: String,
        /// Whom.
        user: String,
        /// What the server said.
        #[source]
        source: Error,
    },
    /// There is no such database, or not for this user.
    #[error(
        "use the database {database}: make it with CREATE DATABASE, and grant {user} all privileges on it"
    )]
    NoDatabase {
        /// Which.
        database: String,
        /// Who may not use it, if it is there.
        user: String,
        /// What the server said.
        #[source]
        source: Error,
    },
    /// The user may not do in the database what the store does.
    #[error("make the tables in {database}: grant {user} all privileges on it")]
    NoRight {
        /// Which database.
        database: String,
        /// Who lacks them.
        user: String,
        /// What the server said.
        #[source]
        source: Error,
    },
    /// The server is too old.
    #[error("use MariaDB from 10.6 or MySQL from 8.0 on: the server is {found}")]
    TooOld {
        /// Its version.
        found: String,
    },
    /// The server takes no writes: a replica, or a primary that is not one yet.
    #[error("write: the server at {server} is read-only")]
    ReadOnly {
        /// Host and port.
        server: String,
    },
    /// The server loses what it has committed when its machine stops.
    #[error("keep what is acknowledged: set {setting} = 1 at the server, it is {is}")]
    Forgetful {
        /// The server's setting.
        setting: &'static str,
        /// Its value.
        is: u64,
    },
    /// The database belongs to something else.
    #[error("use a database of our own: {database} has the table {table}, which is none of ours")]
    Foreign {
        /// Which database.
        database: String,
        /// One of the tables.
        table: String,
    },
    /// Text of a table is compared in another way than names are.
    #[error(
        "compare names byte by byte: {column} has the collation {found}, not {wanted}; convert its table with \
         ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4 COLLATE {wanted}"
    )]
    Collation {
        /// Table and column.
        column: String,
        /// What it has.
        found: String,
        /// What it was made with.
        wanted: &'static str,
    },
    /// A later version has made the schema.
    #[error("understand the schema: the database is at step {found}, this version knows {known}")]
    TooNew {
        /// Its step.
        found: u32,
        /// The last one that this version knows.
        known: u32,
    },
    /// Anything else.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Error> for MysqlOpenError {
    fn from(error: Error) -> Self {
        Self::Store(error.into())
    }
}

impl MysqlOpenError {
    /// Whether it may pass by itself: the server starts, or becomes the primary.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::NoHost { .. }
            | Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::ReadOnly { .. } => true,
            Self::Store(StoreError::Unavailable(source)) => source
                .downcast_ref::<Error>()
                .is_some_and(|error| matches!(error, Error::Io(_)) || is_starting(error)),
            _ => false,
        }
    }

    /// What an error of connecting means.
    pub(crate) fn of_connecting(error: Error, options: &MySqlConnectOptions) -> Self {
        let (server, user) = (server(options), options.get_username().to_owned());
        match &error {
            Error::Tls(_) => Self::Tls {
                server,
                source: error,
            },
            // What the handshake finds wrong is said in this way.
            Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => Self::Tls {
                server,
                source: error,
            },
            Error::Io(_) => Self::Unreachable {
                server,
                source: error,
            },
            _ if is_starting(&error) => Self::Unreachable {
                server,
                source: error,
            },
            _ => match code(&error) {
                Some(DENIED | NO_PASSWORDLESS | NO_PLUGIN | INSECURE | EXPIRED | HOST_DENIED) => {
                    Self::Denied {
                        server,
                        user,
                        source: error,
                    }
                }
                Some(NO_DATABASE | DATABASE_DENIED) => Self::NoDatabase {
                    database: database(options),
                    user,
                    source: error,
                },
                _ => error.into(),
            },
        }
    }

    /// The same of an error of the first statements, where rights may lack.
    pub(crate) fn with_rights(self, options: &MySqlConnectOptions) -> Self {
        let Self::Store(StoreError::Unavailable(source)) = self else {
            return self;
        };
        match source.downcast::<Error>() {
            Ok(error) if code(&error).is_some_and(|code| RIGHTS.contains(&code)) => Self::NoRight {
                database: database(options),
                user: options.get_username().to_owned(),
                source: *error,
            },
            Ok(error) => Self::Store(StoreError::Unavailable(error)),
            Err(source) => Self::Store(StoreError::Unavailable(source)),
        }
    }
}

/// Host and port, or the socket.
pub(crate) fn server(options: &MySqlConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None if options.get_host().contains(':') => {
            format!("[{}]:{}", options.get_host(), options.get_port())
        }
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

/// The database that is used.
pub(crate) fn database(options: &MySqlConnectOptions) -> String {
    options.get_database().unwrap_or_default().to_owned()
}

const DENIED: u16 = 1045;
const NO_PASSWORDLESS: u16 = 1698;
const NO_PLUGIN: u16 = 1251;
const INSECURE: u16 = 3159;
const EXPIRED: u16 = 1862;
const HOST_DENIED: u16 = 1130;
const NO_DATABASE: u16 = 1049;
const DATABASE_DENIED: u16 = 1044;
/// Statements on a table, on a column, of administration.
const RIGHTS: [u16; 3] = [1142, 1143, 1227];
/// The server has no room, shuts down, or is not yet part of its cluster.
const STARTING: [u16; 4] = [1040, 1047, 1053, 1203];

fn is_starting(error: &Error) -> bool {
    code(error).is_some_and(|code| STARTING.contains(&code))
}
