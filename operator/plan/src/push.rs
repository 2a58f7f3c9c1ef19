//! The providers of push: what servers are told of them, whose Secrets hold the credentials, and the ways
//! out to them.

use std::collections::BTreeSet;

use im_operator_api::Push;
use toml::Value;

use crate::network::{HTTPS, port_of};
use crate::references::Reference;

/// Configuration keys that are the operator's whether a provider is configured or not.
pub(crate) const RESERVED: &[&str] = &[
    "push.webhook.url",
    "push.webhook.secret_file",
    "push.apns.topic",
    "push.apns.url",
    "push.apns.key_file",
    "push.apns.key_id",
    "push.apns.team_id",
    "push.apns.certificate_file",
    "push.apns.certificate_key_file",
    "push.fcm.service_account_file",
    "push.fcm.url",
    "trust.ca_file",
];

/// Configuration keys of the providers that are named, but for the files.
pub(crate) fn settings(push: &Push) -> Vec<(String, Value)> {
    let mut keys = Vec::new();
    let mut put = |key: &str, value: &str| keys.push((format!("push.{key}"), value.into()));
    if !push.webhook.secret_name.is_empty() {
        put("webhook.url", &push.webhook.url);
    }
    if !push.apns.secret_name.is_empty() {
        put("apns.topic", &push.apns.topic);
        put("apns.url", &push.apns.url);
        if !push.apns.key_id.is_empty() {
            put("apns.key_id", &push.apns.key_id);
            put("apns.team_id", &push.apns.team_id);
        }
    }
    if !push.fcm.secret_name.is_empty() {
        put("fcm.url", &push.fcm.url);
    }
    keys
}

/// What the pods mount.
pub(crate) fn references(push: &Push) -> Vec<Reference> {
    let field = |provider: &str| format!("spec.roles.push.{provider}.secretName");
    let of_apple: &[(&str, &str)] = if push.apns.key_id.is_empty() {
        &[
            ("tls.crt", "push.apns.certificate_file"),
            ("tls.key", "push.apns.certificate_key_file"),
        ]
    } else {
        &[("key.p8", "push.apns.key_file")]
    };
    let webhook = Reference::secret(
        &push.webhook.secret_name,
        field("webhook"),
        "webhook",
        &[("secret", "push.webhook.secret_file")],
    );
    let apns = Reference::secret(&push.apns.secret_name, field("apns"), "apns", of_apple);
    let fcm = Reference::secret(
        &push.fcm.secret_name,
        field("fcm"),
        "fcm",
        &[("serviceAccount.json", "push.fcm.service_account_file")],
    );
    let trust = Reference::bundle(
        push.trust.as_ref(),
        "spec.roles.push.trust",
        "trust",
        "trust.ca_file",
    );
    [webhook, apns, fcm, trust].into_iter().flatten().collect()
}

/// The ports at which the providers that are named are reached, and that of HTTPS: at it are receivers that
/// subscribed over the HTTP API, whose URLs nobody knows before, and Google's accounts, which give tokens for
/// FCM.
pub(crate) fn ports(push: &Push) -> BTreeSet<i32> {
    let mut ports = BTreeSet::from([HTTPS]);
    if !push.webhook.secret_name.is_empty() {
        ports.extend(port_of(&push.webhook.url));
    }
    if !push.apns.secret_name.is_empty() {
        ports.extend(port_of(&push.apns.url));
    }
    if !push.fcm.secret_name.is_empty() {
        ports.extend(port_of(&push.fcm.url));
    }
    ports
}
