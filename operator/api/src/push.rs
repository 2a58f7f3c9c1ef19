//! What is said of push beside what every role has: who is told, by which providers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CaBundle, schema};

/// Fields of `spec.roles.push`, which no other role has.
pub(crate) const FIELDS: [&str; 7] = [
    "when",
    "preview",
    "webhook",
    "apns",
    "fcm",
    "providerCidrs",
    "trust",
];

/// Who is told of messages, what they are shown, and by which providers. Credentials are read at the start
/// of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Push {
    /// Who is told of a message.
    pub when: PushWhen,
    /// What a notice shows.
    pub preview: PushPreview,
    /// A server of your own: takes what no other provider is configured for.
    pub webhook: Webhook,
    /// Apple, for iOS.
    pub apns: Apns,
    /// Google, for Android.
    pub fcm: Fcm,
    /// Address ranges of the providers, to which policies let the pods out at the ports of the URLs; empty:
    /// anywhere.
    #[schemars(schema_with = "schema::cidrs")]
    pub provider_cidrs: Vec<String>,
    /// Certificates that may have signed the providers'; absent: those of the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<CaBundle>,
}

/// Who is told of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PushWhen {
    /// People who have no terminal online but a phone that signed in as away.
    #[default]
    Offline,
    /// Everybody, as the original does; without a sound while a PC of theirs is online.
    Original,
}

impl PushWhen {
    /// The word of the servers' configuration for it.
    pub const fn as_config(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Original => "original",
        }
    }
}

/// What a notice shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PushPreview {
    /// That there is a message: neither sender nor text reach the provider.
    #[default]
    Generic,
    /// Name of the sender and the beginning of the text.
    Text,
}

impl PushPreview {
    /// The word of the servers' configuration for it.
    pub const fn as_config(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Text => "text",
        }
    }
}

/// A server of your own, which gets one signed POST per notice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "(size(self.url) > 0) == (size(self.secretName) > 0)",
        "message": "webhook needs url and secretName, or neither",
    },
]))]
pub struct Webhook {
    /// Its URL; empty: none.
    #[schemars(length(max = 1024), regex(pattern = r"^(https?://[^\s#/][^\s#]*)?$"))]
    pub url: String,
    /// Secret with what signs under `secret`, one or two lines: while it is replaced there are two, and both
    /// sign.
    #[schemars(length(max = 253))]
    pub secret_name: String,
}

/// Apple's push service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "(size(self.topic) > 0) == (size(self.secretName) > 0)",
        "message": "apns needs topic and secretName, or neither",
    },
    {
        "rule": "(size(self.keyId) > 0) == (size(self.teamId) > 0)",
        "message": "apns needs keyId and teamId for a token key, or neither for a certificate",
    },
]))]
pub struct Apns {
    /// Bundle id of the app; empty: iOS devices are not told by Apple.
    #[schemars(length(max = 256), regex(pattern = r"^[A-Za-z0-9.-]*$"))]
    pub topic: String,
    /// Apple's server: `https://api.sandbox.push.apple.com` for apps from Xcode.
    #[schemars(length(max = 256), regex(pattern = r"^https?://[A-Za-z0-9.:\[\]-]+$"))]
    pub url: String,
    /// Id of the key for tokens; empty: the Secret has a certificate.
    #[schemars(length(max = 64), regex(pattern = r"^[A-Za-z0-9]*$"))]
    pub key_id: String,
    /// Id of the team that the key belongs to.
    #[schemars(length(max = 64), regex(pattern = r"^[A-Za-z0-9]*$"))]
    pub team_id: String,
    /// Secret with the key for tokens (`AuthKey_….p8`) under `key.p8`; without `keyId` one with a certificate
    /// under `tls.crt` and its key under `tls.key`.
    #[schemars(length(max = 253))]
    pub secret_name: String,
}

impl Default for Apns {
    fn default() -> Self {
        Self {
            topic: String::new(),
            url: "https://api.push.apple.com".to_owned(),
            key_id: String::new(),
            team_id: String::new(),
            secret_name: String::new(),
        }
    }
}

/// Firebase Cloud Messaging.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Fcm {
    /// Secret with the key of a service account (JSON) under `serviceAccount.json`; empty: Android devices are
    /// not told by Google.
    #[schemars(length(max = 253))]
    pub secret_name: String,
    /// Google's server.
    #[schemars(length(max = 256), regex(pattern = r"^https?://[A-Za-z0-9.:\[\]-]+$"))]
    pub url: String,
}

impl Default for Fcm {
    fn default() -> Self {
        Self {
            secret_name: String::new(),
            url: "https://fcm.googleapis.com".to_owned(),
        }
    }
}

impl Push {
    /// Whether anybody can be told at all.
    pub fn has_provider(&self) -> bool {
        let names = [
            &self.webhook.secret_name,
            &self.apns.secret_name,
            &self.fcm.secret_name,
        ];
        names.iter().any(|name| !name.is_empty())
    }
}
