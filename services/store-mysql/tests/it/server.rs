//! A MariaDB of the tests: on a directory and a socket of its own, gone with the process or with its value.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use im_store_mysql::{MysqlOptions, MysqlStore};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

/// How long the server may take to make its first files, and to start.
const START: Duration = Duration::from_secs(60);

/// Runs the server, again when it was killed, until nobody holds the other end of its input any more, and removes its
/// directory.
const KEEPER: &str = r#"
    trap '' HUP INT TERM; dir=$1; shift
    (until [ -e "$dir/ended" ]; do "$@" & echo $! > "$dir/server"; wait $!; done) & loop=$!
    cat > /dev/null
    touch "$dir/ended"; kill -9 $(cat "$dir/server"); wait $loop; rm -rf "$dir"
"#;

/// A server.
pub(crate) struct Server {
    dir: PathBuf,
    keeper: Child,
}

impl Server {
    /// Starts one.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap().keep();
        let data = dir.join("data");
        let copied = Command::new("cp")
            .arg("-r")
            .args([template().await, data])
            .status();
        assert!(copied.unwrap().success());
        let keeper = keep(&dir);
        let server = Self { dir, keeper };
        let end = Instant::now() + START;
        while UnixStream::connect(server.socket()).await.is_err() {
            let log = || fs::read_to_string(server.dir.join("log")).unwrap();
            assert!(Instant::now() < end, "MariaDB does not start: {}", log());
            sleep(Duration::from_millis(10)).await;
        }
        server
    }

    /// The one that all tests of the process share.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Server> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// Kills the server, which comes back.
    pub(crate) fn kill(&self) {
        let id = fs::read_to_string(self.dir.join("server")).unwrap();
        let killed = Command::new("kill").args(["-9", id.trim()]).status();
        assert!(killed.unwrap().success());
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("socket")
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

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ended = self.keeper.wait();
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

/// The folder of MariaDB's packages.
fn packages() -> PathBuf {
    std::env::var_os("MARIADB")
        .expect("MARIADB names the folder of MariaDB's packages")
        .into()
}

/// A program of the packages, which finds its libraries among them.
fn program(name: &str) -> Command {
    let mut program = Command::new(packages().join("usr").join(name));
    let libraries = fs::read_dir(packages().join("usr/lib")).unwrap();
    let libraries: Vec<PathBuf> = libraries.map(|entry| entry.unwrap().path()).collect();
    program
        .env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap())
        .stdout(Stdio::null());
    program
}

/// A server refuses to be root's unless it is told to.
fn whose() -> Vec<&'static str> {
    let is_root =
        fs::metadata("/proc/self").is_ok_and(|of| std::os::unix::fs::MetadataExt::uid(&of) == 0);
    if is_root {
        vec!["--user=root"]
    } else {
        Vec::new()
    }
}

/// The files of a server that nobody has used, made once for all runs.
async fn template() -> PathBuf {
    let wanted = packages().join("data");
    if !fs::exists(&wanted).unwrap() {
        let draft = tempfile::tempdir_in(packages()).unwrap().keep();
        let mut install = program("bin/mariadb-install-db");
        install
            .arg("--no-defaults")
            .arg(format!("--basedir={}", packages().join("usr").display()))
            .arg(format!("--datadir={}", draft.display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            // Whoever is cut short begins anew.
            .args(["--innodb-flush-method=nosync", "--innodb-log-file-size=16M"])
            .args(whose())
            .stdin(Stdio::null());
        let made = tokio::task::spawn_blocking(move || install.output()).await;
        let made = made.unwrap().unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        // Somebody else may have been first.
        if fs::rename(&draft, &wanted).is_err() {
            fs::remove_dir_all(&draft).unwrap();
        }
    }
    wanted
}

/// Starts the server of a directory.
fn keep(dir: &Path) -> Child {
    let server = program("sbin/mariadbd");
    let mut keeper = Command::new("sh");
    keeper
        .args(["-c", KEEPER, "sh"])
        .arg(dir)
        .arg(server.get_program());
    for (name, value) in server.get_envs() {
        keeper.env(name, value.unwrap());
    }
    keeper
        .arg("--no-defaults")
        .arg(format!("--basedir={}", packages().join("usr").display()))
        .arg(format!("--datadir={}", dir.join("data").display()))
        .arg(format!("--socket={}", dir.join("socket").display()))
        .arg(format!("--pid-file={}", dir.join("pid").display()))
        .args([
            "--skip-networking",
            "--performance-schema=off",
            "--max-connections=300",
        ])
        .args([
            "--innodb-flush-log-at-trx-commit=1",
            "--innodb-log-file-size=16M",
        ])
        .args(["--innodb-buffer-pool-size=64M", "--max-allowed-packet=16M"])
        .args(whose())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // Not a pipe: nobody would read it.
        .stderr(fs::File::create(dir.join("log")).unwrap())
        .spawn()
        .unwrap()
}
