//! One message from one person to the other, through one msg server.

use std::time::Duration;

use anyhow::Context as _;
use im_client::{Client, ClientConfig, Events, Password};
use im_core::{Classify as _, ErrorKind, Peer, UserId};
use tokio::time::{Instant, timeout};

use super::figures::{Step, Times};
use crate::chat::not_let_in;
use crate::check::arrival;

/// Somebody with a password.
#[derive(Clone, Debug)]
pub(super) struct Person {
    name: String,
    password: Password,
}

impl Person {
    /// From what they would type.
    pub(super) fn new(name: &str, password: &str) -> Self {
        Self {
            name: name.to_owned(),
            password: Password::clear(password),
        }
    }

    /// Logs in at this address. The session ends with the value: nothing is repaired in a probe.
    async fn log_in(&self, address: &str, within: Duration) -> anyhow::Result<(Client, Events)> {
        let server = im_client::Server::Fixed(address.to_owned());
        let mut config = ClientConfig::new(server, self.name.as_str(), self.password.clone());
        config.reconnect = None;
        config.connect_timeout = within;
        config.login_timeout = within;
        config.sending.ack_timeout = within;
        config.sending.deadline = within;
        match timeout(within, Client::connect(config)).await {
            Ok(Err(error)) if error.kind() == ErrorKind::Denied => Err(not_let_in(&self.name)),
            Ok(connected) => connected.with_context(|| format!("log in {}", self.name)),
            Err(late) => Err(late).with_context(|| format!("log in {}", self.name)),
        }
    }
}

/// The two people.
#[derive(Clone, Debug)]
pub(super) struct People {
    /// Who writes.
    pub(super) from: Person,
    /// Whom to.
    pub(super) to: Person,
    /// Time for each step.
    pub(super) within: Duration,
}

/// What failed, and why.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) error: anyhow::Error,
}

impl Failure {
    pub(super) const fn new(step: Step, error: anyhow::Error) -> Self {
        Self { step, error }
    }
}

impl People {
    /// Logs both in at this address, and passes a message.
    ///
    /// # Errors
    /// The first step that failed, or took longer than it may.
    pub(super) async fn pass(&self, address: &str) -> Result<Times, Failure> {
        let begin = Instant::now();
        let both = async {
            tokio::try_join!(
                self.to.log_in(address, self.within),
                self.from.log_in(address, self.within)
            )
        };
        let ((receiver, mut heard), (sender, _sender_events)) = both
            .await
            .map_err(|error| Failure::new(Step::login, error))?;
        let login = begin.elapsed();
        let passed = self.write(&sender, &receiver, &mut heard).await;
        sender.close().await;
        receiver.close().await;
        let (send, deliver) = passed?;
        Ok(Times {
            login,
            send,
            deliver,
        })
    }

    /// Sends a text, and waits for its acknowledgement and for the text.
    async fn write(
        &self,
        sender: &Client,
        receiver: &Client,
        heard: &mut Events,
    ) -> Result<(Duration, Duration), Failure> {
        let to = UserId::from_wire(receiver.user_id())
            .with_context(|| format!("{} has no user id", self.to.name))
            .map_err(|error| Failure::new(Step::login, error))?;
        // Different from every earlier one: a message of before must not count.
        let text = format!("probe {}", jiff::Timestamp::now().as_nanosecond());
        let start = Instant::now();
        let sent = timeout(self.within, sender.send_text(Peer::User(to), &text)).await;
        let ack = sent
            .context("wait for the acknowledgement")
            .and_then(|ack| ack.context("send the message"))
            .map_err(|error| Failure::new(Step::send, error))?;
        let send = start.elapsed();
        let arrives = arrival(receiver, heard, sender.user_id(), text.as_bytes());
        let arrived = timeout(self.within, arrives).await;
        arrived
            .map_err(anyhow::Error::new)
            .flatten()
            .with_context(|| format!("wait for message {} to arrive", ack.msg_id))
            .map_err(|error| Failure::new(Step::deliver, error))?;
        Ok((send, start.elapsed()))
    }
}
