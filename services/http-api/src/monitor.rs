//! Monitor: what every server says of itself, what it is asked, and what happens.
//!
//! Every role reports to every http-api server on a link that it opens; questions go back on the same link. Nothing
//! is kept but the last report of each server: a server that is gone is known no more, and this one, when it
//! starts, knows within seconds who is there. Nothing depends on it.

mod files;
mod known;
mod link;
mod merge;
mod traces;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::join_all;
use im_config::MonitorConfig;
use im_proto_rpc::v1::monitor_answer::Answer;
use im_proto_rpc::v1::monitor_ask::Ask;
use im_proto_rpc::v1::{
    MonitorAsks, MonitorCalls, PlacedSession, ServerReport, SessionInfo, SessionsAsk,
};
use im_rpc::{Accept, Link};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use self::known::{Known, News};
use self::link::Question;
use crate::metrics::{Cut, Metrics};
use crate::slots::{NoSlot, Slot, Slots};

pub(crate) use self::files::{FILE, FILE_ID, FilesListed, Waiting};
pub(crate) use self::merge::{Place, from_bytes, to_bytes};
pub(crate) use self::traces::{Followed, Made};

/// The role that has sessions.
pub(crate) const MSG: &str = "msg";

/// What happens at servers.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    Server {
        up: bool,
        report: ServerReport,
    },
    Session {
        up: bool,
        session: SessionInfo,
    },
    /// So many happenings are missing.
    LeftOut(u64),
}

/// Why a server does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// Nobody of this name reports.
    NoSuchServer,
    /// It has as many questions as it may.
    Busy,
    /// It does not answer in time.
    Late,
    /// Its link has ended.
    Gone,
}

/// A server as it last reported.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) report: ServerReport,
    pub(crate) heard: Instant,
}

/// A page of sessions.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) sessions: Vec<PlacedSession>,
    /// Behind this place the next page begins, if some follow.
    pub(crate) next: Option<Place>,
    /// Servers that were asked.
    pub(crate) asked: usize,
    /// Of them, those that have not answered, by name.
    pub(crate) silent: Vec<String>,
}

/// What several servers have answered, by their names.
#[derive(Debug)]
struct Told<T> {
    answers: Vec<(String, T)>,
    /// Those that have not.
    silent: Vec<String>,
}

