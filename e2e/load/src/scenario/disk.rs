//! How much the store grows per message.

use std::time::Duration;

use im_core::{ClientType, Peer, UserId};
use tokio::time::sleep;

use super::Setting;
use super::flow::{self, Body, Flow};
use crate::measure::number;
use crate::people::Hashing;
use crate::report::{Figures, Row, Target};
use crate::servers::Servers;

/// Figures.
pub(super) const ROWS: &[Row] = &[
    Row::plain("bytes", "growth of the store per message", "B").with(Target::AtMost(200.0)),
    Row::plain("stored", "messages stored", ""),
];

const PEOPLE: u32 = 500;
const MESSAGES: u32 = 200_000;
const WINDOW: u32 = 4;

/// Runs it. The size is that of the stopped store, so the log is in the file.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Vec<Figures>> {
    let mut servers =
        Servers::start(setting.topology, setting.size(PEOPLE), Hashing::Cheap).await?;
    // The first messages make the conversations.
    store(&servers, setting, setting.size(PEOPLE)).await?;
    let mut before = servers.store_bytes_after_stop().await?;
    let mut runs = Vec::new();
    for _ in 0..setting.runs {
        servers.start_again().await?;
        let stored = store(&servers, setting, setting.size(MESSAGES)).await?;
        let after = servers.store_bytes_after_stop().await?;
        let growth = number(after) - number(before);
        before = after;
        runs.push(Figures::from([
            ("bytes", growth / number(stored)),
            ("stored", number(stored)),
        ]));
    }
    Ok(runs)
}

/// Stores at least so many messages and returns how many.
async fn store(servers: &Servers, setting: &Setting, at_least: u32) -> anyhow::Result<u64> {
    let people = setting.size(PEOPLE);
    let connections = flow::log_in(servers, 1..=people, ClientType::Windows).await?;
    let members = connections
        .into_iter()
        .map(|connection| {
            let id = connection.user;
            let partner = (id % 2 == 1)
                .then(|| UserId::from_wire(id + 1))
                .flatten()
                .filter(|partner| partner.get() <= people);
            (connection, partner.map(Peer::User).into_iter().collect())
        })
        .collect();
    let flow = Flow::new(members, Body::Voice);
    let readers = flow.read();
    flow.open_window(WINDOW)?;
    while flow.acked.get() < u64::from(at_least) {
        flow.check()?;
        sleep(Duration::from_millis(5)).await;
    }
    flow.drain().await?;
    readers.end().await?;
    Ok(flow.acked.get())
}
