//! The before-send filter: a server of one's own that is asked before messages are stored.
//!
//! The writer keeps the order and holds what waits; here is who is asked, how, and what an answer means.
//!
//! * `about` – which messages it is asked about; pure.
//! * `words` – what is asked, and what is answered, as JSON; pure.
//! * `metrics` – what is counted.
//!
//! *Invariants*
//! - Every question has a verdict within `filter.timeout`, whatever the server does.
//! - What it has not said anything of use about gets what `filter.on_failure` says.
//! - While it is left alone nobody waits for it.
//! - No text is in a line of the log.

mod about;
mod metrics;
mod words;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Request, Uri};
use http_body_util::Full;
use im_codec::text::TextCipher;
use im_config::{FilterConfig, OnFailure, TrustConfig};
use im_core::time::UnixSeconds;
use im_core::{Conversation, UserId};
use im_outbound::signature::{self, Key, sign};
use im_outbound::{Gate, Http, HttpError, TrustError, Version, trust};
use im_writer::{Filter, Question, Verdict};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{info, warn};

use about::About;
pub(crate) use metrics::FilterMetrics;
use metrics::{Failure, Told};
use words::Answers;

/// Why the filter cannot be used as configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The file with its secret cannot be read.
    #[error("read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file does not hold what it should.
    #[error("find one or two secrets of 16 bytes or more, one a line, in {path}")]
    Secret {
        /// Which.
        path: PathBuf,
    },
    /// Its URL is none.
    #[error("use the URL of the filter")]
    Url(#[from] http::uri::InvalidUri),
    /// TLS cannot be set up.
    #[error("set up TLS for the filter")]
    Trust(#[from] TrustError),
}

/// A filter that is asked over HTTP.
pub(crate) struct HttpFilter {
    about: About,
    config: FilterConfig,
    /// Longest body of a message, bytes.
    max_body: usize,
    url: Uri,
    keys: Vec<Key>,
    http: Http,
    cipher: TextCipher,
    gate: Mutex<Gate>,
    metrics: FilterMetrics,
}

impl HttpFilter {
    /// The filter that is configured, if there is one. Reads its secret and certificates.
    ///
    /// # Errors
    /// A file cannot be used, or the URL is none.
    pub(crate) fn of(
        config: &FilterConfig,
        max_body: usize,
        trust: &TrustConfig,
        metrics: FilterMetrics,
    ) -> Result<Option<Arc<Self>>, FilterError> {
        if !config.is_on() {
            return Ok(None);
        }
        let path = config.secret_file.clone().unwrap_or_default();
        let keys = signature::keys(&read(&path)?).ok_or(FilterError::Secret { path })?;
        let tls = trust::client(trust)?;
        let this = Self {
            about: About::new(config),
            max_body,
            url: config.url.parse()?,
            keys,
            http: Http::new(tls, Version::Any, config.max_answer.as_usize()),
            cipher: TextCipher::default(),
            gate: Mutex::new(Gate::new(config.failures, config.pause.duration())),
            metrics,
            config: config.clone(),
        };
        info!(on_failure = ?this.config.on_failure, "messages are asked about before they are stored");
        Ok(Some(Arc::new(this)))
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What operators are shown.
    pub(crate) fn show(&self) -> Value {
        json!({
            "left_alone": self.gate().is_shut(),
            "requests": self.metrics.under_way(),
        })
    }

    /// Asks once; one verdict per question, as far as there are any, and whether something was wrong.
    async fn ask(&self, questions: &[Question]) -> Result<Answers, Failure> {
        let id = format!("flt_{:032x}", rand::random::<u128>());
        let body = words::request(&id, questions, &self.cipher);
        let now = UnixSeconds::now();
        let request = Request::post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, "imcluster")
            .header("webhook-id", &id)
            .header("webhook-timestamp", now.get())
            .header("webhook-signature", sign(&self.keys, &id, now, &body))
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| Failure::Unreachable)?;
        let sent = tokio::time::timeout(self.config.timeout.duration(), self.http.send(request));
        let reply = match sent.await {
            Err(_) => return Err(Failure::Timeout),
            Ok(Err(error)) => return Err(failure_of(&error)),
            Ok(Ok(reply)) => reply,
        };
        if !reply.status.is_success() {
            return Err(Failure::Status);
        }
        words::answers(&reply.body, questions, &self.cipher, self.max_body)
            .ok_or(Failure::BadAnswer)
    }

    /// Notes how a request ended; the filter is left alone after too many failures.
    fn note(&self, failure: Option<Failure>) {
        let now = Instant::now();
        let mut gate = self.gate();
        let was_shut = gate.is_shut();
        let Some(failure) = failure else {
            gate.answered();
            self.metrics.left_alone(false);
            if was_shut {
                info!("the filter answers again");
            }
            return;
        };
        self.metrics.failed(failure);
        if gate.failed(now) {
            self.metrics.left_alone(true);
            warn!(
                last = ?failure,
                on_failure = ?self.config.on_failure,
                "the filter fails and is left alone"
            );
        }
    }
}

