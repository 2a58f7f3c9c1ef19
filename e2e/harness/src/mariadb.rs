//! A real MariaDB of the tests: on a directory of its own, gone with the process or with its value. The programs are those of
//! Debian's packages, in the folder that `MARIADB` names: `cargo run -p xtask -- test-mariadb` gets them.
//!
//! It is killed as a machine would end it, and comes back by itself.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixStream;

use crate::platform::own_address;
use crate::wait;

/// How long the server may take to make its first files, and to start.
const START: Duration = Duration::from_secs(60);

/// Its port, on an address that nobody else has.
const PORT: u16 = 3306;

/// The user of the store, and the database.
const USER: &str = "im";
const PASSWORD: &str = "of these tests";

/// Runs the server, again when it was killed, until nobody holds the other end of its input any more, and removes its
/// directory.
const KEEPER: &str = r#"
    trap '' HUP INT TERM; dir=$1; shift
    (until [ -e "$dir/ended" ]; do "$@" & echo $! > "$dir/server"; wait $!; done) & loop=$!
    cat > /dev/null
    touch "$dir/ended"; kill -9 $(cat "$dir/server"); wait $loop; rm -rf "$dir"
"#;

/// How a server differs from the usual one.
#[derive(Clone, Debug, Default)]
pub struct MariaDbOptions {
    /// Its address; one that nobody else has unless it is said.
    pub ip: Option<Ipv4Addr>,
    /// Further options of the server, such as `--read-only`.
    pub server: Vec<String>,
    /// The server's certificate and its key, PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whether the user of the store must come over TLS.
    pub tls_required: bool,
    /// Megabytes of memory for pages; 64 unless it is said.
    pub buffer_pool_mib: Option<u32>,
}

/// A server.
#[derive(Debug)]
pub struct MariaDb {
    dir: PathBuf,
    address: SocketAddr,
    options: MariaDbOptions,
    keeper: Child,
}

impl MariaDb {
    /// Starts one, with an empty database `im` for the user `im`.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(MariaDbOptions::default()).await
    }

    /// The same with options.
    pub async fn start_with(options: MariaDbOptions) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("mariadb-")
            .tempdir()?
            .keep();
        let copied = Command::new("cp")
            .arg("-r")
            .args([template()?, dir.join("data")])
            .status()?;
        ensure!(copied.success(), "copy the files of a new server");
        let ip = options.ip.unwrap_or_else(own_address);
        let address = SocketAddr::new(ip.into(), PORT);
        write_init(&dir, PASSWORD, options.tls_required)?;
        fs::write(dir.join("password"), format!("{PASSWORD}\n"))?;
        let keeper = keep(&dir, address.ip(), &options)?;
        let server = Self {
            dir,
            address,
            options,
            keeper,
        };
        server.answers().await?;
        Ok(server)
    }

    /// Waits until it takes connections.
    pub async fn answers(&self) -> anyhow::Result<()> {
        let waited = wait::until("MariaDB", START, || async {
            UnixStream::connect(self.socket()).await.ok().map(drop)
        });
        waited.await.with_context(|| self.log())
    }

    /// Its socket, where root needs no password.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The file with the password of the store's user.
    pub fn password_file(&self) -> PathBuf {
        self.dir.join("password")
    }

    /// The URL of its store at this host, by whatever name or address it is reached.
    pub fn url(&self, host: &str) -> String {
        format!("mysql://{USER}@{host}/im")
    }

    /// Settings with which a db-proxy keeps its store here.
    pub fn settings(&self) -> Vec<String> {
        self.settings_at(&self.address.to_string())
    }

    /// The same, where it is reached as this `host:port`.
    pub fn settings_at(&self, host: &str) -> Vec<String> {
        vec![
            format!("store.url=\"{}\"", self.url(host)),
            format!("mysql.password_file=\"{}\"", self.password_file().display()),
        ]
    }

    /// Makes a database, of which the store's user may do everything.
    pub fn make_database(&self, name: &str) -> anyhow::Result<()> {
        let text = format!("CREATE DATABASE {name}; GRANT ALL ON {name}.* TO {USER}@'%';");
        self.run("mysql", |input| input.write_all(text.as_bytes()))
    }

    /// Runs statements in a database, as root.
    pub fn run(
        &self,
        database: &str,
        write: impl FnOnce(&mut BufWriter<ChildStdin>) -> std::io::Result<()>,
    ) -> anyhow::Result<()> {
        let mut client = program("bin/mariadb")?;
        client
            .args([
                "--no-defaults",
                "--user=root",
                "--default-character-set=utf8mb4",
            ])
            .arg(format!("--socket={}", self.socket().display()))
            .arg(database)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        let mut client = client.spawn().context("start the client of MariaDB")?;
        let input = client.stdin.take().context("write to the client")?;
        let mut input = BufWriter::new(input);
        let written = write(&mut input).and_then(|()| input.flush());
        drop(input);
        let ended = client.wait_with_output()?;
        ensure!(
            ended.status.success(),
            "run statements: {}",
            String::from_utf8_lossy(&ended.stderr)
        );
        written.context("write to the client")
    }

    /// The URL of another database at its own address.
    pub fn url_of(&self, database: &str) -> String {
        format!("mysql://{USER}@{}/{database}", self.address)
    }

    /// Kills it; it comes back.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGKILL)
    }

    /// Sends a signal to the server.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = fs::read_to_string(self.dir.join("server"))?;
        let id = Pid::from_raw(id.trim().parse().context("the id of the server")?);
        kill(id, signal).context("signal MariaDB")
    }

    /// Its process.
    pub fn pid(&self) -> anyhow::Result<u32> {
        let id = fs::read_to_string(self.dir.join("server"))?;
        id.trim().parse().context("the id of the server")
    }

    /// From its next start on, the store's user has another password: ends all connections by a kill, and does not write the file
    /// that db-proxy reads.
    pub async fn change_password(&self, password: &str) -> anyhow::Result<()> {
        write_init(&self.dir, password, self.options.tls_required)?;
        let before = self.pid()?;
        self.kill()?;
        let again = wait::until("MariaDB once more", START, || async {
            (self.pid().ok()? != before).then_some(())
        });
        again.await?;
        self.answers().await
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ended = self.keeper.wait();
    }
}

