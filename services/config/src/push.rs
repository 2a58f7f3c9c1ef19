//! Configuration of the push role.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
use crate::{Check, Checker, LinkConfig, SubscriptionsConfig};

/// Notices on phones, which need a provider, and deliveries to subscriptions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PushConfig {
    /// Whether all-in-one runs this role.
    pub enabled: bool,
    /// Who is told.
    pub when: When,
    /// What a notice shows.
    pub preview: PreviewKind,
    /// What it shows where it does not show the text.
    pub generic_text: String,
    /// Bytes of name and text that a notice shows; the rest is cut at a character, with `...` behind.
    pub preview_bytes: ByteSize,
    /// Hour at which the night begins, in which iOS devices of people with the night shield are not told.
    pub night_from: u16,
    /// Hour at which it ends; the same as `night_from`: there is no night.
    pub night_until: u16,
    /// Where it is night, such as `Asia/Shanghai`; empty = the time zone of the process.
    pub time_zone: String,
    /// A message older than this is not told of any more.
    pub expire_after: Span,
    /// Links to db-proxy and route.
    pub link: LinkConfig,
    /// How late the position in the log may be.
    pub flush_interval: Span,
    /// Wait between looks at the log, in which messages gather.
    pub gather: Span,
    /// Time for route servers to say who is online; who does not answer counts as knowing of nobody.
    pub presence_timeout: Span,
    /// Notices of one provider that are under way; further ones wait.
    pub in_flight: usize,
    /// How long they wait, and messages behind them, before they are put off.
    pub patience: Span,
    /// Time for a provider to answer.
    pub attempt_timeout: Span,
    /// Wait before a notice is tried again the first time; it doubles.
    pub retry_min: Span,
    /// Longest wait.
    pub retry_max: Span,
    /// Notices that wait to be tried again; then no more messages are looked at.
    pub max_retries: u64,
    /// Notices in a row that a provider did not take, after which it is left alone for a while.
    pub failures: u32,
    /// How long it is left alone; then it gets one notice.
    pub pause: Span,
    /// Largest answer of a provider that is read.
    pub max_answer: ByteSize,
    /// A server of your own: takes what no other provider is configured for.
    pub webhook: WebhookConfig,
    /// Apple, for iOS.
    pub apns: ApnsConfig,
    /// Google, for Android.
    pub fcm: FcmConfig,
    /// Receivers that subscribed over the HTTP API.
    pub subscriptions: SubscriptionsConfig,
}

/// Who is told of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// People who have no terminal online but a phone that signed in as away.
    #[default]
    Offline,
    /// Everybody, as the original does; without a sound while a PC of theirs is online.
    Original,
}

/// What a notice shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PreviewKind {
    /// That there is a message: neither sender nor text reach the provider.
    #[default]
    Generic,
    /// Name of the sender and the beginning of the text, as the original does.
    Text,
}

/// A server of your own, which gets one signed POST per notice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookConfig {
    /// Its URL; empty = none.
    pub url: String,
    /// File with the secret that signs, one or two lines: while a secret is replaced there are two, and both
    /// sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
}

/// Apple's push service, with a token key (`key_file`, `key_id`, `team_id`) or with a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApnsConfig {
    /// Bundle id of the app; empty = iOS devices are not told by Apple.
    pub topic: String,
    /// Apple's server: `https://api.sandbox.push.apple.com` for apps from Xcode.
    pub url: String,
    /// Key for tokens (`AuthKey_….p8`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Its id.
    pub key_id: String,
    /// Id of the team that it belongs to.
    pub team_id: String,
    /// Certificate (PEM) instead of a token key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its key (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_key_file: Option<PathBuf>,
}

/// Firebase Cloud Messaging, version 1 of its HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FcmConfig {
    /// Key of a service account (JSON), which also names the project; without it Android devices are not told
    /// by Google.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_file: Option<PathBuf>,
    /// Google's server.
    pub url: String,
}

impl Default for ApnsConfig {
    fn default() -> Self {
        Self {
            topic: String::new(),
            url: "https://api.push.apple.com".to_owned(),
            key_file: None,
            key_id: String::new(),
            team_id: String::new(),
            certificate_file: None,
            certificate_key_file: None,
        }
    }
}

impl Default for FcmConfig {
    fn default() -> Self {
        Self {
            service_account_file: None,
            url: "https://fcm.googleapis.com".to_owned(),
        }
    }
}

impl Default for PushConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            when: When::default(),
            preview: PreviewKind::default(),
            generic_text: "您收到了一条消息".to_owned(),
            preview_bytes: ByteSize::bytes(37),
            night_from: 22,
            night_until: 8,
            time_zone: String::new(),
            expire_after: Span::seconds(3_600),
            link: LinkConfig::default(),
            flush_interval: Span::millis(500),
            gather: Span::millis(100),
            presence_timeout: Span::seconds(1),
            in_flight: 256,
            patience: Span::millis(500),
            attempt_timeout: Span::seconds(10),
            retry_min: Span::seconds(1),
            retry_max: Span::seconds(300),
            max_retries: 100_000,
            failures: 5,
            pause: Span::seconds(5),
            max_answer: ByteSize::kib(64),
            webhook: WebhookConfig::default(),
            apns: ApnsConfig::default(),
            fcm: FcmConfig::default(),
            subscriptions: SubscriptionsConfig::default(),
        }
    }
}

/// Longest text of its own that a notice shows: with JSON around it, far below what providers take.
const MAX_TEXT: usize = 1_024;

