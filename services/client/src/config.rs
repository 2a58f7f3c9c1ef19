//! How a client behaves. Every bound is here.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use im_codec::{DEFAULT_MAX_FROM_SERVER, FrameLimit, text};
use im_core::ClientType;
use im_proto_teamtalk::base::UserStatType;
use md5::{Digest as _, Md5};

use crate::profile::Profile;

/// Where a client finds its msg server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// Ask the login server at this URL, `/msg_server` if it has no path.
    Dispatcher(String),
    /// Always this address, `host:port`.
    Fixed(String),
}

impl From<&str> for Server {
    fn from(text: &str) -> Self {
        if text.contains("://") {
            Self::Dispatcher(text.to_owned())
        } else {
            Self::Fixed(text.to_owned())
        }
    }
}

impl From<String> for Server {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<std::net::SocketAddr> for Server {
    fn from(address: std::net::SocketAddr) -> Self {
        Self::Fixed(address.to_string())
    }
}

/// A password as it travels: the MD5 of what the person typed. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// From what the person types.
    pub fn clear(password: &str) -> Self {
        let digest: [u8; 16] = Md5::digest(password.as_bytes()).into();
        Self(format!("{:032x}", u128::from_be_bytes(digest)))
    }

    /// From the 32 hexadecimal digits, or whatever shall travel instead.
    pub fn wire(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// What travels.
    pub fn as_wire(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// How unacknowledged messages are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendPolicy {
    /// Random 16 bytes in each message (field 100), by which a server knows a repetition.
    pub client_msg_id: bool,
    /// Messages that may wait for their acks at once; further ones wait for their turn.
    pub window: usize,
    /// Least distance between two messages.
    pub pace: Duration,
    /// Wait for an ack after each transmission.
    pub ack_timeout: Duration,
    /// How often the identical frame is sent again on the same connection.
    pub resends: u32,
    /// Whether unacknowledged frames are sent again after a reconnect.
    pub across_reconnects: bool,
    /// Whether one failure fails every message that waits behind it.
    pub fail_together: bool,
    /// After this time the caller is told that the message was not acknowledged, and it is not
    /// sent again.
    pub deadline: Duration,
}

/// Whom a client tells that a message arrived (0x0302 from a receiver).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipts {
    /// Nobody.
    None,
    /// Single messages only, as the Windows client.
    Single,
    /// All messages, with the conversation as the receiver sees it, as the iOS client.
    All,
    /// All messages with swapped ids, as the Android client.
    Swapped,
}

/// Signs of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeats {
    /// Distance between two.
    pub interval: Duration,
    /// Without any frame for so long the connection counts as lost.
    pub silence: Option<Duration>,
    /// Without any frame for so long after a heartbeat it counts as lost too.
    pub answer: Option<Duration>,
}

/// When a reconnect asks the dispatcher again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// At each attempt.
    Always,
    /// Never: the same address for ever.
    Never,
    /// As soon as the wait between attempts exceeds this.
    AfterStep(Duration),
}

/// How a lost connection is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconnect {
    /// Wait before the first attempt; it doubles.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
    /// Whether each wait is a random part of its length.
    pub jitter: bool,
    /// Whom to ask for the address.
    pub lookup: Lookup,
}

impl Reconnect {
    /// As the Windows client does it: the same address for ever, after 3 to 15 seconds.
    pub const WINDOWS: Self = Self {
        first: seconds(3),
        longest: seconds(15),
        jitter: false,
        lookup: Lookup::Never,
    };
}

