//! What each role of this process says of itself to every http-api server, and what it answers there.
//!
//! Nothing waits for any of it: a server that is away misses the reports and nothing else, and one that is
//! slow holds up its own link.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use im_config::MonitorConfig;
use im_msg::{Control, ControlError};
use im_proto_rpc::v1::monitor_answer::Answer;
use im_proto_rpc::v1::monitor_ask::Ask;
use im_proto_rpc::v1::monitor_call::Call;
use im_proto_rpc::v1::{
    LinkCount, MonitorAnswer, MonitorAsk, MonitorAsks, MonitorCall, MonitorCalls, MonitorFiles,
    MonitorRefusal, ServerReport, SessionEvent,
};
use im_role::{Role, TABLE};
use im_rpc::peers::Watch;
use im_rpc::{Link, LinkKind as _, LinkMetrics, MonitorReport, PeerEvent, Peers};
use im_runtime::Context;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::traces;

/// A report leaves this often at least.
const EVERY: Duration = Duration::from_secs(2);

/// How soon a change of state is reported.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Questions that are worked on at the same time; further ones are refused.
const MAX_ANSWERS: usize = 16;

/// Events of one message, and the most between two looks; further ones are counted.
const MAX_BATCH: usize = 512;
const MAX_EVENTS: usize = 500;

/// Conditions and kinds of links that are reported.
const MAX_MISSING: usize = 16;
const MAX_LINKS: usize = 32;

/// A role of this process.
pub(super) struct Source {
    pub(super) role: Role,
    pub(super) name: String,
    pub(super) context: Context,
    pub(super) links: LinkMetrics,
    /// Where the role is msg.
    pub(super) control: Option<Control>,
    /// Where the role is file.
    files: Option<im_file::Control>,
    instance: u64,
    started_ms: u64,
}

impl Source {
    pub(super) fn new(role: Role, name: String, context: Context, links: LinkMetrics) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let started = since.map_or(0, |since| since.as_millis());
        Self {
            role,
            name,
            context,
            links,
            instance: fresh_instance(),
            control: None,
            files: None,
            started_ms: u64::try_from(started).unwrap_or(0),
        }
    }

    /// What can be asked of it besides: sessions of a msg server, files of a file server.
    pub(super) fn controls(
        self,
        control: Option<Control>,
        files: Option<im_file::Control>,
    ) -> Self {
        let told = control.as_ref().map(|control| control.state().instance);
        Self {
            instance: told.unwrap_or(self.instance),
            control,
            files,
            ..self
        }
    }

    fn report(&self) -> ServerReport {
        let conditions = self.context.readiness.conditions().into_iter();
        let missing = conditions.filter(|(_, holds)| !holds).map(|(name, _)| name);
        ServerReport {
            name: self.name.clone(),
            role: self.role.name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.instance,
            started_ms: self.started_ms,
            ready: self.context.readiness.is_ready(),
            missing: missing.take(MAX_MISSING).collect(),
            links: self.standing(),
            msg: self.control.as_ref().map(Control::state),
        }
    }

    /// The links that this role opens or serves; others are those of other roles of the process.
    fn standing(&self) -> Vec<LinkCount> {
        let dials = TABLE.dialed_by(self.role);
        let own = dials.chain(TABLE.served_by(self.role));
        let counts = own.map(|link| {
            let (dialed, accepted) = self.links.standing(*link);
            LinkCount {
                kind: link.kind.to_owned(),
                dialed: if link.from == self.role { dialed } else { 0 },
                accepted: if link.to == self.role { accepted } else { 0 },
            }
        });
        counts.take(MAX_LINKS).collect()
    }

    /// What a question is answered.
    async fn answer(&self, ask: Ask) -> Option<Answer> {
        let ask = match ask {
            Ask::Hops(ask) => return Some(traces::hops(self.role, &ask)),
            Ask::Files(ask) => return Some(self.of_files(|files| files.files(&ask))),
            Ask::DeleteFile(order) => return Some(self.of_files(|files| files.delete(&order))),
            other => other,
        };
        let Some(control) = &self.control else {
            let text = format!("a {} server has no sessions", self.role);
            return Some(refusal(false, text));
        };
        Some(match ask {
            Ask::Sessions(ask) => Answer::Sessions(control.sessions(&ask).await),
            Ask::Cordon(_) => Answer::State(control.cordon().await),
            Ask::Uncordon(_) => Answer::State(control.uncordon()),
            Ask::Shed(order) => match control.shed(order) {
                Ok(state) => Answer::State(state),
                Err(error) => {
                    let conflict = matches!(error, ControlError::Busy | ControlError::Stopping);
                    refusal(conflict, error.to_string())
                }
            },
            Ask::Arm(order) => traces::arm(&order),
            Ask::Stop(ask) => traces::stop(ask),
            Ask::Events(_) | Ask::Hops(_) | Ask::Files(_) | Ask::DeleteFile(_) => return None,
        })
    }

    fn of_files(
        &self,
        ask: impl FnOnce(&im_file::Control) -> Result<MonitorFiles, im_file::ControlError>,
    ) -> Answer {
        match self.files.as_ref().map(ask) {
            Some(Ok(files)) => Answer::Files(files),
            Some(Err(error)) => refusal(false, error.to_string()),
            None => refusal(false, format!("a {} server has no files", self.role)),
        }
    }
}

