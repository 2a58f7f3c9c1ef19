//! Opening and closing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use im_core::Cache;
use im_store::StoreError;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPoolOptions};
use sqlx::pool::PoolConnectionMetadata;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tokio::time::{Instant, timeout};

use crate::change::{Changes, run};
use crate::rows::{is_out_of_range, text, unavailable};
use crate::{Inner, MysqlOptions, MysqlStore, schema};

/// How long a transaction of messages may stand still before the server ends it: whoever stops in the middle of one
/// keeps nobody from taking the log.
const IDLE_APPEND: Duration = Duration::from_secs(2);
/// The same of a change, which computes between its statements.
const IDLE_CHANGE: Duration = Duration::from_secs(10);
/// A connection that was used within this time is taken for one that the server has.
const FRESH: Duration = Duration::from_secs(1);
/// Statements that stay prepared on each connection.
const PREPARED: usize = 200;
/// Conversations that one batch may need the numbers of.
const CONVERSATIONS_AT_ONCE: usize = 4096;

const SERVER: &str =
    "SELECT @@version, @@global.innodb_flush_log_at_trx_commit, @@global.read_only,
    @@global.log_bin, @@global.sync_binlog, @@max_allowed_packet";
/// Fails, or else the fence of messages would let everything pass.
const PROBE: &str =
    "UPDATE meta SET value = value + 0 * EXP(IF(value < 0, 0, 1000)) WHERE name = 'probe'";

/// What is known of the server.
struct Server {
    version: String,
    max_packet: usize,
}

impl MysqlStore {
    /// Opens the store in the database that `connect` names, and brings its schema up to date.
    ///
    /// # Errors
    /// The database cannot be reached, is of a later version, or does not keep what it has committed.
    pub async fn open(
        connect: MySqlConnectOptions,
        options: MysqlOptions,
    ) -> Result<Self, StoreError> {
        let connect = connect
            .statement_cache_capacity(PREPARED)
            .disable_statement_logging();
        let connecting = timeout(options.acquire_timeout, connect.connect()).await;
        let mut connection =
            connecting.map_err(|_| unavailable("the database does not answer"))??;
        let server = look_at(&mut connection).await?;
        let session = |idle| session(&server.version, &options, idle);
        run(&mut connection, session(None)).await?;
        schema::bring_up_to_date(&mut connection, &server.version).await?;
        connection.close().await?;
        let pool = |connections: u32, session: String| {
            MySqlPoolOptions::new()
                .max_connections(connections.max(1))
                .min_connections(0)
                .acquire_timeout(options.acquire_timeout)
                .after_connect(move |connection, _: PoolConnectionMetadata| {
                    let session = session.clone();
                    Box::pin(async move { run(connection, session).await.map(drop) })
                })
                .connect_lazy_with(connect.clone())
        };
        let (readers, changers) = (
            pool(options.readers, session(None)),
            pool(options.changers, session(Some(IDLE_CHANGE))),
        );
        let session = session(Some(IDLE_APPEND));
        let numbers = Cache::new(options.known_conversations, CONVERSATIONS_AT_ONCE);
        Ok(Self {
            inner: Arc::new(Inner {
                connect,
                session,
                readers,
                changers,
                appender: tokio::sync::Mutex::default(),
                numbers: Mutex::new(numbers),
                changes: Changes::default(),
                taker: Mutex::default(),
                max_text: (server.max_packet / 4).min(options.text_bytes),
                options,
            }),
            note: None,
        })
    }

    /// Closes all connections. The store must not be used afterwards.
    ///
    /// # Errors
    /// The server could not be told; what was stored is stored all the same.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.inner.readers.close().await;
        self.inner.changers.close().await;
        if let Some((connection, _)) = self.inner.appender.lock().await.take() {
            connection.close().await?;
        }
        Ok(())
    }
}

impl Inner {
    /// The connection that stores messages. One that has stood still is asked whether the server still has it: what fails on it
    /// later would be in doubt.
    pub(crate) async fn take_appender(
        &self,
        slot: &mut Option<(MySqlConnection, Instant)>,
    ) -> Result<MySqlConnection, StoreError> {
        if let Some((mut connection, since)) = slot.take() {
            let is_there = since.elapsed() < FRESH
                || matches!(
                    timeout(self.options.acquire_timeout, connection.ping()).await,
                    Ok(Ok(()))
                );
            if is_there {
                return Ok(connection);
            }
        }
        self.connect_appender().await
    }

    /// A connection that stores messages, once it has shown that it refuses what it must.
    pub(crate) async fn connect_appender(&self) -> Result<MySqlConnection, StoreError> {
        let connecting = timeout(self.options.acquire_timeout, self.connect.connect()).await;
        let mut connection =
            connecting.map_err(|_| unavailable("the database does not answer"))??;
        run(&mut connection, self.session.clone()).await?;
        run(&mut connection, "SET SESSION autocommit = 0".to_owned()).await?;
        let refused = run(&mut connection, PROBE.to_owned()).await;
        run(&mut connection, "ROLLBACK".to_owned()).await?;
        match refused {
            Err(error) if is_out_of_range(&error) => Ok(connection),
            Err(error) => Err(error.into()),
            Ok(_) => Err(unavailable(
                "the server takes a number for one that is out of range: it would store what a former owner sends",
            )),
        }
    }
}

/// What is said on each connection. `idle`: how long an open transaction may stand still.
fn session(version: &str, options: &MysqlOptions, idle: Option<Duration>) -> String {
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

/// Looks at the server, and refuses one that loses what it has committed.
async fn look_at(connection: &mut MySqlConnection) -> Result<Server, StoreError> {
    let row = sqlx::raw_sql(AssertSqlSafe(SERVER))
        .fetch_one(connection)
        .await?;
    let refuse = |reason: &str| Err(StoreError::Unavailable(reason.into()));
    let number = |at| {
        let text = text(&row, at)?;
        let number = text.parse::<u64>();
        number.map_err(|_| StoreError::Corrupt(format!("the server's setting {text:?}")))
    };
    if number(1)? != 1 {
        return refuse(
            "the server has innodb_flush_log_at_trx_commit other than 1: it loses what it has committed",
        );
    }
    if number(2)? != 0 {
        return refuse("the server is read_only");
    }
    if number(3)? != 0 && number(4)? != 1 {
        return refuse("the server has sync_binlog other than 1: it loses what it has committed");
    }
    Ok(Server {
        version: text(&row, 0)?,
        max_packet: usize::try_from(number(5)?).unwrap_or(usize::MAX),
    })
}
