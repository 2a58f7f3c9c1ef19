//! The store on a server that speaks the protocol of MySQL.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
use crate::{Check, Checker};

/// A store on a MariaDB or MySQL server, which `store.url` names as `mysql://USER@HOST:PORT/DATABASE`.
///
/// db-proxy has at most `readers` + `changers` + 2 connections: one more stores messages, and one asks after a commit that was not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MysqlConfig {
    /// File whose first line is the password. It is read again every two seconds: new connections use what it holds then.
    /// Without it, there is no password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Whether connections are encrypted, and what the server has to show.
    pub tls: MysqlTls,
    /// PEM file with certificates that may have signed the server's, beside the usual roots; for `verify-ca` and
    /// `verify-identity`. Read for each connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate that is shown to the server; read for each connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// PEM file with its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Reading connections, opened on demand.
    pub readers: u32,
    /// Connections that make changes beside messages, opened on demand.
    pub changers: u32,
    /// How long a server that cannot be reached, or takes no writes yet, is waited for at the start.
    pub start_wait: Span,
    /// How long a call waits for a free connection, and for one to be made.
    pub acquire_timeout: Span,
    /// How long a read may take.
    pub read_timeout: Span,
    /// How long a change may take before its commit.
    pub change_timeout: Span,
    /// How long a commit waits for its answer. Then it is in doubt, and the server is asked what has become of it.
    pub commit_timeout: Span,
    /// How long a commit in doubt is asked after.
    pub doubt_timeout: Span,
    /// How long a statement waits for a row that somebody else changes.
    pub lock_timeout: Span,
    /// How long a transaction's receipt is kept, by which a commit in doubt is found.
    pub receipts_kept: Span,
    /// Between two times at which old receipts are dropped.
    pub maintenance_interval: Span,
    /// Longest text of statements that store messages; a longer batch takes several. At most a quarter of what the server takes
    /// (`max_allowed_packet`) is used.
    pub statement_size: ByteSize,
    /// Conversations whose numbers are remembered.
    pub known_conversations: usize,
}

/// Whether connections are encrypted, in the words of the database's own clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MysqlTls {
    /// Never.
    Disabled,
    /// If the server offers it, whoever it is.
    #[default]
    Preferred,
    /// Always, whoever the server is.
    Required,
    /// Always, and somebody who is trusted has signed the server's certificate.
    VerifyCa,
    /// The same, and the certificate is for the host of the URL.
    VerifyIdentity,
}

impl MysqlTls {
    fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyIdentity)
    }
}

impl Default for MysqlConfig {
    fn default() -> Self {
        Self {
            password_file: None,
            tls: MysqlTls::default(),
            ca_file: None,
            certificate_file: None,
            key_file: None,
            readers: 8,
            changers: 4,
            start_wait: Span::seconds(30),
            acquire_timeout: Span::seconds(3),
            read_timeout: Span::seconds(10),
            change_timeout: Span::seconds(60),
            commit_timeout: Span::seconds(10),
            doubt_timeout: Span::seconds(30),
            lock_timeout: Span::seconds(5),
            receipts_kept: Span::seconds(600),
            maintenance_interval: Span::seconds(30),
            statement_size: ByteSize::mib(4),
            known_conversations: 100_000,
        }
    }
}

impl Check for MysqlConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            password_file: _,
            tls,
            ca_file,
            certificate_file,
            key_file,
            readers,
            changers,
            start_wait,
            acquire_timeout,
            read_timeout,
            change_timeout,
            commit_timeout,
            doubt_timeout,
            lock_timeout,
            receipts_kept,
            maintenance_interval,
            statement_size,
            known_conversations,
        } = self;
        checker.require(
            "ca_file",
            ca_file.is_none() || tls.verifies(),
            "stand beside tls = \"verify-ca\" or \"verify-identity\": otherwise nobody looks at it",
        );
        checker.require(
            "key_file",
            certificate_file.is_some() == key_file.is_some(),
            "stand beside certificate_file, and not without it",
        );
        checker.range("readers", readers, &(1..=1_024));
        checker.range("changers", changers, &(1..=1_024));
        checker.range(
            "start_wait",
            start_wait,
            &(Span::ZERO..=Span::seconds(3_600)),
        );
        let call = Span::millis(100)..=Span::seconds(600);
        checker.range("acquire_timeout", acquire_timeout, &call);
        checker.range("read_timeout", read_timeout, &call);
        checker.range("change_timeout", change_timeout, &call);
        checker.range("commit_timeout", commit_timeout, &call);
        checker.range("doubt_timeout", doubt_timeout, &call);
        // The server counts in seconds.
        let lock = Span::seconds(1)..=Span::seconds(600);
        checker.range("lock_timeout", lock_timeout, &lock);
        checker.steps("lock_timeout", lock_timeout, &Span::seconds(1));
        checker.range(
            "receipts_kept",
            receipts_kept,
            &(Span::seconds(60)..=Span::days(7)),
        );
        checker.steps("receipts_kept", receipts_kept, &Span::seconds(1));
        // Else a commit could be asked after whose receipt is gone.
        let asked = commit_timeout.as_millis() + doubt_timeout.as_millis();
        checker.not_below(
            "receipts_kept",
            receipts_kept,
            "twice commit_timeout and doubt_timeout together",
            &Span::millis(2 * asked),
        );
        checker.range(
            "maintenance_interval",
            maintenance_interval,
            &(Span::seconds(1)..=Span::seconds(3_600)),
        );
        checker.range(
            "statement_size",
            statement_size,
            &(ByteSize::kib(16)..=ByteSize::mib(256)),
        );
        checker.range(
            "known_conversations",
            known_conversations,
            &(1..=100_000_000),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_bounds() {
        MysqlConfig::default().validate().unwrap();
    }

    #[test]
    fn modes_are_called_as_the_clients_of_the_database_call_them() {
        let modes = [
            (MysqlTls::Disabled, "disabled"),
            (MysqlTls::Preferred, "preferred"),
            (MysqlTls::Required, "required"),
            (MysqlTls::VerifyCa, "verify-ca"),
            (MysqlTls::VerifyIdentity, "verify-identity"),
        ];
        for (mode, name) in modes {
            assert_eq!(serde_json::to_value(mode).unwrap(), name);
        }
    }

    #[test]
    fn keys_that_nobody_would_look_at_are_refused() {
        let refused = |change: fn(&mut MysqlConfig)| {
            let mut config = MysqlConfig::default();
            change(&mut config);
            config
                .validate()
                .map_or_else(|error| error.to_string(), |()| String::new())
        };
        let text = refused(|config| config.ca_file = Some("ca.pem".into()));
        assert!(text.starts_with("ca_file: must stand beside"), "{text}");
        let text = refused(|config| {
            config.tls = MysqlTls::VerifyCa;
            config.ca_file = Some("ca.pem".into());
        });
        assert_eq!(text, "");
        let text = refused(|config| config.certificate_file = Some("client.pem".into()));
        assert!(text.starts_with("key_file: must stand beside"), "{text}");
        let text = refused(|config| config.doubt_timeout = Span::seconds(300));
        assert!(
            text.starts_with("receipts_kept: must be at least"),
            "{text}"
        );
    }
}
