//! `imd doctor`: does what a client does, and says in words what is wrong and what to do.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use im_client::dispatch::{DispatchError, Endpoint, lookup};

use crate::output;
use crate::probe::{Found, address_of, probe};

/// Longest wait for the dispatcher.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clocks that differ by more confuse clients: they order by the server's time and show their own.
const MOST_SECONDS: i64 = 60;

/// Does what a client does, and says what is wrong and what to do.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  imd doctor
  imd doctor --server http://chat.example.com:8080")]
pub(crate) struct Args {
    /// Login server as clients know it.
    #[arg(long, env = "IMD_SERVER", default_value = "http://127.0.0.1:8080")]
    server: String,
}

/// A finding.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Good(String),
    Wrong(String),
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let lines = examine(&args.server).await;
    for line in &lines {
        match line {
            Line::Good(text) => output::print(&format!("ok     {text}")),
            Line::Wrong(text) => output::print(&format!("WRONG  {text}")),
        }
    }
    let good = lines.iter().all(|line| matches!(line, Line::Good(_)));
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn examine(server: &str) -> Vec<Line> {
    let asked = address_of(server);
    let endpoint = match lookup(server, None, PATIENCE).await {
        Ok(endpoint) => endpoint,
        Err(error) => return vec![Line::Wrong(no_address(server, &asked, &error).await)],
    };
    let told = endpoint.address();
    let mut lines = vec![Line::Good(format!(
        "dispatch: {server} sends clients to {told}"
    ))];
    lines.extend(public_address(&asked, &endpoint));
    match probe(&told).await {
        Found::MsgServer(ahead) => {
            lines.push(Line::Good(format!("login port: {told} takes logins")));
            lines.push(clock(ahead));
        }
        found => lines.push(Line::Wrong(format!(
            "login port: {}; clients are sent there: check msg.public_ip1 and msg.public_port, and firewalls \
             between",
            found.says(&told)
        ))),
    }
    lines
}

async fn no_address(server: &str, asked: &str, error: &DispatchError) -> String {
    match error {
        DispatchError::NoServer { code: 2 } => {
            format!("dispatch: {server} answers that every msg server is full: start another one")
        }
        DispatchError::NoServer { .. } => format!(
            "dispatch: {server} answers that no msg server takes logins: its log and /readyz of db-proxy, \
             route and msg say which is missing"
        ),
        _ => {
            let found = match probe(asked).await {
                Found::LoginServer if !server.starts_with("http://") => {
                    format!("write http://{asked}")
                }
                found => found.says(asked),
            };
            format!("dispatch: {server} gives no address ({error}): {found}")
        }
    }
}

/// Whoever asked this machine by its name or address in the network cannot go to its loopback.
fn public_address(asked: &str, endpoint: &Endpoint) -> Option<Line> {
    let is_loopback = |host: &str| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    };
    let asked_host = asked.rsplit_once(':').map_or(asked, |(host, _)| host);
    let told = &endpoint.host;
    match (is_loopback(told), is_loopback(asked_host)) {
        (true, false) => Some(Line::Wrong(format!(
            "public address: clients are told {told}, which leads every other machine to itself: set \
             msg.public_ip1"
        ))),
        (true, true) => Some(Line::Good(format!(
            "public address: {told}, for clients on this machine only"
        ))),
        _ => None,
    }
}

fn clock(ahead: i64) -> Line {
    if ahead.abs() <= MOST_SECONDS {
        return Line::Good(format!("clock: {ahead} s ahead of this machine's"));
    }
    Line::Wrong(format!(
        "clock: the server's is {ahead} s ahead of this machine's: set both by NTP"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str) -> Endpoint {
        Endpoint {
            host: host.to_owned(),
            backup: host.to_owned(),
            port: 8000,
            files: None,
        }
    }

    #[test]
    fn a_loopback_address_is_wrong_for_whoever_came_from_elsewhere() {
        let judge = |asked: &str, told: &str| public_address(asked, &endpoint(told));
        assert!(matches!(
            judge("chat.example.com:8080", "127.0.0.1"),
            Some(Line::Wrong(_))
        ));
        assert!(matches!(
            judge("127.0.0.2:8080", "127.0.0.1"),
            Some(Line::Good(_))
        ));
        assert!(matches!(judge("[::1]:8080", "::1"), Some(Line::Good(_))));
        assert_eq!(judge("192.0.2.1:8080", "192.0.2.1"), None);
    }

    #[test]
    fn clocks_that_differ_by_a_minute_are_told() {
        assert!(matches!(clock(-60), Line::Good(_)));
        assert!(matches!(clock(61), Line::Wrong(_)));
        assert!(matches!(clock(-61), Line::Wrong(_)));
    }
}
