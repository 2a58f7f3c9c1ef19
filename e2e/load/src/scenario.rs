//! What is measured.

mod crowd;
mod disk;
mod flow;
mod group;
mod idle;
mod load_stream;
mod login;
mod logins;
mod pairs;
mod sizing;
mod startup;

pub(crate) use crowd::{HoldArgs, hold};

use crate::report::{Figures, Row};
use crate::servers::Topology;

/// Where and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) topology: Topology,
    pub(crate) runs: u32,
    pub(crate) seconds: u64,
    pub(crate) small: bool,
}

impl Setting {
    /// A size, or a tenth of it in a small run.
    fn size(&self, full: u32) -> u32 {
        if self.small { (full / 10).max(2) } else { full }
    }
}

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    Saturated,
    Paced,
    PacedSpread,
    PacedSlow,
    PingPong,
    Group,
    GroupReceipts,
    Idle,
    LoginsPhone,
    LoginsPc,
    LoginsFirst,
    Startup,
    DiskUse,
    Login,
    LoadStream,
    Sizing,
}

impl Scenario {
    pub(crate) const ALL: [Self; 16] = [
        Self::Saturated,
        Self::Paced,
        Self::PacedSpread,
        Self::PacedSlow,
        Self::PingPong,
        Self::Group,
        Self::GroupReceipts,
        Self::Idle,
        Self::LoginsPhone,
        Self::LoginsPc,
        Self::LoginsFirst,
        Self::Startup,
        Self::DiskUse,
        Self::Login,
        Self::LoadStream,
        Self::Sizing,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Saturated => "saturated",
            Self::Paced => "paced",
            Self::PacedSpread => "paced-spread",
            Self::PacedSlow => "paced-slow",
            Self::PingPong => "ping-pong",
            Self::Group => "group",
            Self::GroupReceipts => "group-receipts",
            Self::Idle => "idle",
            Self::LoginsPhone => "logins-phone",
            Self::LoginsPc => "logins-pc",
            Self::LoginsFirst => "logins-first",
            Self::Startup => "startup",
            Self::DiskUse => "disk-use",
            Self::Login => "login",
            Self::LoadStream => "load-stream",
            Self::Sizing => "sizing",
        }
    }

    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Saturated => "durable 1:1, 250 pairs, saturated (1,000 in flight)",
            Self::Paced => "durable 1:1 at 20,000/s over 250 pairs",
            Self::PacedSpread => "durable 1:1 at 20,000/s over 100,000 conversations",
            Self::PacedSlow => "durable 1:1 at 1,800/s over 250 pairs",
            Self::PingPong => "one pair, one in flight",
            Self::Group => "group of 500 online, window 8",
            Self::GroupReceipts => "group of 500 online, window 8, receipts for all",
            Self::Idle => "10,000 idle phones, heartbeat every 30 s",
            Self::LoginsPhone => "logins of 3,000 phones, verified before",
            Self::LoginsPc => "logins of 3,000 PCs, verified before",
            Self::LoginsFirst => "first logins (argon2id 19 MiB, 2 passes)",
            Self::Startup => "all-in-one, fresh data directory",
            Self::DiskUse => "stored 100-byte messages",
            Self::Login => "one login server, 64 clients at a time, 10 msg servers",
            Self::LoadStream => "1,000 msg servers report to 3 login servers every 2 s",
            Self::Sizing => "memory and CPU of each role (asked for by name only)",
        }
    }

    pub(crate) const fn fits(self, topology: Topology) -> bool {
        !matches!(
            (self, topology),
            (Self::Startup | Self::DiskUse, Topology::Separate)
                | (
                    Self::Login | Self::LoadStream | Self::Sizing,
                    Topology::AllInOne
                )
        )
    }

    /// Those that run when none is named: the sizing takes long and judges nothing.
    pub(crate) fn usual() -> Vec<Self> {
        let all = Self::ALL.into_iter();
        all.filter(|scenario| *scenario != Self::Sizing).collect()
    }

    pub(crate) const fn rows(self) -> &'static [Row] {
        match self {
            Self::Saturated => pairs::SATURATED,
            Self::Paced => pairs::PACED,
            Self::PacedSpread => pairs::SPREAD,
            Self::PacedSlow => pairs::SLOW,
            Self::PingPong => pairs::PING_PONG,
            Self::Group | Self::GroupReceipts => group::ROWS,
            Self::Idle => idle::ROWS,
            Self::LoginsPhone => logins::PHONES,
            Self::LoginsPc => logins::PCS,
            Self::LoginsFirst => logins::FIRST,
            Self::Startup => startup::ROWS,
            Self::DiskUse => disk::ROWS,
            Self::Login => login::ROWS,
            Self::LoadStream => load_stream::ROWS,
            Self::Sizing => sizing::ROWS,
        }
    }

    /// Runs it so many times.
    pub(crate) async fn run(self, setting: &Setting) -> anyhow::Result<Vec<Figures>> {
        match self {
            Self::Saturated => pairs::saturated(setting).await,
            Self::Paced => pairs::paced(setting, 20_000).await,
            Self::PacedSpread => pairs::spread(setting).await,
            Self::PacedSlow => pairs::paced(setting, 1_800).await,
            Self::PingPong => pairs::ping_pong(setting).await,
            Self::Group => group::run(setting, false).await,
            Self::GroupReceipts => group::run(setting, true).await,
            Self::Idle => idle::run(setting).await,
            Self::LoginsPhone => logins::phones(setting).await,
            Self::LoginsPc => logins::pcs(setting).await,
            Self::LoginsFirst => logins::first(setting).await,
            Self::Startup => startup::run(setting).await,
            Self::DiskUse => disk::run(setting).await,
            Self::Login => login::run(setting).await,
            Self::LoadStream => load_stream::run(setting).await,
            Self::Sizing => sizing::run(setting).await,
        }
    }
}
