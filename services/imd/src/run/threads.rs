//! The threads of a process.
//!
//! One of its own takes connections in and answers probes: it has no part in any message. All other work
//! shares threads, and the turns of connections bound how long anything else waits: own threads for clients
//! would cost a hand-over per message. A msg server that runs alone can have them where links and delivery
//! are to be behind nothing that clients send (`msg.client_threads`).

use std::io;

use im_config::ImdConfig;
use im_role::Role;
use tokio::runtime::{Builder, Handle, Runtime};

use super::Plan;

/// The runtimes of a process.
pub(super) struct Threads {
    main: Runtime,
    /// The door: accepts and the admin port.
    door: Runtime,
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
            door: runtime("imd-door", 1)?,
            clients: (clients > 0)
                .then(|| runtime("imd-clients", clients))
                .transpose()?,
        })
    }

    /// Where what a process does apart from its main work runs.
    pub(super) fn aside(&self) -> Aside {
        Aside {
            clients: self.clients.as_ref().unwrap_or(&self.main).handle().clone(),
            door: self.door.handle().clone(),
        }
    }

    /// Runs to the end on the main threads.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.main.block_on(work)
    }

    /// Ends all of them. What a late or immediate stop has left behind is not waited for.
    pub(super) fn end(self) {
        self.main.shutdown_background();
        self.door.shutdown_background();
        if let Some(clients) = self.clients {
            clients.shutdown_background();
        }
    }
}

/// Where what a process does apart from its main work runs.
#[derive(Clone, Debug)]
pub(super) struct Aside {
    /// Connections of clients; the threads of all other work unless they have their own.
    pub(super) clients: Handle,
    /// Accepts and the admin port.
    pub(super) door: Handle,
}

impl Aside {
    /// All runtimes of the process, that of the caller among them.
    pub(super) fn all(&self) -> Vec<Handle> {
        let main = Handle::current();
        let own = (self.clients.id() != main.id()).then(|| self.clients.clone());
        [main, self.door.clone()].into_iter().chain(own).collect()
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
