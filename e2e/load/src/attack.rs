//! Attackers: what clients that mean no good do to a msg server. Each kind is a process of its own with
//! a low priority, so that the processor is the servers' first, and comes from an address of its own.

mod floods;
mod questions;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use im_core::ClientType;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::helper::{self, Helper};
use crate::lean::{self, Lean};

/// Accounts that an attack may use; see [`AttackArgs`].
pub(crate) const ACCOUNTS: u32 = 8;
/// How much the servers' priority is above that of attackers.
const NICE: u8 = 10;
/// Pause after a connection was refused or cut, before the next one.
const AGAIN: Duration = Duration::from_millis(50);
/// A connection that is neither refused nor cut is given up after this time, and another one begun.
const ROUND: Duration = Duration::from_secs(5);
/// Longest attack, whatever the process that started it does.
const LONGEST: Duration = Duration::from_mins(10);
/// Time to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Logins under names that nobody has, each on a connection that is closed at once.
    Logins,
    /// Frames before login as fast as they are taken: unknown commands, and heartbeats for an echo.
    Frames,
    /// The cheapest commands after login as fast as they are taken, one kind on each connection.
    Commands,
    /// Questions for the presence of a million people, answers unread.
    Presence,
    /// Large messages, then questions for them, answers unread.
    Readers,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Logins,
        Self::Frames,
        Self::Commands,
        Self::Presence,
        Self::Readers,
    ];

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Logins => "logins",
            Self::Frames => "frames",
            Self::Commands => "commands",
            Self::Presence => "presence",
            Self::Readers => "readers",
        }
    }

    /// Where it comes from.
    fn address(self) -> IpAddr {
        let at = Self::ALL.iter().position(|kind| *kind == self);
        let third = u8::try_from(at.unwrap_or_default() + 10).unwrap_or(10);
        IpAddr::V4(Ipv4Addr::new(127, 0, third, 1))
    }
}

/// Who attacks whom.
#[derive(Debug, clap::Args)]
pub(crate) struct AttackArgs {
    /// What is done.
    kind: Kind,
    /// Client port of a msg server.
    address: SocketAddr,
    /// Id of the first of [`ACCOUNTS`] people whose names it may use.
    first: u32,
}

/// Starts an attack as a process of its own and waits until it is under way.
pub(crate) async fn start(kind: Kind, address: SocketAddr, first: u32) -> anyhow::Result<Helper> {
    let args = [
        "attack".to_owned(),
        kind.name().to_owned(),
        address.to_string(),
        first.to_string(),
    ];
    let mut helper = Helper::start(&args, Some(NICE))?;
    helper.ready(PATIENCE).await?;
    Ok(helper)
}

/// Attacks until the standard input ends.
pub(crate) async fn run(args: &AttackArgs) -> anyhow::Result<()> {
    let attack = Rc::new(Attack {
        kind: args.kind,
        target: args.address,
        first: args.first,
    });
    match args.kind {
        Kind::Logins => floods::logins(&attack),
        Kind::Frames => floods::frames(&attack),
        Kind::Commands => floods::commands(&attack),
        Kind::Presence => questions::presence(&attack),
        Kind::Readers => questions::readers(&attack),
    }
    helper::say_ready();
    tokio::select! {
        () = helper::no_longer_wanted() => {}
        () = sleep(LONGEST) => {}
    }
    Ok(())
}

/// One attack under way.
#[derive(Debug)]
struct Attack {
    kind: Kind,
    target: SocketAddr,
    first: u32,
}

impl Attack {
    /// Runs a client again and again, each time until the server refuses or cuts it or for [`ROUND`].
    fn keep(
        self: &Rc<Self>,
        n: u32,
        client: impl AsyncFn(&Self, u32) -> anyhow::Result<()> + 'static,
    ) {
        let attack = Rc::clone(self);
        tokio::task::spawn_local(async move {
            loop {
                // How it ended is the server's affair.
                drop(timeout(ROUND, client(&attack, n)).await);
                sleep(AGAIN).await;
            }
        });
    }

    async fn connect(&self) -> anyhow::Result<TcpStream> {
        Ok(lean::connect(self.target, Some(self.kind.address())).await?)
    }

    async fn login(&self, n: u32, client_type: ClientType) -> anyhow::Result<Rc<Lean>> {
        let id = self.first + n % ACCOUNTS;
        Lean::login(self.target, Some(self.kind.address()), id, client_type).await
    }
}
