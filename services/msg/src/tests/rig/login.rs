//! A player of the login server.

use super::*;

#[derive(Default)]
pub(in crate::tests) struct Login {
    pub(in crate::tests) reports: Vec<LoadReport>,
    /// Reports are not confirmed while set.
    pub(in crate::tests) is_deaf: bool,
    pub(super) accepts: bool,
    pub(super) closed: Option<CancellationToken>,
}

#[derive(Clone)]
pub(in crate::tests) struct LoginPlayer(pub(super) Arc<Mutex<Login>>);

impl LoginPlayer {
    pub(in crate::tests) fn state(&self) -> MutexGuard<'_, Login> {
        self.0.lock().unwrap()
    }

    pub(in crate::tests) fn last(&self) -> LoadReport {
        self.state().reports.last().cloned().unwrap_or_default()
    }

    pub(in crate::tests) fn cut(&self, accepts: bool) {
        let mut login = self.state();
        login.accepts = accepts;
        if let Some(closed) = login.closed.take() {
            closed.cancel();
        }
    }

    pub(super) fn accept(&self, link: Link<LoadSeen, LoadReport>) {
        let Link {
            tx, mut rx, closed, ..
        } = link;
        {
            let mut login = self.state();
            if !login.accepts {
                closed.cancel();
                return;
            }
            login.closed = Some(closed.clone());
        }
        let player = self.clone();
        tokio::spawn(async move {
            while let Some(Some(report)) = closed.run_until_cancelled(rx.recv()).await {
                let (number, confirm) = (report.report, report.confirm);
                let is_deaf = {
                    let mut login = player.state();
                    login.reports.push(report);
                    login.is_deaf
                };
                if confirm && !is_deaf {
                    let _gone = tx.send(LoadSeen { report: number }).await;
                }
            }
        });
    }
}
