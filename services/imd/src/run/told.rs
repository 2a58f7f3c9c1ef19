//! What whoever starts a server is told: where clients find it, where its data is, how to add people;
//! and, loudly, when clients would be sent to a place where nobody is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;

use im_config::{ImdConfig, MsgConfig, WHERE_ASKED};
use im_core::text::printable;
use im_role::Role;
use im_runtime::ready_file::Addresses;

use super::Plan;
use crate::config::BadConfig;

/// Refuses a public address that means nothing in this process.
pub(super) fn check(plan: Plan, config: &ImdConfig) -> Result<(), BadConfig> {
    let MsgConfig {
        public_ip1,
        public_ip2,
        ..
    } = &config.msg;
    let asked = [
        ("msg.public_ip1", public_ip1),
        ("msg.public_ip2", public_ip2),
        ("file.public_ip1", &config.file.public_ip1),
        ("file.public_ip2", &config.file.public_ip2),
    ];
    for (key, value) in asked {
        if value == WHERE_ASKED && matches!(plan, Plan::One(_)) {
            return Err(BadConfig::Missing {
                key,
                why: "\"*\" needs all roles in the same process; give the address or the name that \
                      clients can dial",
            });
        }
    }
    Ok(())
}

/// Clients would be sent to this machine itself, wherever they are: why, and what to do.
pub(super) fn warnings(plan: Plan, config: &ImdConfig) -> impl Iterator<Item = String> {
    [of_msg(plan, config), of_file(plan, config)]
        .into_iter()
        .flatten()
}

/// A file server that others are to reach, for all that is known here; beside a msg server it tells what
/// that one tells.
fn of_file(plan: Plan, config: &ImdConfig) -> Option<String> {
    let file = &config.file;
    let is_everywhere = host(&file.client_listen).is_some_and(|ip| ip.is_unspecified());
    let is_unsaid = plan == Plan::One(Role::FILE) && file.public_ip1.is_empty() && is_everywhere;
    is_unsaid.then(|| {
        "clients are told to fetch and send files at 127.0.0.1, which leads every other machine to itself: \
         set file.public_ip1 to the address or name under which they find this one"
            .to_owned()
    })
}

fn of_msg(plan: Plan, config: &ImdConfig) -> Option<String> {
    let msg = &config.msg;
    if !msg.public_endpoint_file.as_os_str().is_empty() {
        return None;
    }
    let listen = host(&msg.listen);
    let told = match msg.public_ip1.as_str() {
        "" if listen.is_some_and(|ip| ip.is_unspecified()) => "127.0.0.1".to_owned(),
        "" => listen?.to_string(),
        ip => ip.to_owned(),
    };
    let is_loopback =
        |text: &str| text == "localhost" || text.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if !is_loopback(&told) {
        return None;
    }
    let asked_from_outside = match plan {
        Plan::All => [&config.login.http_listen, &config.login.client_listen]
            .into_iter()
            .any(|listen| host(listen).is_some_and(|ip| !ip.is_loopback())),
        // A msg server that others are to reach, for all that is known here.
        Plan::One(role) if role == Role::MSG => {
            msg.public_ip1.is_empty() && listen.is_some_and(|ip| ip.is_unspecified())
        }
        Plan::One(_) => false,
    };
    asked_from_outside.then(|| {
        format!(
            "clients are told to connect to {told}, which leads every other machine to itself: set \
             msg.public_ip1 to the address or name under which they find this one"
        )
    })
}

/// Three lines for whoever has started everything at a terminal.
pub(super) fn welcome(data_dir: &Path, addresses: &Addresses) -> Option<String> {
    let http = addresses.get("login")?.get("http")?;
    let mut text = format!("\nclients: http://{}/msg_server", seen_from_outside(*http));
    if http.ip().is_unspecified() {
        text.push_str(&format!("   (here: http://127.0.0.1:{})", http.port()));
    }
    let dir = data_dir.canonicalize();
    let dir = dir.as_deref().unwrap_or(data_dir).display().to_string();
    let dir = printable(&dir);
    text.push_str(&format!(
        "\ndata:    {dir}\npeople:  imd directory import people.csv --data-dir {dir}   (then: imd chat NAME)\n"
    ));
    Some(text)
}

