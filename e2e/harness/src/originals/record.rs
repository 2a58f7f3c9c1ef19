//! What scripts have met, as text that is kept in the repository.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use im_codec::Command;

use crate::fields;

/// Which client sent which command, and which fields of what it got were compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Numbers, since clients send some that are no command.
    sent: BTreeSet<(u16, String)>,
    compared: BTreeMap<(u16, String), BTreeSet<String>>,
}

impl Record {
    pub(super) fn sent(&mut self, number: u16, client: &str) {
        self.sent.insert((number, client.to_owned()));
    }

    /// A whole body was compared.
    pub(super) fn compared(&mut self, command: Command, client: &str, body: &[u8]) {
        let found = fields::present(command.message().rule(), body);
        let place = self.compared.entry((command.id(), client.to_owned()));
        place.or_default().extend(found);
    }

    pub(super) fn is_sent(&self, number: u16, client: &str) -> bool {
        self.sent.contains(&(number, client.to_owned()))
    }

    pub(super) fn is_compared(&self, number: u16, client: &str) -> bool {
        self.compared.contains_key(&(number, client.to_owned()))
    }

    /// The fields of a command that were compared, by whichever client.
    pub(super) fn fields(&self, number: u16) -> BTreeSet<&str> {
        let of = self.compared.iter().filter(|((it, _), _)| *it == number);
        of.flat_map(|(_, fields)| fields.iter().map(String::as_str))
            .collect()
    }

    /// A line for each command and client.
    pub fn render(&self) -> String {
        let mut lines = BTreeSet::new();
        for (number, client) in &self.sent {
            lines.insert(format!("{number:#06x} {client} sent\n"));
        }
        for ((number, client), fields) in &self.compared {
            let mut line = format!("{number:#06x} {client} compared");
            for field in fields {
                line.push(' ');
                line.push_str(field);
            }
            line.push('\n');
            lines.insert(line);
        }
        lines.into_iter().collect()
    }

    /// Adds what [`Record::render`] has written.
    ///
    /// # Errors
    /// A line is not of that kind; the error has it.
    pub fn add(&mut self, text: &str) -> anyhow::Result<()> {
        for line in text.lines() {
            let mut words = line.split(' ');
            let (number, client) = words
                .next()
                .and_then(|number| u16::from_str_radix(number.strip_prefix("0x")?, 16).ok())
                .zip(words.next())
                .with_context(|| format!("no command and client: {line}"))?;
            match words.next() {
                Some("sent") => self.sent(number, client),
                Some("compared") => {
                    let place = self.compared.entry((number, client.to_owned()));
                    place.or_default().extend(words.map(str::to_owned));
                }
                _ => bail!("neither sent nor compared: {line}"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use im_proto_teamtalk::TeamtalkMessage;
    use im_proto_teamtalk::login::ImLogoutRsp;

    use super::*;

    fn encoded<M: TeamtalkMessage>(message: &M) -> Vec<u8> {
        message.encode_to_vec()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut record = Record::default();
        record.sent(Command::LogoutReq.id(), "iOS");
        record.sent(0x0735, "iOS");
        let body = encoded(&ImLogoutRsp { result_code: 0 });
        record.compared(Command::LogoutRsp, "iOS", &body);
        record.compared(Command::HeartBeat, "iOS", &[]);
        let text = record.render();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "0x0105 iOS sent",
                "0x0106 iOS compared result_code",
                "0x0701 iOS compared",
                "0x0735 iOS sent",
            ]
        );
        let mut again = Record::default();
        again.add(&text).unwrap();
        assert_eq!(again, record);
        for bad in ["0x0105", "105 iOS sent", "0x0105 iOS met"] {
            assert!(again.add(bad).is_err(), "{bad}");
        }
    }
}
