//! Which addresses of msg servers clients are told.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use im_client::dispatch::lookup;
use im_config::WHERE_ASKED;
use serde_json::Value;
use tokio::time::timeout;

use crate::probe::http;

/// Largest table that is read, bytes: 10,000 msg servers.
const MAX_TABLE: usize = 4 << 20;

/// Addresses, `host:port`.
pub(super) type Known = BTreeSet<String>;

/// What the next client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// `host:port`.
    pub(super) address: String,
}

impl Told {
    /// Without the port, as in an address.
    fn host(&self) -> &str {
        let host = self.address.rsplit_once(':');
        host.map_or(self.address.as_str(), |(host, _)| host)
    }
}

/// Asks the login server as a client does. A msg server that was named itself is what is told.
pub(super) async fn told(server: &str, within: Duration) -> anyhow::Result<Told> {
    if !server.contains("://") {
        return Ok(Told {
            address: server.to_owned(),
        });
    }
    let endpoint = lookup(server, None, within).await;
    let endpoint = endpoint.with_context(|| format!("ask {server} for a msg server"))?;
    Ok(Told {
        address: endpoint.address(),
    })
}

/// The msg servers to which a login server sends people, by its admin port.
pub(super) async fn table(admin: &str, told: &Told, within: Duration) -> anyhow::Result<Known> {
    let what = || format!("read the table of the login server at {admin}");
    let answer = timeout(within, http(admin, "/debug/dump", MAX_TABLE)).await;
    let answer = answer.with_context(what)?;
    let answer = answer.map_err(anyhow::Error::msg).with_context(what)?;
    read(&answer, told).with_context(what)
}

/// The addresses in an answer with a table. One that clients find where they asked has the host that is told.
fn read(answer: &[u8], told: &Told) -> anyhow::Result<Known> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.context("find the end of its head")?);
    ensure!(
        head.starts_with(b"HTTP/1.1 200 "),
        "it answers {:?}",
        String::from_utf8_lossy(head.split(|byte| *byte == b'\r').next().unwrap_or(head))
    );
    let dump: Value = serde_json::from_slice(body.trim_ascii_start())?;
    let rows = dump.pointer("/login/servers").and_then(Value::as_array);
    let rows = rows.context("find its table")?.iter();
    Ok(rows.filter_map(|row| address(row, told)).collect())
}

/// The address of a msg server that takes people.
fn address(row: &Value, told: &Told) -> Option<String> {
    let text = |key: &str| row.get(key).and_then(Value::as_str);
    let port = u16::try_from(row.get("port")?.as_u64()?).ok()?;
    let host = text("ip1")?;
    let is_v6 = host.contains(':') && !host.starts_with('[');
    (text("state")? == "accepting").then(|| match host {
        WHERE_ASKED => format!("{}:{port}", told.host()),
        host if is_v6 => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    })
}

/// Whose turn it is: at most so many, from the one after `last` on and then from the beginning.
pub(super) fn turn(known: &Known, last: &str, most: usize) -> Vec<String> {
    let after = known.iter().filter(|address| address.as_str() > last);
    let before = known.iter().filter(|address| address.as_str() <= last);
    after.chain(before).take(most).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(names: &[&str]) -> Known {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn all_have_their_turn_where_more_are_told_than_fit_into_a_round() {
        let all = known(&["a:1", "b:1", "c:1"]);
        assert_eq!(turn(&all, "", 2), ["a:1", "b:1"]);
        assert_eq!(turn(&all, "b:1", 2), ["c:1", "a:1"]);
        assert_eq!(turn(&all, "a:1", 9), ["b:1", "c:1", "a:1"]);
        assert_eq!(turn(&all, "b:2", 1), ["c:1"], "one that has gone");
        assert!(turn(&Known::new(), "", 2).is_empty());
    }

    #[test]
    fn the_table_names_those_that_take_people_and_rubbish_is_refused() {
        let told = Told {
            address: "[2001:db8::1]:8000".to_owned(),
        };
        let answer = br#"HTTP/1.1 200 OK
content-type: application/json

{"login":{"servers":[
 {"server":"a","state":"accepting","ip1":"192.0.2.1","ip2":"x","port":8000,"sessions":3},
 {"server":"b","state":"draining","ip1":"192.0.2.2","ip2":"x","port":8000},
 {"server":"c","state":"accepting","ip1":"2001:db8::7","ip2":"x","port":8001},
 {"server":"d","state":"accepting","ip1":"*","ip2":"x","port":8002}]},"readiness":{}}"#;
        let text = String::from_utf8_lossy(answer).replace('\n', "\r\n");
        let found = read(text.as_bytes(), &told).unwrap();
        let wanted = ["192.0.2.1:8000", "[2001:db8::1]:8002", "[2001:db8::7]:8001"];
        assert_eq!(found, known(&wanted));
        for bad in [
            "HTTP/1.1 404 Not Found\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\n",
        ] {
            assert!(read(bad.as_bytes(), &told).is_err(), "{bad}");
        }
    }
}
