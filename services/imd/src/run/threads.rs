//! The threads of a process.
//!
//! In a msg server that runs alone, connections of clients are worked on by threads of their own. Links,
//! delivery, accepts and probes run beside them, and are never behind what clients send. With all roles in
//! one process the threads are shared: the hand-over of each message would cost a fifth of its processor
//! time at little load, and the turns of connections bound how long anything else waits.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

use super::{Plan, Role};

/// The runtimes of a process.
pub(super) struct Threads {
    main: Runtime,
    /// Of a msg server that runs alone.
    clients: Option<Runtime>,
}

impl Threads {
    /// Starts them; `count` of each kind, 0 = one per core.
    pub(super) fn start(plan: &Plan, count: usize) -> io::Result<Self> {
        let (main, has_clients) = match plan {
            Plan::One(Role::Login) if count == 0 => (1, false),
            Plan::One(Role::Login | Role::Route | Role::DbProxy) | Plan::All => (count, false),
            Plan::One(Role::Msg) => (count, true),
        };
        Ok(Self {
            main: runtime("imd", main)?,
            clients: has_clients
                .then(|| runtime("imd-clients", count))
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
