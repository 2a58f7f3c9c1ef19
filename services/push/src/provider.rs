//! Those who bring notices to devices.

mod apns;
mod fcm;
mod jwt;
mod webhook;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use im_config::{PushConfig, TrustConfig};
use im_core::ClientType;

use crate::notice::Notice;
use im_outbound::{HttpError, Reply, TrustError};

im_core::label_values! {
    /// Lanes of the follower: one for each provider, the same in every version.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Lane {
        Webhook = 0,
        Apns = 1,
        Fcm = 2,
    }
}

/// How many there are.
pub(crate) const LANES: u32 = 3;

/// What a provider says to a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It brings it.
    Taken,
    /// The token leads nowhere any more.
    Gone(String),
    /// It will never take this notice.
    Rejected(String),
    /// It may take it later, after this time at least.
    Later {
        reason: String,
        after: Option<Duration>,
    },
}

impl Answer {
    pub(crate) fn later(reason: impl Into<String>) -> Self {
        Self::Later {
            reason: reason.into(),
            after: None,
        }
    }

    /// For an answer that says nothing more than its status.
    fn of_status(reply: &Reply, reason: String) -> Self {
        match reply.status {
            status if status.is_success() => Self::Taken,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Self::Later {
                reason,
                after: reply.retry_after,
            },
            status if status.is_server_error() => Self::Later {
                reason,
                after: reply.retry_after,
            },
            _ => Self::Rejected(reason),
        }
    }
}

/// What a provider says, and with which status; there is none where it has not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) answer: Answer,
    pub(crate) status: Option<StatusCode>,
}

impl Said {
    fn of(reply: &Reply, judge: impl FnOnce(&Reply) -> Answer) -> Self {
        Self {
            answer: judge(reply),
            status: Some(reply.status),
        }
    }
}

impl From<Answer> for Said {
    /// Without a word of the provider.
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            status: None,
        }
    }
}

impl From<HttpError> for Said {
    fn from(error: HttpError) -> Self {
        Answer::later(im_core::Chain(&error).to_string()).into()
    }
}

/// Brings notices to devices.
#[async_trait]
pub(crate) trait Provider: Send + Sync + 'static {
    /// Tries once. Says why not without a token or a text in it.
    async fn send(&self, notice: &Notice) -> Said;
}

/// Why a provider cannot be used as configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// A file of it cannot be read.
    #[error("read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of it does not hold what it should.
    #[error("find {what} in {path}")]
    Content {
        /// What it should hold.
        what: &'static str,
        /// Which.
        path: PathBuf,
    },
    /// TLS cannot be set up.
    #[error("set up TLS")]
    Trust(#[from] TrustError),
}

/// The providers that are configured.
#[derive(Default)]
pub(crate) struct Providers {
    lanes: [Option<Box<dyn Provider>>; LANES as usize],
}

impl Providers {
    /// Reads keys and certificates.
    pub(crate) fn new(config: &PushConfig, trust: &TrustConfig) -> Result<Self, ProviderError> {
        let mut this = Self::default();
        let most = config.max_answer.as_usize();
        if !config.webhook.url.is_empty() {
            let webhook = webhook::Webhook::new(&config.webhook, trust, most)?;
            this.put(Lane::Webhook, Box::new(webhook));
        }
        if !config.apns.topic.is_empty() {
            let apns = apns::Apns::new(&config.apns, trust, most)?;
            this.put(Lane::Apns, Box::new(apns));
        }
        if let Some(account) = &config.fcm.service_account_file {
            let fcm = fcm::Fcm::new(&config.fcm, account, trust, most)?;
            this.put(Lane::Fcm, Box::new(fcm));
        }
        Ok(this)
    }

    pub(crate) fn put(&mut self, lane: Lane, provider: Box<dyn Provider>) {
        if let Some(place) = self.lanes.get_mut(lane as usize) {
            *place = Some(provider);
        }
    }

    pub(crate) fn at(&self, lane: Lane) -> Option<&dyn Provider> {
        self.lanes.get(lane as usize)?.as_deref()
    }

    /// Who brings notices to this kind of phone: its maker, or the webhook where the maker is not configured.
    pub(crate) fn lane_of(&self, client: ClientType) -> Option<Lane> {
        let maker = match client {
            ClientType::Ios => Lane::Apns,
            ClientType::Android => Lane::Fcm,
            ClientType::Windows | ClientType::Mac => return None,
        };
        let lanes = [maker, Lane::Webhook];
        lanes.into_iter().find(|lane| self.at(*lane).is_some())
    }
}

/// Reads a small file.
fn read(path: &Path) -> Result<String, ProviderError> {
    std::fs::read_to_string(path).map_err(|source| ProviderError::Read {
        path: path.to_owned(),
        source,
    })
}

/// A URL with a path behind it.
fn join(base: &str, path: &str) -> String {
    format!("{}{path}", base.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_webhook_takes_what_no_maker_is_configured_for() {
        struct Nobody;
        #[async_trait]
        impl Provider for Nobody {
            async fn send(&self, _: &Notice) -> Said {
                Answer::Taken.into()
            }
        }
        let mut providers = Providers::default();
        assert_eq!(providers.lane_of(ClientType::Ios), None);
        providers.put(Lane::Webhook, Box::new(Nobody));
        assert_eq!(providers.lane_of(ClientType::Ios), Some(Lane::Webhook));
        providers.put(Lane::Apns, Box::new(Nobody));
        assert_eq!(providers.lane_of(ClientType::Ios), Some(Lane::Apns));
        assert_eq!(providers.lane_of(ClientType::Android), Some(Lane::Webhook));
        assert_eq!(providers.lane_of(ClientType::Mac), None);
    }
}
