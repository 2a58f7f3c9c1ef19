//! Traces of messages: armed at every msg server, and put together from what all servers remember. Nothing of
//! a trace is kept here.

use std::sync::Arc;

use futures::future::join_all;
use im_proto_rpc::v1::monitor_answer::Answer;
use im_proto_rpc::v1::monitor_ask::Ask;
use im_proto_rpc::v1::{
    ArmTrace, MonitorRefusal, ReadHops, StopTrace, TraceHop, TraceHops, TraceState,
};
use tracing::debug;

use super::{MSG, Monitor, Told};

/// Roles that a message passes.
const PASSED: [&str; 3] = [MSG, "db-proxy", "route"];

/// Hops of a page, of all servers together: what one server does not use another does not get.
const HOPS: usize = 50_000;

/// Fewest and most hops to ask a server for.
const LEAST: usize = 200;
const MOST: usize = 10_000;

/// What became of arming a trace.
#[derive(Debug, Default)]
pub(crate) struct Armed {
    /// Msg servers that follow messages for it.
    pub(crate) servers: Vec<String>,
    /// Those that have not answered.
    pub(crate) silent: Vec<String>,
    /// Why one does not.
    pub(crate) refused: Option<MonitorRefusal>,
}

/// What became of stopping a trace, or would.
#[derive(Debug, Default)]
pub(crate) struct Stopped {
    /// Msg servers that knew it.
    pub(crate) servers: Vec<String>,
    /// Those that have not answered.
    pub(crate) silent: Vec<String>,
    /// The trace at all of them together.
    pub(crate) state: State,
}

/// A step of a message, and who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// All steps of a server share its name.
    pub(crate) server: Arc<str>,
    pub(crate) role: Arc<str>,
    pub(crate) hop: TraceHop,
}

/// A message that was followed, its steps in the order of their times.
pub(crate) type Followed = (u64, Vec<Made>);

/// A page of messages that were followed.
#[derive(Debug, Default)]
pub(crate) struct Path {
    pub(crate) messages: Vec<Followed>,
    /// Some follow.
    pub(crate) more: bool,
    /// The trace at all msg servers together, where one knows it.
    pub(crate) state: Option<State>,
    /// Servers that were asked.
    pub(crate) asked: usize,
    /// Of them, those that have not answered, by name.
    pub(crate) silent: Vec<String>,
}

/// How far a trace is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) active: bool,
    pub(crate) followed: u64,
    pub(crate) left_out: u64,
}

impl State {
    fn add(&mut self, of_one: TraceState) {
        self.active |= of_one.active;
        self.followed += u64::from(of_one.followed);
        self.left_out += of_one.left_out;
    }
}

impl Monitor {
    /// Names and roles of the servers that report.
    fn of_roles(&self, roles: &[&str]) -> Vec<(String, String)> {
        let known = self.lock();
        let reports = known.after("").map(|entry| &entry.report);
        let meant = reports.filter(|report| roles.contains(&report.role.as_str()));
        meant
            .map(|report| (report.name.clone(), report.role.clone()))
            .collect()
    }

    /// Names of the msg servers that report.
    pub(crate) fn msg_servers(&self) -> Vec<String> {
        self.named(MSG, None)
    }

    /// Arms a trace at every msg server.
    pub(crate) async fn arm(&self, order: ArmTrace) -> Armed {
        let names = self.msg_servers();
        let answers = names.iter().map(|name| self.ask(name, Ask::Arm(order)));
        let answers = join_all(answers).await;
        let mut armed = Armed::default();
        for (name, answer) in names.into_iter().zip(answers) {
            match answer {
                Ok(Answer::Armed(_)) => armed.servers.push(name),
                Ok(Answer::Refusal(refusal)) => armed.refused = Some(refusal),
                other => {
                    debug!(name, ?other, "a msg server has not armed a trace");
                    armed.silent.push(name);
                }
            }
        }
        armed
    }

    /// Stops a trace at every msg server, or only asks how far it is.
    pub(crate) async fn stop_trace(&self, trace: u32, dry_run: bool) -> Stopped {
        let ask = Ask::Stop(StopTrace { trace, dry_run });
        let told = |answer| match answer {
            Answer::Stopped(one) => Some(one.state),
            _ => None,
        };
        let Told { answers, silent } = self.ask_all(self.msg_servers(), &ask, told).await;
        let mut stopped = Stopped {
            silent,
            ..Stopped::default()
        };
        for (name, state) in answers {
            if let Some(state) = state {
                stopped.state.add(state);
                stopped.servers.push(name);
            }
        }
        stopped
    }