/// Everything about one client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where to connect.
    pub server: Server,
    /// Login name.
    pub user: String,
    /// Its password.
    pub password: Password,
    /// Behaviour on the wire.
    pub profile: Profile,
    /// Kind of terminal announced at login; decides PC or mobile class.
    pub client_type: ClientType,
    /// Version announced at login.
    pub client_version: String,
    /// Wanted presence.
    pub online_status: UserStatType,
    /// Address to connect from.
    pub local_address: Option<IpAddr>,
    /// Time for the dispatcher's answer, and for the TCP connection.
    pub connect_timeout: Duration,
    /// Time for the login answer.
    pub login_timeout: Duration,
    /// Time for the answer of any other request, waiting for a reconnect included.
    pub request_timeout: Duration,
    /// Signs of life.
    pub heartbeats: Heartbeats,
    /// What happens after a lost connection; without it the client ends.
    pub reconnect: Option<Reconnect>,
    /// Treatment of unacknowledged messages.
    pub sending: SendPolicy,
    /// Receipts for received messages.
    pub receipts: Receipts,
    /// Whether a notice that another terminal read something is answered with an own read ack, as
    /// the iOS client does.
    pub echo_read_notices: bool,
    /// Largest frame accepted from the server.
    pub max_frame: FrameLimit,
    /// Events that may wait to be taken; later ones are counted in [`Event::Missed`](crate::Event).
    pub event_capacity: usize,
    /// Requests, and messages, that may wait to be written.
    pub queue_capacity: usize,
    /// Key of the text cipher.
    pub text_key: [u8; 32],
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl ClientConfig {
    /// Our own client, announced as a Windows terminal.
    pub fn new(server: impl Into<Server>, user: impl Into<String>, password: Password) -> Self {
        Self {
            server: server.into(),
            user: user.into(),
            password,
            profile: Profile::Own,
            client_type: ClientType::Windows,
            client_version: concat!("imcluster/", env!("CARGO_PKG_VERSION")).to_owned(),
            online_status: UserStatType::UserStatusOnline,
            local_address: None,
            connect_timeout: seconds(5),
            login_timeout: seconds(10),
            request_timeout: seconds(10),
            heartbeats: Heartbeats {
                interval: seconds(30),
                silence: Some(seconds(60)),
                answer: None,
            },
            reconnect: Some(Reconnect {
                first: Duration::from_millis(200),
                longest: seconds(10),
                jitter: true,
                lookup: Lookup::Always,
            }),
            sending: SendPolicy {
                client_msg_id: true,
                // What a server keeps stored-pending for one connection.
                window: 64,
                pace: Duration::ZERO,
                ack_timeout: seconds(10),
                resends: u32::MAX,
                across_reconnects: true,
                fail_together: false,
                deadline: seconds(60),
            },
            receipts: Receipts::None,
            echo_read_notices: false,
            max_frame: DEFAULT_MAX_FROM_SERVER,
            event_capacity: 4096,
            queue_capacity: 256,
            text_key: *text::DEFAULT_KEY,
        }
    }

    /// The same account with the behaviour of one of the original clients.
    #[must_use]
    pub fn with_profile(self, profile: Profile) -> Self {
        let base = Self {
            profile,
            ..Self::new(
                self.server.clone(),
                self.user.clone(),
                self.password.clone(),
            )
        };
        let own = Self {
            server: self.server,
            user: self.user,
            password: self.password,
            local_address: self.local_address,
            ..base
        };
        match profile {
            Profile::Own => own,
            Profile::Windows => own.windows(),
            Profile::Mac => own.mac(),
            Profile::Ios => own.ios(),
            Profile::Android => own.android(),
        }
    }

    /// The same, announced as another kind of terminal.
    #[must_use]
    pub fn with_client_type(mut self, client_type: ClientType) -> Self {
        self.client_type = client_type;
        self
    }

    /// The same, connecting from this address.
    #[must_use]
    pub fn from_address(mut self, address: IpAddr) -> Self {
        self.local_address = Some(address);
        self
    }

    fn original(mut self, ack_timeout: Duration, window: usize) -> Self {
        self.sending = SendPolicy {
            client_msg_id: false,
            window,
            pace: Duration::ZERO,
            ack_timeout,
            resends: 0,
            across_reconnects: false,
            fail_together: false,
            deadline: seconds(120),
        };
        self
    }

    fn windows(self) -> Self {
        let mut config = self.original(seconds(6), 1);
        config.sending.pace = Duration::from_millis(100);
        config.sending.resends = 1;
        config.sending.fail_together = true;
        "win_10086".clone_into(&mut config.client_version);
        config.client_type = ClientType::Windows;
        config.receipts = Receipts::Single;
        config.heartbeats = Heartbeats {
            interval: seconds(5),
            silence: Some(seconds(60)),
            answer: None,
        };
        config.reconnect = Some(Reconnect::WINDOWS);
        config
    }

    fn mac(self) -> Self {
        let mut config = self.original(seconds(8), 64);
        "MAC/1.0-1".clone_into(&mut config.client_version);
        config.client_type = ClientType::Mac;
        config.login_timeout = seconds(15);
        config.reconnect = Some(Reconnect {
            first: seconds(1),
            longest: seconds(64),
            jitter: false,
            lookup: Lookup::Never,
        });
        config
    }

    fn ios(self) -> Self {
        let mut config = self.original(seconds(10), 64);
        "MAC/1.0-1".clone_into(&mut config.client_version);
        config.client_type = ClientType::Ios;
        config.login_timeout = seconds(5);
        config.receipts = Receipts::All;
        config.echo_read_notices = true;
        config.reconnect = Some(Reconnect {
            first: seconds(5),
            longest: seconds(80),
            jitter: false,
            lookup: Lookup::Always,
        });
        config
    }

    fn android(self) -> Self {
        let mut config = self.original(seconds(6), 64);
        "1.0.0".clone_into(&mut config.client_version);
        config.client_type = ClientType::Android;
        config.login_timeout = seconds(8);
        config.receipts = Receipts::Swapped;
        config.max_frame = FrameLimit::new(409_600);
        config.heartbeats = Heartbeats {
            interval: seconds(240),
            silence: None,
            answer: Some(seconds(5)),
        };
        config.reconnect = Some(Reconnect {
            first: seconds(3),
            longest: seconds(60),
            jitter: false,
            lookup: Lookup::AfterStep(seconds(24)),
        });
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_travels_as_md5_in_lower_case_and_is_never_shown() {
        let password = Password::clear("123456");
        assert_eq!(password.as_wire(), "e10adc3949ba59abbe56e057f20f883e");
        assert_eq!(
            Password::clear("a").as_wire(),
            "0cc175b9c0f1b6a831c399e269772661",
            "leading zeros stay"
        );
        let config = ClientConfig::new("127.0.0.1:8000", "a", password);
        assert!(!format!("{config:?}").contains("e10adc"));
    }

    #[test]
    fn an_address_with_a_scheme_is_a_dispatcher() {
        assert_eq!(
            Server::from("http://chat.example:8080"),
            Server::Dispatcher("http://chat.example:8080".into())
        );
        assert_eq!(
            Server::from("[::1]:8000"),
            Server::Fixed("[::1]:8000".into())
        );
    }

    #[test]
    fn a_profile_brings_terminal_type_retries_and_receipts() {
        let own = ClientConfig::new("x:1", "a", Password::wire(""));
        let windows = own.clone().with_profile(Profile::Windows);
        assert_eq!(windows.client_type, ClientType::Windows);
        assert_eq!((windows.sending.window, windows.sending.resends), (1, 1));
        assert!(!windows.sending.client_msg_id);
        let android = own.with_profile(Profile::Android);
        assert_eq!(android.client_type, ClientType::Android);
        assert_eq!(android.receipts, Receipts::Swapped);
        assert_eq!(android.sending.resends, 0);
    }
}
