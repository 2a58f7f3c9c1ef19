//! Connections: to whom, as whom, how encrypted; and what is said on each before it is used.

use std::time::Duration;

use sqlx::mysql::{
    MySqlConnectOptions, MySqlConnection, MySqlPool, MySqlPoolOptions, MySqlSslMode,
};
use sqlx::pool::PoolConnectionMetadata;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::change::run;
use crate::options::{MysqlOptions, TlsMode};
use crate::password::{self, Password};
use crate::place::MysqlServer;
use crate::{MysqlOpenError, open_error, schema};

/// A connection that was used within this time is taken for one that the server has.
pub(crate) const FRESH: Duration = Duration::from_secs(1);
/// Statements that stay prepared on each connection.
const PREPARED: usize = 200;

/// How to reach a database, and the password that is used if it comes from a file.
pub(crate) async fn to(
    server: &MysqlServer,
    options: &MysqlOptions,
) -> Result<(MySqlConnectOptions, Option<Password>), MysqlOpenError> {
    let mut connect = MySqlConnectOptions::new()
        .host(&server.host)
        .port(server.port)
        .username(&server.user)
        .database(&server.database)
        .ssl_mode(match options.tls {
            TlsMode::Disabled => MySqlSslMode::Disabled,
            TlsMode::Preferred => MySqlSslMode::Preferred,
            TlsMode::Required => MySqlSslMode::Required,
            TlsMode::VerifyCa => MySqlSslMode::VerifyCa,
            TlsMode::VerifyIdentity => MySqlSslMode::VerifyIdentity,
        });
    if let Some(file) = &options.ca_file {
        connect = connect.ssl_ca(file);
    }
    if let Some((certificate, key)) = &options.certificate {
        connect = connect.ssl_client_cert(certificate).ssl_client_key(key);
    }
    // The driver reads them for each connection, and does not say which one it could not.
    let pair = options
        .certificate
        .iter()
        .flat_map(|(one, other)| [one, other]);
    for file in options.ca_file.iter().chain(pair) {
        if let Err(source) = tokio::fs::read(file).await {
            let file = file.clone();
            return Err(MysqlOpenError::TlsFile { file, source });
        }
    }
    let Some(file) = options.password_file.clone() else {
        return Ok((connect, None));
    };
    match password::read(&file).await {
        Ok(text) => {
            let connect = connect.password(&text);
            Ok((connect, Some(Password { file, text })))
        }
        Err(source) => Err(MysqlOpenError::Password { file, source }),
    }
}

/// Connects to any database, such as one that data is taken from, as [`MysqlStore::open_at`](crate::MysqlStore::open_at) does
/// but without waiting for the server. Nothing is said on the connection.
///
/// # Errors
/// A file cannot be read, or the database is not reached.
pub async fn connect(
    server: &MysqlServer,
    options: &MysqlOptions,
) -> Result<MySqlConnection, MysqlOpenError> {
    let (connect, _) = to(server, options).await?;
    first(&prepared(connect), options.acquire_timeout).await
}

/// What all connections have in common.
pub(crate) fn prepared(connect: MySqlConnectOptions) -> MySqlConnectOptions {
    connect
        .statement_cache_capacity(PREPARED)
        .disable_statement_logging()
}

/// The first connection, whose errors are explained.
pub(crate) async fn first(
    connect: &MySqlConnectOptions,
    limit: Duration,
) -> Result<MySqlConnection, MysqlOpenError> {
    let silent = || MysqlOpenError::Silent {
        server: open_error::server(connect),
    };
    let making = async {
        if connect.get_socket().is_none() {
            let (host, port) = (connect.get_host(), connect.get_port());
            let found = lookup_host((host, port)).await;
            found.map(drop).map_err(|source| MysqlOpenError::NoHost {
                host: host.to_owned(),
                source,
            })?;
        }
        let made = connect.connect().await;
        made.map_err(|error| MysqlOpenError::of_connecting(error, connect))
    };
    timeout(limit, making).await.map_err(|_| silent())?
}

/// Connections that are opened on demand, on each of which `session` is said first. One that has stood still is asked whether the
/// server still has it.
pub(crate) fn pool(
    connect: &MySqlConnectOptions,
    connections: u32,
    acquire_timeout: Duration,
    session: String,
) -> MySqlPool {
    MySqlPoolOptions::new()
        .max_connections(connections.max(1))
        .min_connections(0)
        .acquire_timeout(acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, PoolConnectionMetadata { idle_for, .. }| {
            Box::pin(async move { Ok(idle_for < FRESH || connection.ping().await.is_ok()) })
        })
        .after_connect(move |connection, _: PoolConnectionMetadata| {
            let session = session.clone();
            Box::pin(async move { run(connection, session).await.map(drop) })
        })
        .connect_lazy_with(connect.clone())
}

/// What is said on each connection. `idle`: how long an open transaction may stand still.
pub(crate) fn session(version: &str, options: &MysqlOptions, idle: Option<Duration>) -> String {
    let lock = options.lock_timeout.as_secs().max(1);
    let idle = idle.map(|idle| {
        // MySQL ends connections only; where none is in a transaction, the pool opens another.
        let variable = if schema::is_mariadb(version) {
            "idle_transaction_timeout"
        } else {
            "wait_timeout"
        };
        format!(", {variable} = {}", idle.as_secs().max(1))
    });
    format!(
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION',
            innodb_lock_wait_timeout = {lock}{};
        SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        idle.unwrap_or_default()
    )
}