/// Statements that the server runs at each start, one a line.
fn write_init(dir: &Path, password: &str, tls_required: bool) -> anyhow::Result<()> {
    let require = if tls_required { "SSL" } else { "NONE" };
    let text = format!(
        "CREATE DATABASE IF NOT EXISTS im;\n\
         CREATE USER IF NOT EXISTS {USER}@'%';\n\
         ALTER USER {USER}@'%' IDENTIFIED BY '{password}' REQUIRE {require};\n\
         GRANT ALL ON im.* TO {USER}@'%';\n"
    );
    fs::write(dir.join("init.sql"), text).context("write what MariaDB begins with")
}

/// The folder of MariaDB's packages.
fn packages() -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("MARIADB").map(PathBuf::from);
    let folder = folder.context(
        "MARIADB names no folder of MariaDB's packages: run `make test-mariadb`, which gets them",
    )?;
    ensure!(
        folder.join("usr/sbin/mariadbd").is_file(),
        "MARIADB names {}, which has no usr/sbin/mariadbd: run `make test-mariadb`, which gets MariaDB's packages",
        folder.display()
    );
    Ok(folder)
}

/// A program of the packages, which finds its libraries among them.
fn program(name: &str) -> anyhow::Result<Command> {
    let packages = packages()?;
    let mut program = Command::new(packages.join("usr").join(name));
    let libraries = fs::read_dir(packages.join("usr/lib"))?.flatten();
    let libraries: Vec<PathBuf> = libraries.map(|entry| entry.path()).collect();
    program
        .env("LD_LIBRARY_PATH", std::env::join_paths(libraries)?)
        .stdout(Stdio::null());
    Ok(program)
}

/// A server refuses to be root's unless it is told to.
fn whose() -> Option<&'static str> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|of| of.uid() == 0);
    is_root.then_some("--user=root")
}

/// The files of a server that nobody has used, made once for all runs.
fn template() -> anyhow::Result<PathBuf> {
    let packages = packages()?;
    let wanted = packages.join("data");
    if !wanted.try_exists()? {
        let draft = tempfile::tempdir_in(&packages)?.keep();
        let mut install = program("bin/mariadb-install-db")?;
        install
            .arg("--no-defaults")
            .arg(format!("--basedir={}", packages.join("usr").display()))
            .arg(format!("--datadir={}", draft.display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            // Whoever is cut short begins anew.
            .args(["--innodb-flush-method=nosync", "--innodb-log-file-size=16M"])
            .args(whose())
            .stdin(Stdio::null());
        let made = install.output().context("make the files of a new server")?;
        ensure!(
            made.status.success(),
            "make the files of a new server: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        // Somebody else may have been first.
        if fs::rename(&draft, &wanted).is_err() {
            fs::remove_dir_all(&draft)?;
        }
    }
    Ok(wanted)
}

/// Starts the server of a directory.
fn keep(dir: &Path, ip: IpAddr, options: &MariaDbOptions) -> anyhow::Result<Child> {
    let server = program("sbin/mariadbd")?;
    let file = |option: &str, name: &str| format!("--{option}={}", dir.join(name).display());
    let mut keeper = Command::new("sh");
    keeper
        .args(["-c", KEEPER, "sh"])
        .arg(dir)
        .arg(server.get_program());
    for (name, value) in server.get_envs() {
        keeper.env(name, value.unwrap_or_default());
    }
    keeper.arg("--no-defaults");
    if let Some((certificate, key)) = &options.certificate {
        keeper.arg(format!("--ssl-cert={}", certificate.display()));
        keeper.arg(format!("--ssl-key={}", key.display()));
    }
    let pool = options.buffer_pool_mib.unwrap_or(64);
    keeper
        .arg(format!("--basedir={}", packages()?.join("usr").display()))
        .arg(file("datadir", "data"))
        .arg(file("socket", "socket"))
        .arg(file("pid-file", "pid"))
        .arg(file("init-file", "init.sql"))
        .arg(format!("--bind-address={ip}"))
        .arg(format!("--port={PORT}"))
        .args(["--skip-name-resolve", "--performance-schema=off"])
        .args(["--max-connections=300", "--max-allowed-packet=16M"])
        .args([
            "--innodb-flush-log-at-trx-commit=1",
            "--innodb-log-file-size=16M",
        ])
        .arg(format!("--innodb-buffer-pool-size={pool}M"))
        .args(&options.server)
        .args(whose())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // Not a pipe: nobody would read it.
        .stderr(fs::File::create(dir.join("log"))?)
        .spawn()
        .context("start MariaDB")
}