#[async_trait]
impl Filter for HttpFilter {
    fn concerns(&self, sender: UserId, conversation: Conversation, msg_type: u32) -> bool {
        self.about.matches(sender, conversation, msg_type)
    }

    async fn judge(&self, questions: Vec<Question>) -> Vec<Verdict> {
        if self.gate().enter(Instant::now()).is_err() {
            self.metrics.told(Told::Skipped, questions.len());
            return questions.iter().map(|_| self.unanswered()).collect();
        }
        let asked = {
            let _under_way = self.metrics.request(questions.len());
            self.ask(&questions).await
        };
        let answers = asked.unwrap_or_else(Answers::none);
        self.note(answers.failure);
        let mut said = answers.verdicts.into_iter();
        let verdicts = questions.iter().map(|_| {
            let verdict = said.next().flatten();
            self.metrics.told(Told::of(verdict.as_ref()), 1);
            verdict.unwrap_or_else(|| self.unanswered())
        });
        verdicts.collect()
    }

    fn unanswered(&self) -> Verdict {
        match self.config.on_failure {
            OnFailure::Allow => Verdict::Allow,
            OnFailure::Deny => Verdict::Unjudged,
        }
    }
}

fn failure_of(error: &HttpError) -> Failure {
    if error.is_connect() {
        Failure::Unreachable
    } else if error.is_too_long() {
        Failure::TooLong
    } else {
        Failure::Broken
    }
}

fn read(path: &Path) -> Result<String, FilterError> {
    std::fs::read_to_string(path).map_err(|source| FilterError::Read {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    fn of(config: &FilterConfig) -> Result<Option<Arc<HttpFilter>>, FilterError> {
        let metrics = FilterMetrics::register(&mut Registry::default());
        HttpFilter::of(config, 1_024, &TrustConfig::default(), metrics)
    }

    #[test]
    fn without_a_url_there_is_none_and_without_its_secret_it_is_named() {
        let mut config = FilterConfig::default();
        assert!(of(&config).unwrap().is_none());
        config.url = "http://127.0.0.1:1/".to_owned();
        config.secret_file = Some("/nowhere/secret".into());
        let error = of(&config).err().unwrap();
        assert!(error.to_string().contains("/nowhere/secret"), "{error}");
        // A file that is there and holds no secret.
        config.secret_file = Some("/dev/null".into());
        assert!(matches!(of(&config), Err(FilterError::Secret { .. })));
    }

    /// Nobody listens there: each question has the verdict that is configured.
    #[tokio::test]
    async fn a_filter_that_is_away_says_what_is_configured() {
        for (on_failure, expected) in [
            (OnFailure::Allow, Verdict::Allow),
            (OnFailure::Deny, Verdict::Unjudged),
        ] {
            let filter = HttpFilter {
                about: About::new(&FilterConfig::default()),
                config: FilterConfig {
                    on_failure,
                    ..FilterConfig::default()
                },
                max_body: 1_024,
                url: Uri::from_static("http://127.0.0.1:1/"),
                keys: signature::keys("0123456789abcdef").unwrap(),
                http: Http::new(
                    trust::client(&TrustConfig::default()).unwrap(),
                    Version::Any,
                    1_024,
                ),
                cipher: TextCipher::default(),
                gate: Mutex::new(Gate::new(2, std::time::Duration::from_secs(3_600))),
                metrics: FilterMetrics::register(&mut Registry::default()),
            };
            let question = Question {
                sender: UserId::from_wire(1).unwrap(),
                peer: im_core::Peer::User(UserId::from_wire(2).unwrap()),
                msg_type: 1,
                body: Bytes::from_static(b"x"),
            };
            for _ in 0..4 {
                let verdicts = filter.judge(vec![question.clone(), question.clone()]).await;
                assert_eq!(verdicts, [expected.clone(), expected.clone()]);
            }
            assert_eq!(filter.show()["left_alone"], true, "after two");
        }
    }
}