fn refusal(conflict: bool, text: String) -> Answer {
    Answer::Refusal(MonitorRefusal { conflict, text })
}

/// Names one start of a process.
fn fresh_instance() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// A role, and where it reports.
pub(super) type Reporting = (Arc<Source>, Peers<MonitorCalls, MonitorAsks>);

/// Reports of all roles to every http-api server that there is, until `stop`.
///
/// # Errors
/// None.
pub(super) async fn run(
    reports: Vec<Reporting>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let tasks = TaskTracker::new();
    for (source, peers) in reports {
        tasks.spawn(follow(source, peers, tasks.clone(), stop.clone()));
    }
    stop.cancelled().await;
    tasks.close();
    tasks.wait().await;
    Ok(())
}

async fn follow(
    source: Arc<Source>,
    peers: Peers<MonitorCalls, MonitorAsks>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let config = MonitorConfig::default().link();
    let mut events = peers.watch(Watch {
        link: MonitorReport::LINK,
        config: &config,
        metrics: &source.links,
        tasks: &tasks,
        stop: stop.clone(),
    });
    while let Some(Some(event)) = stop.run_until_cancelled(events.recv()).await {
        if let PeerEvent::Up(link) = event {
            let (source, stop) = (Arc::clone(&source), stop.clone());
            tasks.spawn(async move {
                let reporting = Box::pin(report_to(source, link));
                stop.run_until_cancelled(reporting).await;
            });
        }
    }
}

/// Reports on one link until it ends.
async fn report_to(source: Arc<Source>, link: Link<MonitorCalls, MonitorAsks>) {
    let Link {
        tx, mut rx, closed, ..
    } = link;
    let mut looks = interval(LOOK_EVERY);
    let mut last: Option<(ServerReport, Instant)> = None;
    let mut answers: JoinSet<Option<MonitorCall>> = JoinSet::new();
    let mut told = Told::default();
    loop {
        let calls = tokio::select! {
            () = closed.cancelled() => return,
            _ = looks.tick() => {
                told.next_look();
                let report = source.report();
                let is_due = last.as_ref().is_none_or(|(before, at)| {
                    at.elapsed() >= EVERY || is_other(before, &report)
                });
                if !is_due {
                    continue;
                }
                last = Some((report.clone(), Instant::now()));
                vec![call(Call::Report(report))]
            }
            asks = rx.recv() => match asks {
                None => return,
                Some(asks) => take(&source, asks, &mut answers, &mut told),
            },
            Some(answer) = answers.join_next() => answer.ok().flatten().into_iter().collect(),
            calls = told.next() => calls,
        };
        if !calls.is_empty() && tx.send(MonitorCalls { calls }).await.is_err() {
            return;
        }
    }
}

const fn call(call: Call) -> MonitorCall {
    MonitorCall { call: Some(call) }
}

/// Whether a server is in another state, figures aside.
fn is_other(before: &ServerReport, now: &ServerReport) -> bool {
    let state = |report: &ServerReport| {
        let msg = report.msg.as_ref();
        msg.map(|msg| (msg.cordoned, msg.closed, msg.draining))
    };
    before.ready != now.ready || before.missing != now.missing || state(before) != state(now)
}

