//! Texts on their way: what is sent, what never is, and what becomes of it.

use std::io::Write;

use anyhow::{Context as _, bail, ensure};
use im_client::SendAck;
use im_core::Peer;

use super::Session;
use crate::chat::show;

/// Longest text that is sent, bytes: with a server's defaults (`db_proxy.writer.max_body`) a longer one
/// would be dropped without a word.
const MAX_TEXT: usize = 190_000;
/// Bytes of a text that a message about it shows.
const SHOWN_TEXT: usize = 60;

/// What became of a text, with its beginning.
pub(super) struct Sent {
    pub(super) text: String,
    pub(super) outcome: Result<SendAck, im_client::Error>,
}

impl<W: Write> Session<W> {
    /// Says that a text was stored, or that it was not.
    pub(super) fn mark(&mut self, sent: Sent) -> anyhow::Result<()> {
        let now = im_core::time::UnixSeconds::now().get();
        let time = show::clock(now, now);
        match sent.outcome {
            Ok(ack) => writeln!(
                self.out,
                "[{time}] ✓ {} (stored as {})",
                sent.text, ack.msg_id
            )?,
            Err(error) => writeln!(self.out, "[{time}] ✗ {} was not stored: {error}", sent.text)?,
        }
        Ok(())
    }

    pub(super) async fn say(&mut self, text: &str) -> anyhow::Result<()> {
        let peer = self.conversation()?;
        check_text(peer, text, self.client.user_id())?;
        if self.scripted {
            let ack = self
                .client
                .send_text(peer, text)
                .await
                .context("send message")?;
            writeln!(self.out, "sent {}", ack.msg_id)?;
            return Ok(());
        }
        // Whoever is silent, others and the next line are not kept waiting.
        let sending = self
            .client
            .post_text(peer, text)
            .await
            .context("send message")?;
        let text = show::printable(&beginning(&show::readable(text)));
        self.sending.push(Box::pin(async move {
            let outcome = sending.await;
            Sent { text, outcome }
        }));
        Ok(())
    }
}

/// Refuses what the server would drop without a word.
fn check_text(peer: Peer, text: &str, me: u32) -> anyhow::Result<()> {
    if matches!(peer, Peer::User(user) if user.get() == me) {
        bail!("this conversation is with yourself: the server takes no message to oneself");
    }
    ensure!(
        text.len() <= MAX_TEXT,
        "the text has {} bytes, a message takes at most {MAX_TEXT}: send it in parts",
        text.len()
    );
    Ok(())
}

/// The beginning of a long text.
pub(super) fn beginning(text: &str) -> String {
    if text.len() <= SHOWN_TEXT {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars().take_while(|c| *c != '\n') {
        if short.len() + c.len_utf8() > SHOWN_TEXT {
            break;
        }
        short.push(c);
    }
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use im_core::UserId;

    use super::*;

    fn person(id: u32) -> Peer {
        Peer::User(UserId::from_wire(id).unwrap())
    }

    #[test]
    fn what_the_server_would_drop_is_refused_at_once() {
        assert!(check_text(person(2), "note", 1).is_ok());
        let own = check_text(person(1), "note", 1).unwrap_err().to_string();
        assert!(own.contains("with yourself"), "{own}");
        assert!(check_text(person(2), &"x".repeat(MAX_TEXT), 1).is_ok());
        let long = check_text(person(2), &"x".repeat(MAX_TEXT + 1), 1).unwrap_err();
        assert_eq!(
            long.to_string(),
            "the text has 190001 bytes, a message takes at most 190000: send it in parts"
        );
    }

    #[test]
    fn the_longest_text_fits_into_the_servers_default() {
        let cipher = im_client::codec::text::TextCipher::default();
        let body = cipher.encrypt("x".repeat(MAX_TEXT).as_bytes()).unwrap();
        assert!(body.len() as u64 <= im_config::DbProxyConfig::default().writer.max_body.as_u64());
    }

    #[test]
    fn messages_about_long_texts_are_short() {
        assert_eq!(beginning("short"), "short");
        let long = beginning(&"长".repeat(300_000));
        assert_eq!(long.chars().count(), SHOWN_TEXT / 3 + 1);
    }
}
