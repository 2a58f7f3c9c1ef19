//! A MariaDB of the tests, and empty databases on it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use im_e2e::mariadb::MariaDb;
use im_store_mysql::{MysqlOptions, MysqlStore};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use tokio::sync::OnceCell;

/// A server.
pub(crate) struct Server {
    running: MariaDb,
}

impl Server {
    /// Starts one.
    pub(crate) async fn start() -> Self {
        Self {
            running: MariaDb::start().await.unwrap(),
        }
    }

    /// The one that all tests of the process share.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Server> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// Kills the server, which comes back.
    pub(crate) fn kill(&self) {
        self.running.kill().unwrap();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.running.socket()
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.running.address()
    }

    pub(crate) fn password_file(&self) -> PathBuf {
        self.running.password_file()
    }

    /// How to reach one of its databases.
    pub(crate) fn database(&self, name: &str) -> MySqlConnectOptions {
        at(&self.socket(), name)
    }

    /// A connection of an administrator.
    pub(crate) async fn root(&self) -> MySqlConnection {
        self.database("mysql").connect().await.unwrap()
    }

    /// An empty database that nobody else uses as long as the value lives.
    pub(crate) async fn lease(&self) -> Lease {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let name = match free {
            Some(name) => {
                self.empty(&name).await;
                name
            }
            None => {
                let name = format!("t{}", rand::random::<u64>());
                run(&mut self.root().await, format!("CREATE DATABASE {name}")).await;
                name
            }
        };
        Lease { name }
    }

    /// Takes everything out that the tests of the contract left.
    async fn empty(&self, name: &str) {
        let mut connection = self.database(name).connect().await.unwrap();
        let rows = sqlx::query("SHOW TABLES")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let mut text = String::new();
        for row in rows {
            let table: String = row.get(0);
            text.push_str(&match table.as_str() {
                "migration" => continue,
                "meta" => "UPDATE meta SET value = 0;".to_owned(),
                "part" => "UPDATE part SET epoch = 0, last_seq = 0;".to_owned(),
                "audit_ends" => "UPDATE audit_ends SET first = 0, last = 0,
                    first_hash = REPEAT(CHAR(0), 32), last_hash = REPEAT(CHAR(0), 32);"
                    .to_owned(),
                table => format!("DELETE FROM {table};"),
            });
        }
        if !text.is_empty() {
            run(&mut connection, text).await;
        }
    }
}

/// Databases of the shared server that nobody uses.
static FREE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The use of a database of the shared server.
pub(crate) struct Lease {
    pub(crate) name: String,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(std::mem::take(&mut self.name));
    }
}

/// An empty store on the shared server.
pub(crate) struct TempStore {
    pub(crate) store: MysqlStore,
    pub(crate) lease: Lease,
}

impl TempStore {
    pub(crate) async fn open() -> Self {
        Self::open_with(MysqlOptions::default()).await
    }

    pub(crate) async fn open_with(options: MysqlOptions) -> Self {
        let server = Server::shared().await;
        let lease = server.lease().await;
        let store = MysqlStore::open(server.database(&lease.name), options).await;
        Self {
            store: store.unwrap(),
            lease,
        }
    }

    /// The same database, as another process opens it.
    pub(crate) async fn another(&self, options: MysqlOptions) -> MysqlStore {
        let server = Server::shared().await;
        MysqlStore::open(server.database(&self.lease.name), options)
            .await
            .unwrap()
    }

    /// A connection to the database beside the store.
    pub(crate) async fn connection(&self) -> MySqlConnection {
        let server = Server::shared().await;
        server.database(&self.lease.name).connect().await.unwrap()
    }
}

/// How to reach a database over a socket.
pub(crate) fn at(socket: &Path, name: &str) -> MySqlConnectOptions {
    MySqlConnectOptions::new()
        .socket(socket)
        .username("root")
        .database(name)
        .disable_statement_logging()
}

pub(crate) async fn run(connection: &mut MySqlConnection, text: String) {
    sqlx::raw_sql(AssertSqlSafe(text))
        .execute(connection)
        .await
        .unwrap();
}