    /// A page of at most so many messages of a trace, behind one.
    pub(crate) async fn path(&self, trace: u32, after: u64, limit: usize) -> Path {
        let servers = self.of_roles(&PASSED);
        let hops = (HOPS / servers.len().max(1)).clamp(LEAST, MOST);
        let number = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
        let ask = ReadHops {
            trace,
            after,
            messages: number(limit),
            hops: number(hops),
        };
        let answers = servers
            .iter()
            .map(|(name, _)| self.ask(name, Ask::Hops(ask)));
        let answers = join_all(answers).await;
        let mut path = Path {
            asked: servers.len(),
            ..Path::default()
        };
        let mut pages = Vec::new();
        for ((name, role), answer) in servers.into_iter().zip(answers) {
            match answer {
                Ok(Answer::Hops(hops)) => {
                    if let Some(state) = hops.state {
                        path.state.get_or_insert_default().add(state);
                    }
                    pages.push((name, role, hops));
                }
                other => {
                    debug!(name, ?other, "a server told no hops");
                    path.silent.push(name);
                }
            }
        }
        (path.messages, path.more) = merge(pages, limit);
        path
    }
}

/// One page of at most so many messages in the order of their ids, and whether some follow. It ends where the
/// first server that has more would go on: what others know of what stands behind that may not be all.
fn merge(pages: Vec<(String, String, TraceHops)>, limit: usize) -> (Vec<Followed>, bool) {
    let mut frontier: Option<u64> = None;
    let mut all: Vec<Made> = Vec::new();
    for (server, role, page) in pages {
        let (server, role): (Arc<str>, Arc<str>) = (server.into(), role.into());
        let last = page.hops.iter().map(|hop| hop.message).max();
        if let Some(last) = last.filter(|_| page.more) {
            frontier = Some(frontier.map_or(last, |first| first.min(last)));
        }
        all.extend(page.hops.into_iter().map(|hop| Made {
            server: Arc::clone(&server),
            role: Arc::clone(&role),
            hop,
        }));
    }
    // Of two at the same time, that which comes first on the way.
    all.sort_by_key(|made| (made.hop.message, made.hop.at_us, made.hop.step));
    let mut messages: Vec<Followed> = Vec::new();
    for made in all {
        let message = made.hop.message;
        if frontier.is_some_and(|frontier| message > frontier) {
            break;
        }
        let count = messages.len();
        match messages.last_mut() {
            Some((last, steps)) if *last == message => steps.push(made),
            _ if count == limit => return (messages, true),
            _ => messages.push((message, vec![made])),
        }
    }
    (messages, frontier.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hops(of: &[(u64, u64)], more: bool) -> TraceHops {
        let hop = |(message, at_us): &(u64, u64)| TraceHop {
            message: *message,
            at_us: *at_us,
            ..TraceHop::default()
        };
        TraceHops {
            hops: of.iter().map(hop).collect(),
            more,
            state: None,
        }
    }

    fn page(server: &str, of: &[(u64, u64)], more: bool) -> (String, String, TraceHops) {
        (server.to_owned(), MSG.to_owned(), hops(of, more))
    }

    fn told((messages, more): (Vec<Followed>, bool)) -> (Vec<(u64, Vec<u64>)>, bool) {
        let times = |steps: Vec<Made>| steps.iter().map(|made| made.hop.at_us).collect();
        let messages = messages.into_iter();
        (
            messages.map(|(id, steps)| (id, times(steps))).collect(),
            more,
        )
    }

    #[test]
    fn steps_of_a_message_at_several_servers_stand_together_in_the_order_of_their_times() {
        let pages = || {
            vec![
                page("a", &[(1, 10), (1, 40), (2, 50)], false),
                page("b", &[(1, 20), (2, 60)], false),
                page("c", &[(1, 30), (3, 70)], false),
            ]
        };
        let all = vec![(1, vec![10, 20, 30, 40]), (2, vec![50, 60]), (3, vec![70])];
        assert_eq!(told(merge(pages(), 3)), (all.clone(), false));
        assert_eq!(told(merge(pages(), 2)), (all[..2].to_vec(), true));
    }

    #[test]
    fn a_page_ends_where_the_first_server_that_has_more_would_go_on() {
        let pages = vec![
            page("a", &[(1, 10), (2, 20)], true),
            page("b", &[(1, 11), (3, 30), (4, 40)], false),
            page("c", &[], false),
        ];
        let first = vec![(1, vec![10, 11]), (2, vec![20])];
        assert_eq!(told(merge(pages, 9)), (first, true));
        assert_eq!(told(merge(Vec::new(), 9)), (Vec::new(), false));
    }
}