impl Check for PushConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            enabled: _,
            when: _,
            preview: _,
            generic_text,
            preview_bytes,
            night_from,
            night_until,
            time_zone: _,
            expire_after,
            link,
            flush_interval,
            gather,
            presence_timeout,
            in_flight,
            patience,
            attempt_timeout,
            retry_min,
            retry_max,
            max_retries,
            failures,
            pause,
            max_answer,
            webhook,
            apns,
            fcm,
            subscriptions,
        } = self;
        checker.length("generic_text", generic_text, MAX_TEXT);
        let text = ByteSize::bytes(1)..=ByteSize::kib(1);
        checker.range("preview_bytes", preview_bytes, &text);
        checker.range("night_from", night_from, &(0..=23));
        checker.range("night_until", night_until, &(0..=23));
        let hours = Span::seconds(1)..=Span::days(28);
        checker.range("expire_after", expire_after, &hours);
        checker.table("link", link);
        let often = Span::millis(50)..=Span::seconds(10);
        checker.range("flush_interval", flush_interval, &often);
        checker.range("gather", gather, &(Span::millis(1)..=Span::seconds(10)));
        let short = Span::millis(10)..=Span::seconds(60);
        checker.range("presence_timeout", presence_timeout, &short);
        checker.range("in_flight", in_flight, &(1..=1_000));
        checker.range("patience", patience, &short);
        checker.range("attempt_timeout", attempt_timeout, &short);
        let wait = Span::millis(10)..=Span::days(1);
        checker.range("retry_min", retry_min, &wait);
        checker.range("retry_max", retry_max, &wait);
        checker.not_below("retry_max", retry_max, "retry_min", retry_min);
        checker.range("max_retries", max_retries, &(1..=100_000_000));
        checker.range("failures", failures, &(1..=1_000_000));
        checker.range("pause", pause, &wait);
        let answer = ByteSize::kib(1)..=ByteSize::mib(1);
        checker.range("max_answer", max_answer, &answer);
        checker.table("webhook", webhook);
        checker.table("apns", apns);
        checker.table("fcm", fcm);
        checker.table("subscriptions", subscriptions);
    }
}

impl Check for WebhookConfig {
    fn check(&self, checker: &mut Checker) {
        let Self { url, secret_file } = self;
        checker.require(
            "url",
            url.is_empty() || is_url(url),
            "be http://HOST/… or https://HOST/…",
        );
        checker.require(
            "secret_file",
            url.is_empty() || secret_file.is_some(),
            "be given, since every request is signed",
        );
    }
}

impl Check for ApnsConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            topic,
            url,
            key_file,
            key_id,
            team_id,
            certificate_file,
            certificate_key_file,
        } = self;
        checker.require("url", is_url(url), "be https://HOST");
        if topic.is_empty() {
            return;
        }
        checker.require(
            "key_file",
            key_file.is_some() != certificate_file.is_some(),
            "be given, or certificate_file, and not both",
        );
        checker.require(
            "certificate_key_file",
            certificate_file.is_some() == certificate_key_file.is_some(),
            "be given where certificate_file is",
        );
        for (key, id) in [("key_id", key_id), ("team_id", team_id)] {
            let holds = key_file.is_none() || !id.is_empty();
            checker.require(key, holds, "be given with key_file");
        }
    }
}

impl Check for FcmConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            service_account_file: _,
            url,
        } = self;
        checker.require("url", is_url(url), "be https://HOST");
    }
}

impl PushConfig {
    /// Whether anybody can be told at all.
    pub fn has_provider(&self) -> bool {
        !self.webhook.url.is_empty()
            || !self.apns.topic.is_empty()
            || self.fcm.service_account_file.is_some()
    }
}

/// Whether this is a URL that a request can go to.
pub(crate) fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(is_plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(config: PushConfig) -> Result<(), String> {
        config.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_keep_to_their_bounds_and_name_no_provider() {
        let config = PushConfig::default();
        assert!(!config.has_provider());
        assert_eq!(judged(config), Ok(()));
    }

    #[test]
    fn a_webhook_has_a_url_and_a_secret() {
        let with = |url: &str, secret: Option<&str>| {
            let mut config = PushConfig::default();
            config.webhook.url = url.to_owned();
            config.webhook.secret_file = secret.map(PathBuf::from);
            assert_eq!(config.has_provider(), !url.is_empty());
            judged(config)
        };
        assert_eq!(with("https://hooks.example.com/im?a=b", Some("s")), Ok(()));
        let error = with("http://127.0.0.1:80", None).unwrap_err();
        assert!(error.contains("webhook.secret_file"), "{error}");
        for url in ["hooks.example.com", "https:///", "ftp://a", "http://a b/"] {
            assert!(with(url, Some("s")).is_err(), "{url}");
        }
    }

    #[test]
    fn apple_wants_a_key_or_a_certificate() {
        let with = |change: fn(&mut ApnsConfig)| {
            let mut config = PushConfig::default();
            config.apns.topic = "com.example.chat".to_owned();
            change(&mut config.apns);
            judged(config)
        };
        assert!(with(|_| {}).is_err());
        let key = |apns: &mut ApnsConfig| {
            apns.key_file = Some("k".into());
            apns.key_id = "K".to_owned();
            apns.team_id = "T".to_owned();
        };
        assert_eq!(with(key), Ok(()));
        assert!(with(|apns| apns.key_file = Some("k".into())).is_err());
        let certificate = |apns: &mut ApnsConfig| {
            apns.certificate_file = Some("c".into());
            apns.certificate_key_file = Some("k".into());
        };
        assert_eq!(with(certificate), Ok(()));
        assert!(with(|apns| apns.certificate_file = Some("c".into())).is_err());
    }
}
