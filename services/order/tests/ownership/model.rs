//! The model: states, and the steps between them.

use im_order::{CommitSeq, Fence, Ownership, Partition, Tenure};

/// Messages of the one sender, to one conversation.
const MESSAGES: u8 = 3;

/// How often what may go wrong does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) takes: u8,
    pub(crate) crashes: u8,
    pub(crate) lost_connections: u8,
    pub(crate) lost_links: u8,
}

/// What is left out of the rules, to see that the model notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    None,
    /// Transactions are stored whoever owns the log and wherever it ends.
    NoFence,
    /// A new owner does not read which messages are stored.
    NoKeys,
    /// Who has lost the log keeps what it was sent, and stores it when it has the log again.
    LivesOn,
    /// Who gets no answer to a commit takes it for stored.
    DoubtIsStored,
}

/// A message on its way over a link; a new link has a later number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Call {
    message: u8,
    link: u8,
}

/// A transaction that adds one message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Transaction {
    by: usize,
    fence: WireFence,
    call: Call,
    stage: Stage,
    listener: Listener,
}

/// What the process of a transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Listener {
    /// It hears the answer.
    Hears,
    /// It has lost its connection, and asks what has become of the transaction.
    Asks,
    /// It has gone.
    Gone,
}

/// A fence as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct WireFence {
    tenure: u64,
    after: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// Its statements are on their way.
    Sent,
    /// It holds the lock of the partition's row.
    Open,
    /// COMMIT is on its way.
    Committing,
}

/// The database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Database {
    tenure: u64,
    log: Vec<u8>,
    transactions: Vec<Transaction>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Process {
    /// Waits for its turn, or is being started again.
    StandsBy,
    /// Has taken the log and reads what is stored.
    Loads { tenure: u64 },
    /// Has it.
    Owns {
        tenure: u64,
        end: u64,
        known: Vec<u8>,
    },
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    database: Database,
    processes: [Process; 2],
    /// What each process was sent and has not taken in hand.
    sent: [Vec<Call>; 2],
    /// Which process the client has a link to, and the number of the last link.
    link: Option<usize>,
    links: u8,
    acked: Vec<u8>,
    budget: Budget,
}

impl State {
    pub(crate) fn new(budget: Budget) -> Self {
        Self {
            database: Database::default(),
            processes: [Process::StandsBy, Process::StandsBy],
            sent: [Vec::new(), Vec::new()],
            link: None,
            links: 0,
            acked: Vec::new(),
            budget,
        }
    }

    /// What is wrong with the state, if something is.
    pub(crate) fn violation(&self) -> Option<String> {
        let log = &self.database.log;
        for (place, message) in log.iter().enumerate() {
            if log[..place].contains(message) {
                return Some(format!("message {message} is stored twice: {log:?}"));
            }
            if log[..place].iter().any(|before| before > message) {
                return Some(format!("messages are out of order: {log:?}"));
            }
        }
        let lost = self.acked.iter().find(|message| !log.contains(message));
        lost.map(|message| format!("message {message} was acknowledged and is lost"))
    }

    /// Everything that can happen next.
    pub(crate) fn steps(&self, mutation: Mutation, next: &mut Vec<Self>) {
        for process in [0, 1] {
            self.takes(process, next);
            self.loads(process, mutation, next);
            self.is_linked(process, next);
            self.stores(process, next);
            self.ends(process, next);
        }
        for transaction in 0..self.database.transactions.len() {
            self.opens(transaction, mutation, next);
            self.commits(transaction, next);
            self.is_done(transaction, next);
            self.is_given_up(transaction, next);
            self.loses_its_connection(transaction, mutation, next);
        }
        self.loses_its_link(next);
    }

    fn is_locked(&self) -> bool {
        let holds = |it: &Transaction| it.stage != Stage::Sent;
        self.database.transactions.iter().any(holds)
    }

    /// Takes the log in one statement, which waits for the lock.
    fn takes(&self, process: usize, next: &mut Vec<Self>) {
        if self.processes[process] != Process::StandsBy || self.is_locked() {
            return;
        }
        let Some(takes) = self.budget.takes.checked_sub(1) else {
            return;
        };
        let mut state = self.clone();
        state.budget.takes = takes;
        state.database.tenure += 1;
        let tenure = state.database.tenure;
        state.processes[process] = Process::Loads { tenure };
        next.push(state);
    }

    /// Reads where the log ends and what is in it, at any time after the taking.
    fn loads(&self, process: usize, mutation: Mutation, next: &mut Vec<Self>) {
        let Process::Loads { tenure } = self.processes[process] else {
            return;
        };
        let log = &self.database.log;
        let mut state = self.clone();
        state.processes[process] = Process::Owns {
            tenure,
            end: log.len() as u64,
            known: if mutation == Mutation::NoKeys {
                Vec::new()
            } else {
                log.clone()
            },
        };
        next.push(state);
    }

    /// A client without a link finds whoever believes that it has the log, and sends again what is not
    /// acknowledged, in order.
    fn is_linked(&self, process: usize, next: &mut Vec<Self>) {
        let owns = matches!(self.processes[process], Process::Owns { .. });
        if !owns || self.link.is_some() || self.acked.len() == usize::from(MESSAGES) {
            return;
        }
        let mut state = self.clone();
        state.links += 1;
        state.link = Some(process);
        let link = state.links;
        let again = (1..=MESSAGES).filter(|message| !self.acked.contains(message));
        state.sent[process].extend(again.map(|message| Call { message, link }));
        next.push(state);
    }

