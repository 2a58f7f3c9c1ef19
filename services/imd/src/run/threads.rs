//! The threads of a process.
//!
//! They are shared, and the turns of connections bound how long anything else waits: own threads for
//! clients would cost a hand-over per message. A msg server that runs alone can have them where links,
//! delivery, accepts and probes are to be behind nothing that clients send (`msg.client_threads`).

use std::io;

use im_config::ImdConfig;
use im_role::Role;
use tokio::runtime::{Builder, Handle, Runtime};

use super::Plan;

/// The runtimes of a process.
pub(super) struct Threads {
    main: Runtime,
    /// Of a msg server that runs alone and is to have them.
    clients: Option<Runtime>,
}

impl Threads {
    /// Starts them: as many as the configuration says, 0 = one per core.
    pub(super) fn start(plan: Plan, config: &ImdConfig) -> io::Result<Self> {
        let count = config.process.worker_threads;
        let (main, clients) = match plan {
            Plan::One(role) if role == Role::LOGIN && count == 0 => (1, 0),
            Plan::One(role) if role == Role::MSG => (count, config.msg.client_threads),
            Plan::One(_) | Plan::All => (count, 0),
        };
        Ok(Self {
            main: runtime("imd", main)?,
            clients: (clients > 0)
                .then(|| runtime("imd-clients", clients))
                .transpose()?,
        })
    }

    /// Where connections of clients are worked on.
    pub(super) fn clients(&self) -> &Handle {
        self.clients.as_ref().unwrap_or(&self.main).handle()
    }

    /// Runs to the end on the main threads.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.main.block_on(work)
    }

    /// Ends all of them. What a late or immediate stop has left behind is not waited for.
    pub(super) fn end(self) {
        self.main.shutdown_background();
        if let Some(clients) = self.clients {
            clients.shutdown_background();
        }
    }
}

fn runtime(name: &str, threads: usize) -> io::Result<Runtime> {
    let mut runtime = Builder::new_multi_thread();
    runtime.enable_all().thread_name(name);
    if threads > 0 {
        runtime.worker_threads(threads);
    }
    runtime.build()
}
