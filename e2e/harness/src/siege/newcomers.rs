//! People who log in while an attack runs: some for the first time, one again and again.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use im_client::{Password, RawConn, RawError};
use im_core::ClientType;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::source;
use crate::people;

/// Users from here on come once each.
const FIRST: u32 = 10;
/// There are no more of them; the last is the one who comes again.
const LAST: u32 = 99;
/// Time between two arrivals.
const PAUSE: Duration = Duration::from_millis(300);
/// As long as the most patient original client waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What newcomers met.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    /// Time of each login that succeeded.
    pub welcomed: Vec<Duration>,
    /// What happened to the others.
    pub turned_away: Vec<String>,
}

impl Arrivals {
    /// How many have tried.
    pub fn attempts(&self) -> usize {
        self.welcomed.len() + self.turned_away.len()
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.welcomed.extend(other.welcomed);
        self.turned_away.extend(other.turned_away);
    }

    pub(super) fn faults(&self, limit: Duration) -> Vec<String> {
        let mut faults = Vec::new();
        let slow = self.welcomed.iter().filter(|took| **took > limit).count();
        if slow > 0 {
            let most = self.welcomed.iter().max().copied().unwrap_or_default();
            faults.push(format!(
                "{slow} of {} newcomers took longer than {limit:?}, one {most:?}",
                self.attempts()
            ));
        }
        if let Some(first) = self.turned_away.first() {
            faults.push(format!(
                "{} of {} newcomers were turned away, the first so: {first}",
                self.turned_away.len(),
                self.attempts()
            ));
        }
        if self.welcomed.is_empty() {
            faults.push("no newcomer came in".to_owned());
        }
        faults
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.welcomed.iter().max().copied().unwrap_or_default();
        write!(
            f,
            "{} newcomers, max {most:.1?}, {} turned away",
            self.attempts(),
            self.turned_away.len()
        )
    }
}

/// Lets them arrive until it is over; `attempts` of them have come before. Each waits for `patience`.
pub(super) async fn arrive(
    msg: SocketAddr,
    attempts: usize,
    patience: Duration,
    over: CancellationToken,
) -> Arrivals {
    let mut arrivals = Arrivals::default();
    while !over.is_cancelled() {
        let n = attempts + arrivals.attempts();
        // Every other time the one who is known already.
        let once = FIRST + u32::try_from(n / 2).unwrap_or(LAST) % (LAST - FIRST);
        let user = if n.is_multiple_of(2) { LAST } else { once };
        let begin = Instant::now();
        match timeout(patience, log_in(msg, user, patience)).await {
            Ok(Ok(())) => arrivals.welcomed.push(begin.elapsed()),
            Ok(Err(error)) => {
                let after = begin.elapsed();
                let text = format!("u{user} after {after:.1?}: {error}");
                arrivals.turned_away.push(text);
            }
            Err(_) => {
                let text = format!("u{user}: no answer in {patience:?}");
                arrivals.turned_away.push(text);
            }
        }
        over.run_until_cancelled(sleep(PAUSE)).await;
    }
    arrivals
}

async fn log_in(msg: SocketAddr, user: u32, patience: Duration) -> Result<(), RawError> {
    let from = IpAddr::V4(source(3, 1));
    let mut conn = RawConn::connect_from(&msg.to_string(), from).await?;
    let password = Password::clear(people::PASSWORD);
    let name = people::name(user);
    conn.login(&name, &password, ClientType::Ios, patience)
        .await?;
    Ok(())
}
