//! Roles that run: one that ends by itself ends all, a stop ends them one after the other.

use anyhow::anyhow;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// A role on a task of its own.
struct Task {
    name: &'static str,
    stop: CancellationToken,
    handle: JoinHandle<anyhow::Result<()>>,
}

/// The running roles, in the order in which they stop.
#[derive(Default)]
pub(super) struct Running {
    tasks: Vec<Task>,
}

impl Running {
    /// Starts a role; it stops after those started before it.
    pub(super) fn start<F>(&mut self, name: &'static str, run: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let handle = tokio::spawn(run(stop.clone()));
        self.tasks.push(Task { name, stop, handle });
    }

    /// Runs until `drain` fires or a role ends, then stops all in order. The first failure is the
    /// result.
    pub(super) async fn run(mut self, drain: CancellationToken) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        let ended = {
            let mut all: FuturesUnordered<_> = self
                .tasks
                .iter_mut()
                .enumerate()
                .map(|(place, task)| async move { (place, (&mut task.handle).await) })
                .collect();
            tokio::select! {
                () = drain.cancelled() => None,
                ended = all.next() => ended,
            }
        };
        if let Some((place, result)) = ended {
            let task = self.tasks.remove(place);
            outcome = match flatten(result) {
                Ok(()) => Err(anyhow!("{} ended by itself", task.name)),
                failed => failed,
            };
            error!(role = task.name, "role ended, stopping the others");
        }
        for task in self.tasks {
            task.stop.cancel();
            let result = flatten(task.handle.await);
            info!(role = task.name, "role stopped");
            outcome = outcome.and(result);
        }
        outcome
    }
}

fn flatten(joined: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Result<()> {
    joined.unwrap_or_else(|error| Err(anyhow::Error::new(error).context("keep a role running")))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Notes its name when it stops.
    fn role(
        log: &Arc<Mutex<Vec<&'static str>>>,
        name: &'static str,
    ) -> impl FnOnce(CancellationToken) -> futures::future::BoxFuture<'static, anyhow::Result<()>>
    {
        let log = Arc::clone(log);
        move |stop| {
            Box::pin(async move {
                stop.cancelled().await;
                log.lock().unwrap().push(name);
                Ok(())
            })
        }
    }

    #[tokio::test]
    async fn a_stop_ends_roles_in_the_order_of_their_start() {
        let (log, drain) = (Arc::default(), CancellationToken::new());
        let mut running = Running::default();
        for name in ["msg", "db-proxy", "route"] {
            running.start(name, role(&log, name));
        }
        drain.cancel();
        running.run(drain).await.unwrap();
        assert_eq!(*log.lock().unwrap(), ["msg", "db-proxy", "route"]);
    }

    #[tokio::test]
    async fn a_role_that_fails_ends_the_others_and_is_the_result() {
        let log = Arc::default();
        let mut running = Running::default();
        running.start("msg", role(&log, "msg"));
        running.start("db-proxy", |_| async { Err(anyhow!("disk")) });
        running.start("route", |_| async { Ok(()) });
        let error = running.run(CancellationToken::new()).await.unwrap_err();
        let text = format!("{error:#}");
        assert!(text == "disk" || text == "route ended by itself", "{text}");
        assert_eq!(*log.lock().unwrap(), ["msg"]);
    }
}
