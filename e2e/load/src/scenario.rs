//! What is measured.

mod api;
mod bystanders;
mod comeback;
mod crowd;
mod disk;
mod flow;
mod group;
mod hostile;
mod idle;
mod load_stream;
mod login;
mod logins;
mod pairs;
mod pictures;
mod push;
mod relay;
mod sizing;
mod startup;

pub(crate) use crowd::{HoldArgs, hold};
pub(crate) use relay::{RelayArgs, plain as plain_relay};

use crate::conditions::{Bounds, Runs};
use crate::report::{Figures, Row};
use crate::servers::Topology;

/// Where and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) topology: Topology,
    pub(crate) runs: u32,
    /// Further runs at most, in place of disturbed ones.
    pub(crate) repeats: u32,
    pub(crate) seconds: u64,
    pub(crate) small: bool,
}

impl Setting {
    /// A size, or a tenth of it in a small run.
    fn size(&self, full: u32) -> u32 {
        if self.small { (full / 10).max(2) } else { full }
    }

    /// Runs it as often as wanted, disturbed runs again.
    async fn repeat(
        &self,
        bounds: Bounds,
        once: impl AsyncFnMut() -> anyhow::Result<Figures>,
    ) -> anyhow::Result<Runs> {
        let repeats = if self.small { 0 } else { self.repeats };
        Runs::undisturbed(self.runs, repeats, bounds, once).await
    }
}

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    Saturated,
    #[value(alias = "paced-20000")]
    Paced,
    PacedSpread,
    #[value(name = "paced-5000")]
    Paced5000,
    #[value(alias = "paced-1800")]
    PacedSlow,
    #[value(name = "paced-1000")]
    Paced1000,
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
    Hostile,
    #[value(name = "return")]
    Return,
    ReturnMany,
    Sizing,
    Relay,
    Pictures,
    Api,
    Push,
    Followed,
}

impl Scenario {
    pub(crate) const ALL: [Self; 26] = [
        Self::Saturated,
        Self::Paced,
        Self::PacedSpread,
        Self::Paced5000,
        Self::PacedSlow,
        Self::Paced1000,
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
        Self::Hostile,
        Self::Return,
        Self::ReturnMany,
        Self::Sizing,
        Self::Relay,
        Self::Pictures,
        Self::Api,
        Self::Push,
        Self::Followed,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Saturated => "saturated",
            Self::Paced => "paced",
            Self::PacedSpread => "paced-spread",
            Self::Paced5000 => "paced-5000",
            Self::PacedSlow => "paced-slow",
            Self::Paced1000 => "paced-1000",
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
            Self::Hostile => "hostile",
            Self::Return => "return",
            Self::ReturnMany => "return-many",
            Self::Sizing => "sizing",
            Self::Relay => "relay",
            Self::Pictures => "pictures",
            Self::Api => "api",
            Self::Push => "push",
            Self::Followed => "followed",
        }
    }

    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Saturated => "durable 1:1, 250 pairs, saturated (1,000 in flight)",
            Self::Paced => "durable 1:1 at 20,000/s over 250 pairs",
            Self::PacedSpread => "durable 1:1 at 20,000/s over 100,000 conversations",
            Self::Paced5000 => "durable 1:1 at 5,000/s over 250 pairs",
            Self::PacedSlow => "durable 1:1 at 1,800/s over 250 pairs",
            Self::Paced1000 => "durable 1:1 at 1,000/s over 250 pairs",
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
            Self::Hostile => "attackers beside 20 pairs at 100/s and newcomers",
            Self::Return => "6,000 terminals return after a restart (asked for by name only)",
            Self::ReturnMany => "17,500 terminals return after a restart (asked for by name only)",
            Self::Sizing => "memory and CPU of each role (asked for by name only)",
            Self::Relay => "files in blocks of 32 KiB from 8 people to 8 others",
            Self::Pictures => "GET of 100 KB over 16 connections; variants of 1.4 MB",
            Self::Api => "HTTP API over 8 connections, 100,000 people",
            Self::Push => "1,000 messages/s to 200 phones that have gone, by a webhook",
            Self::Followed => "durable 1:1 at 20,000/s over 250 pairs, all looked at by push",
        }
    }

    pub(crate) const fn fits(self, topology: Topology) -> bool {
        !matches!(
            (self, topology),
            (Self::Startup | Self::DiskUse, Topology::Separate)
                | (
                    Self::Login
                        | Self::LoadStream
                        | Self::Sizing
                        | Self::Relay
                        | Self::Pictures
                        | Self::Api
                        | Self::Push
                        | Self::Followed,
                    Topology::AllInOne
                )
        )
    }

    /// Those that run when none is named: the sizing takes long and judges nothing, and a return takes
    /// minutes of hashing.
    pub(crate) fn usual() -> Vec<Self> {
        let all = Self::ALL.into_iter();
        let by_name = [Self::Return, Self::ReturnMany, Self::Sizing];
        all.filter(|scenario| !by_name.contains(scenario)).collect()
    }

    pub(crate) const fn rows(self) -> &'static [Row] {
        match self {
            Self::Saturated => pairs::SATURATED,
            Self::Paced => pairs::PACED,
            Self::PacedSpread => pairs::SPREAD,
            Self::Paced5000 => pairs::AT_5000,
            Self::PacedSlow => pairs::SLOW,
            Self::Paced1000 => pairs::AT_1000,
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
            Self::Hostile => hostile::ROWS,
            Self::Return => comeback::ROWS,
            Self::ReturnMany => comeback::MANY_ROWS,
            Self::Sizing => sizing::ROWS,
            Self::Relay => relay::ROWS,
            Self::Pictures => pictures::ROWS,
            Self::Api => api::ROWS,
            Self::Push => push::ROWS,
            Self::Followed => push::FOLLOWED,
        }
    }

    /// Runs it so many times.
    pub(crate) async fn run(self, setting: &Setting) -> anyhow::Result<Runs> {
        Ok(match self {
            Self::Saturated => pairs::saturated(setting).await?,
            Self::Paced => pairs::paced(setting, 20_000, Bounds::BUSY).await?,
            Self::PacedSpread => pairs::spread(setting).await?,
            Self::Paced5000 => pairs::paced(setting, 5_000, Bounds::QUIET).await?,
            Self::PacedSlow => pairs::paced(setting, 1_800, Bounds::QUIET).await?,
            Self::Paced1000 => pairs::paced(setting, 1_000, Bounds::QUIET).await?,
            Self::PingPong => pairs::ping_pong(setting).await?,
            Self::Group => group::run(setting, false).await?,
            Self::GroupReceipts => group::run(setting, true).await?,
            Self::Idle => idle::run(setting).await?,
            Self::LoginsPhone => logins::phones(setting).await?,
            Self::LoginsPc => logins::pcs(setting).await?,
            Self::LoginsFirst => logins::first(setting).await?,
            Self::Startup => startup::run(setting).await?.into(),
            Self::DiskUse => disk::run(setting).await?.into(),
            Self::Login => login::run(setting).await?.into(),
            Self::LoadStream => load_stream::run(setting).await?.into(),
            Self::Hostile => hostile::run(setting).await?,
            Self::Return => comeback::run(setting, comeback::SOME).await?,
            Self::ReturnMany => comeback::run(setting, comeback::MANY).await?,
            Self::Sizing => sizing::run(setting).await?.into(),
            Self::Relay => relay::run(setting).await?,
            Self::Pictures => pictures::run(setting).await?,
            Self::Api => api::run(setting).await?,
            Self::Push => push::run(setting).await?,
            Self::Followed => push::followed(setting).await?,
        })
    }
}