/// Begins to answer questions; those beyond the bound are refused at once.
fn take(
    source: &Arc<Source>,
    asks: MonitorAsks,
    answers: &mut JoinSet<Option<MonitorCall>>,
    told: &mut Told,
) -> Vec<MonitorCall> {
    let mut refused = Vec::new();
    for MonitorAsk { tag, ask } in asks.asks {
        match ask {
            None => {}
            Some(Ask::Events(events)) => {
                let control = source.control.as_ref().filter(|_| events.wanted);
                told.events = control.map(Control::events);
            }
            Some(_) if answers.len() >= MAX_ANSWERS => {
                let text = "too many questions at the same time".to_owned();
                let answer = Some(refusal(true, text));
                refused.push(call(Call::Answer(MonitorAnswer { tag, answer })));
            }
            Some(ask) => {
                let source = Arc::clone(source);
                answers.spawn(async move {
                    let answer = source.answer(ask).await?;
                    let answer = Some(answer);
                    Some(call(Call::Answer(MonitorAnswer { tag, answer })))
                });
            }
        }
    }
    refused
}

/// The events that are told on one link.
#[derive(Default)]
struct Told {
    /// While they are wanted.
    events: Option<broadcast::Receiver<SessionEvent>>,
    /// Told since the last look, and left out since the last message.
    since_look: usize,
    left_out: u64,
}

impl Told {
    /// What may be told until the next look.
    fn next_look(&mut self) {
        self.since_look = 0;
    }

    /// The next events, as many as there are; never without events.
    async fn next(&mut self) -> Vec<MonitorCall> {
        let Some(events) = &mut self.events else {
            return std::future::pending().await;
        };
        let mut calls = Vec::new();
        let mut next = Some(events.recv().await);
        while let Some(received) = next.take() {
            match received {
                Ok(event) if self.since_look < MAX_EVENTS => {
                    self.since_look += 1;
                    calls.push(call(Call::Event(event)));
                }
                Ok(_) => self.left_out += 1,
                Err(broadcast::error::RecvError::Lagged(missed)) => self.left_out += missed,
                Err(broadcast::error::RecvError::Closed) => {
                    self.events = None;
                    break;
                }
            }
            if calls.len() >= MAX_BATCH {
                break;
            }
            next = match events.try_recv() {
                Ok(event) => Some(Ok(event)),
                Err(broadcast::error::TryRecvError::Lagged(missed)) => {
                    Some(Err(broadcast::error::RecvError::Lagged(missed)))
                }
                Err(_) => None,
            };
        }
        if self.left_out > 0 && self.since_look < MAX_EVENTS {
            calls.push(call(Call::LeftOut(std::mem::take(&mut self.left_out))));
        }
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        let (context, links) = (Context::default(), LinkMetrics::default());
        Source::new(Role::LOGIN, "login-1".to_owned(), context, links)
    }

    #[tokio::test]
    async fn a_role_tells_what_it_is_and_what_it_waits_for() {
        let source = source();
        source.context.readiness.set("login_msg_server", false);
        let report = source.report();
        assert_eq!(
            (report.name.as_str(), report.role.as_str()),
            ("login-1", "login")
        );
        assert!(!report.ready && report.msg.is_none() && report.started_ms > 0);
        assert_eq!(report.missing, ["login_msg_server"]);
        let kinds: Vec<_> = report.links.iter().map(|link| link.kind.as_str()).collect();
        assert_eq!(kinds, ["login_report"]);
        source.context.readiness.set("login_msg_server", true);
        let after = source.report();
        assert!(after.ready && is_other(&report, &after) && !is_other(&after, &after));
        assert_eq!(after.instance, report.instance);
        let cordon = Ask::Cordon(im_proto_rpc::v1::CordonRequest {});
        let answer = source.answer(cordon).await;
        assert!(matches!(answer, Some(Answer::Refusal(it)) if !it.conflict));
    }

    #[tokio::test]
    async fn events_beyond_a_thousand_a_second_are_counted() {
        let (sender, events) = broadcast::channel(2_000);
        let mut told = Told {
            events: Some(events),
            ..Told::default()
        };
        for _ in 0..850 {
            sender.send(SessionEvent::default()).unwrap();
        }
        assert_eq!(told.next().await.len(), 500, "and the rest is left out");
        told.next_look();
        sender.send(SessionEvent::default()).unwrap();
        let calls = told.next().await;
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[1].call, Some(Call::LeftOut(350)));
    }
}
