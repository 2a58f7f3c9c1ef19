//! The table of msg servers in a login server's dump.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// A msg server as a login server described it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Reported {
    pub(super) server: String,
    state: String,
    connections: u32,
    #[serde(default)]
    sessions: u32,
    age_ms: u64,
}

#[derive(Deserialize)]
struct Dump {
    login: Table,
}

#[derive(Deserialize)]
struct Table {
    servers: Vec<Reported>,
}

/// A msg server as last known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// `accepting`, `full`, `starting`, `draining`, `cordoned`, `stale` or `lost`.
    pub(crate) state: String,
    /// Open client connections.
    pub(crate) connections: u32,
    /// Logged-in sessions.
    pub(crate) sessions: u32,
    /// When the msg server reported it.
    pub(crate) reported_at: Timestamp,
}

impl Reported {
    /// The row, for an answer that came at `now`.
    pub(super) fn row(&self, now: Timestamp) -> Row {
        let age = i64::try_from(self.age_ms).unwrap_or(i64::MAX);
        let reported_at = now
            .checked_sub(SignedDuration::from_millis(age))
            .unwrap_or(Timestamp::UNIX_EPOCH);
        Row {
            state: self.state.clone(),
            connections: self.connections,
            sessions: self.sessions,
            reported_at,
        }
    }

    #[cfg(test)]
    pub(super) fn for_test(server: &str, connections: u32, age_ms: u64) -> Self {
        Self {
            server: server.to_owned(),
            state: "accepting".to_owned(),
            connections,
            sessions: connections,
            age_ms,
        }
    }
}

/// Reads the rows of a dump.
pub(super) fn parse(body: &[u8]) -> serde_json::Result<Vec<Reported>> {
    serde_json::from_slice::<Dump>(body).map(|dump| dump.login.servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_of_a_login_server_is_read() {
        let dump =
            br#"{"runtime": {}, "login": {"servers": [{"server": "demo-msg-1", "instance": 1,
            "state": "accepting", "ip1": "10.0.0.1", "ip2": "", "port": 8000, "sessions": 3,
            "connections": 4, "max_sessions": 100, "soft_max_sessions": 85, "pending": 0,
            "revision": "r", "report": 9, "age_ms": 500}]}}"#;
        let rows = parse(dump).unwrap();
        let now = Timestamp::from_second(10).unwrap();
        let row = rows[0].row(now);
        assert_eq!((row.connections, row.sessions), (4, 3));
        assert_eq!(row.reported_at.as_millisecond(), 9_500);
        assert!(parse(b"{}").is_err());
    }
}
