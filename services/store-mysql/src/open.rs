//! Opening and closing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use im_core::{Backoff, Cache, Chain};
use im_store::StoreError;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tokio::time::{Instant, sleep, timeout};

use crate::change::{Changes, run};
use crate::connect::{self, FRESH, session};
use crate::password::Password;
use crate::place::MysqlServer;
use crate::readers::Readers;
use crate::rows::{is_out_of_range, text, unavailable};
use crate::{Inner, MysqlOpenError, MysqlOptions, MysqlStore, open_error, schema};

/// How long a transaction of messages may stand still before the server ends it: whoever stops in the middle of one
/// keeps nobody from taking the log.
const IDLE_APPEND: Duration = Duration::from_secs(2);
/// The same of a change, which computes between its statements.
const IDLE_CHANGE: Duration = Duration::from_secs(10);
/// Conversations that one batch may need the numbers of.
const CONVERSATIONS_AT_ONCE: usize = 4096;
/// First and longest wait for a server that cannot be used yet.
const WAITS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

const SERVER: &str =
    "SELECT @@version, @@global.innodb_flush_log_at_trx_commit, @@global.read_only,
    @@global.log_bin, @@global.sync_binlog, @@max_allowed_packet";
/// Fails, or else the fence of messages would let everything pass.
const PROBE: &str =
    "UPDATE meta SET value = value + 0 * EXP(IF(value < 0, 0, 1000)) WHERE name = 'probe'";
/// Empty on a connection that is not encrypted.
const CIPHER: &str = "SHOW SESSION STATUS LIKE 'Ssl_cipher'";

/// What is known of the server.
pub(crate) struct Server {
    pub(crate) version: String,
    max_packet: usize,
}