/// The address under which other machines find a listener on all addresses, as far as this one knows.
fn seen_from_outside(listener: SocketAddr) -> SocketAddr {
    if !listener.ip().is_unspecified() {
        return listener;
    }
    // Nothing is sent: the kernel says which of its addresses it would use.
    let outward = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| {
            socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
            socket.local_addr()
        })
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |local| local.ip());
    SocketAddr::new(outward, listener.port())
}

fn host(listen: &str) -> Option<IpAddr> {
    let (host, _) = listen.rsplit_once(':')?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare == "localhost" {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    bare.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(http: &str, msg: &str, public: &str) -> ImdConfig {
        let mut config = ImdConfig::default();
        config.login.http_listen = http.to_owned();
        config.login.client_listen = "127.0.0.1:8008".to_owned();
        config.msg.listen = msg.to_owned();
        config.msg.public_ip1 = public.to_owned();
        config
    }

    #[test]
    fn a_start_that_would_send_clients_to_themselves_says_so() {
        for (http, msg, public, warned) in [
            ("127.0.0.1:8080", "127.0.0.1:8000", "", false),
            ("0.0.0.0:8080", "127.0.0.1:8000", "", true),
            ("0.0.0.0:8080", "0.0.0.0:8000", "127.0.0.1", true),
            ("0.0.0.0:8080", "0.0.0.0:8000", "localhost", true),
            ("0.0.0.0:8080", "0.0.0.0:8000", "", true),
            ("0.0.0.0:8080", "0.0.0.0:8000", "*", false),
            ("0.0.0.0:8080", "0.0.0.0:8000", "chat.example.com", false),
            ("[::]:8080", "[::1]:8000", "", true),
            ("192.0.2.1:8080", "192.0.2.1:8000", "", false),
        ] {
            let config = config(http, msg, public);
            assert_eq!(
                warnings(Plan::All, &config).count() == 1,
                warned,
                "{http} {msg} {public:?}"
            );
        }
        let alone = |msg, public| of_msg(Plan::One(Role::MSG), &config("", msg, public)).is_some();
        assert!(alone("0.0.0.0:8000", ""));
        assert!(!alone("10.0.0.1:8000", "") && !alone("0.0.0.0:8000", "10.0.0.1"));
        assert!(!alone("127.0.0.1:8000", ""), "everything on one machine");
    }

    #[test]
    fn a_file_server_alone_that_is_told_no_address_says_so() {
        let alone = |listen: &str, public: &str| {
            let mut config = ImdConfig::default();
            config.file.client_listen = listen.to_owned();
            config.file.public_ip1 = public.to_owned();
            let told: Vec<String> = warnings(Plan::One(Role::FILE), &config).collect();
            told.concat().contains("file.public_ip1")
        };
        assert!(alone("0.0.0.0:8600", "") && alone("[::]:8600", ""));
        assert!(!alone("0.0.0.0:8600", "files.example.com"));
        assert!(!alone("127.0.0.1:8600", "") && !alone("10.0.0.1:8600", ""));
    }

    #[test]
    fn where_the_client_came_is_known_only_beside_the_login_server() {
        let config = config("0.0.0.0:8080", "0.0.0.0:8000", "*");
        assert!(check(Plan::All, &config).is_ok());
        let refused = check(Plan::One(Role::MSG), &config).unwrap_err();
        assert!(refused.to_string().starts_with("set msg.public_ip1: "));
    }

    #[test]
    fn the_end_of_a_start_says_what_matters_in_three_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut addresses = Addresses::new();
        let http = "127.0.0.1:8080".parse().unwrap();
        addresses
            .entry("login".to_owned())
            .or_default()
            .insert("http".to_owned(), http);
        let text = welcome(dir.path(), &addresses).unwrap();
        let lines: Vec<&str> = text.trim().lines().collect();
        assert_eq!(lines[0], "clients: http://127.0.0.1:8080/msg_server");
        assert!(lines[1].starts_with("data:    /"), "{text}");
        assert!(lines[2].starts_with("people:  imd directory import people.csv --data-dir /"));
        assert_eq!(lines.len(), 3);
    }
}
