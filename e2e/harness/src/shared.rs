//! One platform that many tests of a program use side by side, each with users of its own.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use im_core::ClientType;
use tokio::sync::OnceCell;

use crate::platform::{Options, Platform};
use crate::terminal::Terminal;

/// People of the shared platform; tests take theirs one after the other.
const PEOPLE: u32 = 2_000;

/// What tests may know about the shared platform.
#[derive(Debug)]
pub struct Shared {
    /// Client port of its msg role.
    pub address: SocketAddr,
    /// Its dispatcher.
    pub url: String,
    platform: Mutex<Platform>,
    _undertaker: Undertaker,
}

static SHARED: OnceCell<Shared> = OnceCell::const_new();
static NEXT_USER: AtomicU32 = AtomicU32::new(1);

/// The shared all-in-one platform; it starts with the first test that asks, and ends with the
/// test program.
///
/// # Panics
/// When it does not start.
pub async fn platform() -> &'static Shared {
    let start = async || -> anyhow::Result<Shared> {
        let options = crate::platform::CHEAP_HASHES
            .iter()
            .fold(Options::people(PEOPLE), |options, set| options.set(set));
        let mut platform = Platform::all_in_one(options).await?;
        let undertaker = Undertaker::new(&mut platform)?;
        Ok(Shared {
            address: platform.msg_address("all"),
            url: platform.url(),
            platform: Mutex::new(platform),
            _undertaker: undertaker,
        })
    };
    match SHARED.get_or_try_init(start).await {
        Ok(shared) => shared,
        Err(error) => panic!("the shared platform does not start: {error:#}"),
    }
}

/// Users that no other test has.
///
/// # Panics
/// When there are none left.
pub fn users<const N: usize>() -> [u32; N] {
    std::array::from_fn(|_| {
        let user = NEXT_USER.fetch_add(1, Ordering::Relaxed);
        assert!(
            user <= PEOPLE,
            "the shared platform has {PEOPLE} people; give it more"
        );
        user
    })
}

impl Shared {
    /// Runs an administration command.
    pub fn imd(&self, args: &[&str]) -> anyhow::Result<String> {
        self.platform
            .lock()
            .expect("no panic while locked")
            .imd(args)
    }

    /// Logs a user in.
    pub async fn login(&self, user: u32, kind: ClientType) -> Terminal {
        Terminal::login(self.address, user, kind).await
    }

    /// Logs a user's Windows client in.
    pub async fn pc(&self, user: u32) -> Terminal {
        self.login(user, ClientType::Windows).await
    }

    /// Logs a user's Android client in.
    pub async fn phone(&self, user: u32) -> Terminal {
        self.login(user, ClientType::Android).await
    }
}

/// What is static is never dropped: a shell that waits for the end of this program ends the
/// platform and removes its folder then, whatever way this program ends.
#[derive(Debug)]
struct Undertaker {
    _shell: Child,
}

impl Undertaker {
    fn new(platform: &mut Platform) -> anyhow::Result<Self> {
        let pid = platform.process("all")?.pid();
        // The end of standard input is the end of this program. The name guards against a process
        // that got the same number later.
        let script = format!(
            "trap '' INT TERM; cat >/dev/null; \
             if grep -qs imd /proc/{pid}/comm; then kill -9 {pid}; fi; rm -rf \"$1\""
        );
        let mut shell = Command::new("sh")
            .args(["-c", &script, "undertaker"])
            .arg(platform.dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start a shell")?;
        let stdin = shell.stdin.as_mut().context("the shell has an input")?;
        stdin.flush()?;
        Ok(Self { _shell: shell })
    }
}