    /// Takes the next message in hand: stored already, or a transaction.
    fn stores(&self, process: usize, next: &mut Vec<Self>) {
        let Process::Owns {
            tenure, end, known, ..
        } = &self.processes[process]
        else {
            return;
        };
        let of_process = |it: &Transaction| it.by == process && it.listener != Listener::Gone;
        let busy = self.database.transactions.iter().any(of_process);
        let Some(call) = self.sent[process].first().copied() else {
            return;
        };
        if busy {
            return;
        }
        let mut state = self.clone();
        state.sent[process].remove(0);
        if known.contains(&call.message) {
            state.acknowledge(process, call);
        } else {
            state.database.transactions.push(Transaction {
                by: process,
                fence: WireFence {
                    tenure: *tenure,
                    after: *end,
                },
                call,
                stage: Stage::Sent,
                listener: Listener::Hears,
            });
        }
        next.push(state);
    }

    /// The statements arrive, and wait for the lock: then the fence is looked at.
    fn opens(&self, transaction: usize, mutation: Mutation, next: &mut Vec<Self>) {
        let found = &self.database.transactions[transaction];
        if found.stage != Stage::Sent || self.is_locked() {
            return;
        }
        let mut state = self.clone();
        if mutation == Mutation::NoFence || self.lets_through(found.fence) {
            state.database.transactions[transaction].stage = Stage::Open;
        } else {
            let refused = state.database.transactions.remove(transaction);
            if refused.listener != Listener::Gone {
                state.loses_its_log(refused.by, mutation);
            }
        }
        next.push(state);
    }

    /// As the stores compare a fence with the partition's row.
    fn lets_through(&self, fence: WireFence) -> bool {
        let owned = |tenure, end| Ownership {
            partition: Partition::ONLY,
            tenure: Tenure::from_wire(tenure),
            end: CommitSeq::from_wire(end),
        };
        let held: Fence = owned(fence.tenure, fence.after).standing();
        let found = owned(self.database.tenure, self.database.log.len() as u64);
        held.lost_to(found).is_none() && held.span.after() == found.end
    }

    fn loses_its_log(&mut self, process: usize, mutation: Mutation) {
        self.processes[process] = Process::StandsBy;
        if self.link == Some(process) {
            self.link = None;
        }
        if mutation != Mutation::LivesOn {
            self.sent[process].clear();
        }
    }

    /// The process sends COMMIT.
    fn commits(&self, transaction: usize, next: &mut Vec<Self>) {
        let found = &self.database.transactions[transaction];
        if found.stage != Stage::Open || found.listener != Listener::Hears {
            return;
        }
        let mut state = self.clone();
        state.database.transactions[transaction].stage = Stage::Committing;
        next.push(state);
    }

    /// COMMIT arrives. Who listens has the answer, who asks finds the receipt.
    fn is_done(&self, transaction: usize, next: &mut Vec<Self>) {
        if self.database.transactions[transaction].stage != Stage::Committing {
            return;
        }
        let mut state = self.clone();
        let done = state.database.transactions.remove(transaction);
        state.database.log.push(done.call.message);
        if done.listener != Listener::Gone {
            state.is_stored(done.by, done.call);
        }
        next.push(state);
    }

    fn is_stored(&mut self, process: usize, call: Call) {
        if let Process::Owns { end, known, .. } = &mut self.processes[process] {
            *end += 1;
            known.push(call.message);
        }
        self.acknowledge(process, call);
    }

    fn acknowledge(&mut self, process: usize, call: Call) {
        let is_heard = self.link == Some(process) && call.link == self.links;
        if is_heard && !self.acked.contains(&call.message) {
            self.acked.push(call.message);
        }
    }

    /// The server ends a transaction that stands still, or whose connection has gone, unless it is done
    /// first. Whoever asks makes sure that it never will be: its receipt is void.
    fn is_given_up(&self, transaction: usize, next: &mut Vec<Self>) {
        let found = &self.database.transactions[transaction];
        if found.listener == Listener::Hears && found.stage != Stage::Open {
            return;
        }
        let mut state = self.clone();
        let ended = state.database.transactions.remove(transaction);
        if ended.listener != Listener::Gone {
            // Tried anew, before what came after it.
            state.sent[ended.by].insert(0, ended.call);
        }
        next.push(state);
    }

    /// The connection to the database breaks: what has become of the transaction is not known.
    fn loses_its_connection(&self, transaction: usize, mutation: Mutation, next: &mut Vec<Self>) {
        let Some(lost) = self.budget.lost_connections.checked_sub(1) else {
            return;
        };
        if self.database.transactions[transaction].listener != Listener::Hears {
            return;
        }
        let mut state = self.clone();
        state.budget.lost_connections = lost;
        let found = &mut state.database.transactions[transaction];
        if mutation == Mutation::DoubtIsStored {
            found.listener = Listener::Gone;
            let (process, call) = (found.by, found.call);
            state.is_stored(process, call);
        } else {
            found.listener = Listener::Asks;
        }
        next.push(state);
    }

    /// The process is killed; its transactions go on without it.
    fn ends(&self, process: usize, next: &mut Vec<Self>) {
        let Some(crashes) = self.budget.crashes.checked_sub(1) else {
            return;
        };
        if self.processes[process] == Process::StandsBy {
            return;
        }
        let mut state = self.clone();
        state.budget.crashes = crashes;
        for transaction in &mut state.database.transactions {
            if transaction.by == process {
                transaction.listener = Listener::Gone;
            }
        }
        state.loses_its_log(process, Mutation::None);
        next.push(state);
    }

    /// The client loses its link; what it has sent over it is still taken in hand.
    fn loses_its_link(&self, next: &mut Vec<Self>) {
        let Some(lost) = self.budget.lost_links.checked_sub(1) else {
            return;
        };
        if self.link.is_none() {
            return;
        }
        let mut state = self.clone();
        state.budget.lost_links = lost;
        state.link = None;
        next.push(state);
    }
}
