//! Load reports to every login server. The stream is the registration.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use im_config::units::Span;
use im_config::{LinkConfig, MsgConfig};
use im_proto_rpc::v1::{LoadReport, LoadSeen, load_report::State};
use im_rpc::{Link, PeerEvent};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::info;

use super::state::Gateway;

/// The link of reports. One that cannot be sent shows that the login server is gone, and a login server
/// that is silent harms nobody for a while: a ping is due for every third report only.
pub(crate) fn report_link(config: &MsgConfig) -> LinkConfig {
    let reports = Span::millis(config.report_interval.as_millis() * 3);
    LinkConfig {
        keepalive: config.link.keepalive.max(reports),
        ..config.link.clone()
    }
}

/// Reports to each login server that is up.
pub(crate) async fn run(
    gateway: Arc<Gateway>,
    revision: String,
    mut events: mpsc::Receiver<PeerEvent<LoadReport, LoadSeen>>,
) {
    let reporter = Arc::new(Reporter {
        gateway,
        revision,
        last: AtomicU64::new(0),
    });
    let stop = reporter.gateway.env.stop.clone();
    while let Some(Some(event)) = stop.run_until_cancelled(events.recv()).await {
        if let PeerEvent::Up(link) = event {
            let reporter = Arc::clone(&reporter);
            let tasks = reporter.gateway.env.tasks.clone();
            tasks.spawn(async move { reporter.report_to(link).await });
        }
    }
}

struct Reporter {
    gateway: Arc<Gateway>,
    revision: String,
    last: AtomicU64,
}

impl Reporter {
    async fn report_to(&self, mut link: Link<LoadReport, LoadSeen>) {
        let gateway = &self.gateway;
        info!(peer = %link.peer, "login server is linked");
        gateway.drain.linked();
        let mut known = Known::default();
        tokio::select! {
            () = gateway.env.stop.cancelled() => {}
            () = self.report(&mut link, &mut known) => {}
        }
        gateway.drain.unlinked(known.has_seen);
    }

    /// Reports until the link ends.
    async fn report(&self, link: &mut Link<LoadReport, LoadSeen>, known: &mut Known) {
        let config = &self.gateway.env.config;
        let mut changes = self.gateway.load.subscribe();
        loop {
            let report = self.compose();
            if wants_nobody(report.state()) {
                known.leaving.get_or_insert(report.report);
            } else if known.is_wanted_again() {
                self.gateway.drain.unseen();
            }
            if link.tx.send(report).await.is_err() {
                return;
            }
            let next = Instant::now() + config.report_interval.duration();
            loop {
                tokio::select! {
                    seen = link.rx.recv() => match seen {
                        Some(seen) => self.seen(seen.report, known),
                        None => return,
                    },
                    changed = changes.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        // Others that sign in or out now share the report.
                        tokio::time::sleep(config.report_delay.duration())
                            .await;
                        changes.mark_unchanged();
                        break;
                    }
                    () = tokio::time::sleep_until(next) => break,
                }
            }
        }
    }

    fn seen(&self, report: u64, known: &mut Known) {
        if !known.has_seen && known.leaving.is_some_and(|leaving| report >= leaving) {
            known.has_seen = true;
            self.gateway.drain.seen();
        }
    }

    fn compose(&self) -> LoadReport {
        let gateway = &self.gateway;
        let public = gateway.public.borrow().clone();
        let drain = gateway.drain.state();
        let state = if drain.is_draining {
            State::Draining
        } else if drain.is_cordoned {
            State::Cordoned
        } else if public.is_some() && gateway.db.is_up() && gateway.routes.table().is_usable() {
            State::Accepting
        } else {
            State::Starting
        };
        let (ip1, ip2, port) = public.map_or_else(Default::default, |public| {
            (public.ip1, public.ip2, public.port)
        });
        LoadReport {
            server: gateway.env.name.clone(),
            instance: gateway.env.instance,
            ip1,
            ip2,
            port: u32::from(port),
            sessions: gateway.sessions.len(),
            connections: gateway.connections.len(),
            max_sessions: gateway.env.config.max_sessions,
            soft_max_sessions: gateway.env.config.soft_max_sessions,
            state: state as i32,
            revision: self.revision.clone(),
            report: self.last.fetch_add(1, Ordering::Relaxed) + 1,
            confirm: wants_nobody(state),
        }
    }
}

/// Whether a server in this state says that nobody is to come.
const fn wants_nobody(state: State) -> bool {
    matches!(state, State::Draining | State::Cordoned)
}

/// What one login server knows of our wanting nobody any more.
#[derive(Default)]
struct Known {
    /// The first report that said so.
    leaving: Option<u64>,
    has_seen: bool,
}

impl Known {
    /// People may come again; true when the login server had seen that they may not.
    fn is_wanted_again(&mut self) -> bool {
        self.leaving = None;
        std::mem::take(&mut self.has_seen)
    }
}