impl MysqlStore {
    /// Opens the store of a database. A server that cannot be reached, or takes no writes, is waited for, up to
    /// [`MysqlOptions::start_wait`].
    ///
    /// # Errors
    /// A file cannot be read, the server cannot be used as it is, or the database is not for us.
    pub async fn open_at(
        server: &MysqlServer,
        options: MysqlOptions,
    ) -> Result<Self, MysqlOpenError> {
        let end = Instant::now() + options.start_wait;
        let [first, longest] = WAITS;
        let mut backoff = Backoff::new(first, longest);
        let mut is_told = false;
        loop {
            // Anew each time: files may come too.
            let (connect, password) = connect::to(server, &options).await?;
            let error = match Self::open_following(connect, password, options.clone()).await {
                Err(error) if error.may_pass() && Instant::now() < end => error,
                done => return done,
            };
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!(
                    error = %Chain(&error),
                    limit = ?options.start_wait,
                    "waiting for the database"
                );
            }
            sleep(
                backoff
                    .step()
                    .min(end.saturating_duration_since(Instant::now())),
            )
            .await;
        }
    }

    /// Opens the store in the database that `connect` names, and brings its schema up to date. Keys of `options` about who is reached, and
    /// how, count for nothing here.
    ///
    /// # Errors
    /// The database cannot be reached, is of a later version, or does not keep what it has committed.
    pub async fn open(
        connect: MySqlConnectOptions,
        options: MysqlOptions,
    ) -> Result<Self, MysqlOpenError> {
        Self::open_following(connect, None, options).await
    }

    async fn open_following(
        connect: MySqlConnectOptions,
        password: Option<Password>,
        options: MysqlOptions,
    ) -> Result<Self, MysqlOpenError> {
        let connect = connect::prepared(connect);
        let mut connection = connect::first(&connect, options.acquire_timeout).await?;
        let preparing = prepare(&mut connection, &connect, &options);
        let prepared = timeout(options.change_timeout, preparing).await;
        let prepared = prepared.map_err(|_| MysqlOpenError::Silent {
            server: open_error::server(&connect),
        })?;
        let server = prepared.map_err(|error| error.with_rights(&connect))?;
        connection.close().await?;
        let session = |idle| session(&server.version, &options, idle);
        let wait = options.acquire_timeout;
        let readers = connect::pool(&connect, options.readers, wait, session(None));
        let changing = session(Some(IDLE_CHANGE));
        let changers = connect::pool(&connect, options.changers, wait, changing);
        let session = session(Some(IDLE_APPEND));
        let numbers = Cache::new(options.known_conversations, CONVERSATIONS_AT_ONCE);
        Ok(Self {
            inner: Arc::new(Inner {
                session,
                readers: Readers::new(readers, options.read_timeout),
                changers,
                password,
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
        let inner = &self.inner;
        let closing = async {
            inner.readers.pool.close().await;
            inner.changers.close().await;
            match inner.appender.lock().await.take() {
                Some((connection, _)) => connection.close().await,
                None => Ok(()),
            }
        };
        let closed = timeout(inner.options.acquire_timeout, closing).await;
        Ok(closed.map_err(|_| unavailable("the database does not answer"))??)
    }
}

impl Inner {
    /// A new connection beside the pools, as they make them now.
    pub(crate) async fn connect(&self) -> Result<MySqlConnection, StoreError> {
        let connect = self.changers.connect_options();
        let connecting = timeout(self.options.acquire_timeout, connect.connect()).await;
        Ok(connecting.map_err(|_| unavailable("the database does not answer"))??)
    }

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
        let connecting = timeout(self.options.commit_timeout, self.connect_appender()).await;
        connecting.unwrap_or_else(|_| Err(unavailable("the database does not answer")))
    }

    /// A connection that stores messages, once it has shown that it refuses what it must.
    async fn connect_appender(&self) -> Result<MySqlConnection, StoreError> {
        let mut connection = self.connect().await?;
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

/// Looks at the server and the database, and makes what is missing.
async fn prepare(
    connection: &mut MySqlConnection,
    connect: &MySqlConnectOptions,
    options: &MysqlOptions,
) -> Result<Server, MysqlOpenError> {
    let server = look_at(connection, connect).await?;
    run(connection, session(&server.version, options, None)).await?;
    let database = open_error::database(connect);
    schema::bring_up_to_date(connection, &server.version, &database, &mut |_| {}).await?;
    let row = sqlx::query(CIPHER).fetch_optional(connection).await?;
    let cipher = row.map(|row| text(&row, 1)).transpose()?;
    tracing::info!(
        server = open_error::server(connect),
        version = server.version,
        tls = cipher.unwrap_or_default(),
        "the store is on this database server"
    );
    Ok(server)
}

/// Looks at the server, and refuses one that loses what it has committed.
pub(crate) async fn look_at(
    connection: &mut MySqlConnection,
    connect: &MySqlConnectOptions,
) -> Result<Server, MysqlOpenError> {
    let row = sqlx::raw_sql(AssertSqlSafe(SERVER))
        .fetch_one(connection)
        .await?;
    let version = text(&row, 0)?;
    if !schema::is_new_enough(&version) {
        return Err(MysqlOpenError::TooOld { found: version });
    }
    let number = |at| {
        let text = text(&row, at)?;
        let number = text.parse::<u64>();
        number.map_err(|_| StoreError::Corrupt(format!("the server's setting {text:?}")))
    };
    let forgetful = |setting, is| Err(MysqlOpenError::Forgetful { setting, is });
    let (flush, sync) = (number(1)?, number(4)?);
    if flush != 1 {
        return forgetful("innodb_flush_log_at_trx_commit", flush);
    }
    if number(2)? != 0 {
        let server = open_error::server(connect);
        return Err(MysqlOpenError::ReadOnly { server });
    }
    if number(3)? != 0 && sync != 1 {
        return forgetful("sync_binlog", sync);
    }
    Ok(Server {
        version,
        max_packet: usize::try_from(number(5)?).unwrap_or(usize::MAX),
    })
}