/// All servers; clones are the same.
#[derive(Clone, Debug)]
pub struct Monitor {
    config: Arc<MonitorConfig>,
    known: Arc<Mutex<Known<mpsc::Sender<Question>>>>,
    happenings: broadcast::Sender<Arc<Happening>>,
    /// Subscribers by token.
    places: Arc<Slots<u32>>,
    /// Subscribers of happenings.
    wanted: watch::Sender<usize>,
    last_link: Arc<AtomicU64>,
    metrics: Metrics,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Monitor {
    /// Knows nobody yet.
    pub(crate) fn new(config: &MonitorConfig, metrics: Metrics) -> Self {
        Self {
            config: Arc::new(config.clone()),
            known: Arc::new(Mutex::new(Known::new(config.max_servers))),
            happenings: broadcast::Sender::new(config.events),
            places: Slots::new(config.subscribers),
            wanted: watch::Sender::new(0),
            last_link: Arc::default(),
            metrics,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Ends every link and every subscription when fired.
    pub(crate) const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    fn lock(&self) -> MutexGuard<'_, Known<mpsc::Sender<Question>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(
        &self,
        link: u64,
        report: ServerReport,
        asks: &mpsc::Sender<Question>,
        now: Instant,
    ) -> Result<(), Cut> {
        let told = report.clone();
        let news = {
            let mut known = self.lock();
            let news = known.report(link, report, asks, now)?;
            self.show(known.len());
            news
        };
        if news == News::Up {
            info!(name = told.name, role = told.role, "a server reports");
            self.tell(Happening::Server {
                up: true,
                report: told,
            });
        }
        Ok(())
    }

    fn gone(&self, link: u64, name: &str) {
        let gone = {
            let mut known = self.lock();
            let gone = known.gone(link, name);
            self.show(known.len());
            gone
        };
        if let Some(report) = gone {
            self.tell(Happening::Server { up: false, report });
        }
    }

    fn show(&self, servers: usize) {
        let servers = i64::try_from(servers).unwrap_or(i64::MAX);
        self.metrics.monitored_servers.set(servers);
    }

    fn tell(&self, happening: Happening) {
        if self.happenings.receiver_count() > 0 {
            // The last one may have gone meanwhile.
            drop(self.happenings.send(Arc::new(happening)));
        }
    }

    /// The servers that report, by name, from behind this name on, so many at most.
    pub(crate) fn servers(&self, after: &str, most: usize) -> Vec<Seen> {
        let known = self.lock();
        let seen = |entry: &known::Entry<_>| Seen {
            report: entry.report.clone(),
            heard: entry.heard,
        };
        known.after(after).take(most).map(seen).collect()
    }

    /// How many report.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// A server by name.
    pub(crate) fn server(&self, name: &str) -> Option<Seen> {
        let known = self.lock();
        known.get(name).map(|entry| Seen {
            report: entry.report.clone(),
            heard: entry.heard,
        })
    }

    /// Asks a server.
    ///
    /// # Errors
    /// It does not report, or does not answer in time.
    pub(crate) async fn ask(&self, server: &str, ask: Ask) -> Result<Answer, NoAnswer> {
        let asks = self.lock().get(server).map(|entry| entry.asks.clone());
        let asks = asks.ok_or(NoAnswer::NoSuchServer)?;
        let (answer, answered) = oneshot::channel();
        let question = Question { ask, answer };
        asks.try_send(question).map_err(|_| NoAnswer::Busy)?;
        match timeout(self.config.question_timeout.duration(), answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(NoAnswer::Gone),
            Err(_) => Err(NoAnswer::Late),
        }
    }

    /// A page of at most so many sessions of all msg servers, or of one.
    pub(crate) async fn sessions(
        &self,
        server: Option<&str>,
        ask: SessionsAsk,
        limit: usize,
    ) -> Listed {
        let names = self.named(MSG, server);
        let asked = names.len();
        let each = u32::try_from(merge::share(limit, asked)).unwrap_or(u32::MAX);
        let ask = Ask::Sessions(SessionsAsk { limit: each, ..ask });
        let told = |answer| match answer {
            Answer::Sessions(page) => Some(page.into()),
            _ => None,
        };
        let Told { answers, silent } = self.ask_all(names, &ask, told).await;
        let pages = answers.into_iter().map(|(_, page)| page).collect();
        let (sessions, next) = merge::merge(pages, limit);
        Listed {
            sessions: sessions.into_iter().map(|(_, session)| session).collect(),
            next,
            asked,
            silent,
        }
    }

    /// Names of the servers of a role that report, or of this one alone.
    fn named(&self, role: &str, server: Option<&str>) -> Vec<String> {
        let known = self.lock();
        let all = known.after("").map(|entry| &entry.report);
        let meant = all.filter(|report| {
            report.role == role && server.is_none_or(|server| server == report.name)
        });
        meant.map(|report| report.name.clone()).collect()
    }

    /// Asks several servers the same at the same time.
    async fn ask_all<T>(
        &self,
        names: Vec<String>,
        ask: &Ask,
        told: impl Fn(Answer) -> Option<T>,
    ) -> Told<T> {
        let answers = names.iter().map(|name| self.ask(name, ask.clone()));
        let answers = join_all(answers).await;
        let (mut heard, mut silent) = (Vec::new(), Vec::new());
        for (name, answer) in names.into_iter().zip(answers) {
            match answer.map(&told) {
                Ok(Some(answer)) => heard.push((name, answer)),
                other => {
                    let why = other.err();
                    debug!(name, ?why, "a server has not answered a question for all");
                    silent.push(name);
                }
            }
        }
        Told {
            answers: heard,
            silent,
        }
    }

    /// What happens from now on, for whoever shows this token.
    ///
    /// # Errors
    /// There are as many subscribers as there may be, in all or with this token.
    pub(crate) fn subscribe(&self, token: u32) -> Result<Subscription, NoSlot> {
        let place = self.places.take(token)?;
        let happenings = self.happenings.subscribe();
        self.wanted.send_modify(|subscribers| *subscribers += 1);
        self.metrics.subscribers.inc();
        Ok(Subscription {
            happenings,
            monitor: self.clone(),
            _place: place,
        })
    }
}

/// Behind a place, spelled for a question.
pub(crate) const fn behind(place: Place) -> im_proto_rpc::v1::SessionPlace {
    merge::spelled(place)
}

/// Somebody who is told what happens.
#[derive(Debug)]
pub(crate) struct Subscription {
    happenings: broadcast::Receiver<Arc<Happening>>,
    monitor: Monitor,
    _place: Slot<u32>,
}

impl Subscription {
    /// What happens next; `None` at the end of this server.
    pub(crate) async fn next(&mut self) -> Option<Arc<Happening>> {
        let stop = &self.monitor.stop;
        match stop.run_until_cancelled(self.happenings.recv()).await? {
            Ok(happening) => Some(happening),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                self.monitor.metrics.left_out_events.inc_by(missed);
                Some(Arc::new(Happening::LeftOut(missed)))
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let wanted = &self.monitor.wanted;
        wanted.send_modify(|subscribers| *subscribers = subscribers.saturating_sub(1));
        self.monitor.metrics.subscribers.dec();
    }
}

impl Accept<MonitorAsks, MonitorCalls> for Monitor {
    fn accept(&self, link: Link<MonitorAsks, MonitorCalls>) {
        let id = self.last_link.fetch_add(1, Ordering::Relaxed) + 1;
        debug!(peer = %link.peer, "a link of reports begins");
        self.tasks.spawn(link::follow(self.clone(), id, link));
    }
}

#[cfg(test)]
mod tests;
