//! Traces of messages, as http-api servers ask for them: armed where messages come from, and read wherever
//! they pass.

use std::time::Duration;

use im_proto_rpc::v1::monitor_answer::Answer;
use im_proto_rpc::v1::trace_hop::Step as Made;
use im_proto_rpc::v1::{
    ArmTrace, MonitorRefusal, ReadHops, StopTrace, TraceHop, TraceHops, TraceState, TraceStopped,
};
use im_role::Role;
use im_trace::{ArmError, Hop, Order, State, Step, Wanted};

/// Most messages and hops of an answer. So many hops take 600 kB, and an answer may have 1 MiB.
const MAX_MESSAGES: u32 = 1_000;
const MAX_HOPS: u32 = 10_000;

/// Steps that a role makes. All roles of a process share a ring.
fn steps(role: Role) -> &'static [Step] {
    match role.name() {
        "msg" => &[Step::Received, Step::Acknowledged, Step::Written],
        "db-proxy" => &[Step::Queued, Step::Committed, Step::Published],
        "route" => &[Step::Routed],
        _ => &[],
    }
}

/// Arms a trace at the msg server of this process.
pub(super) fn arm(ask: &ArmTrace) -> Answer {
    let order = Order {
        trace: ask.trace,
        user: ask.user,
        with: ask.with,
        group: ask.group,
        one_in: ask.one_in,
        per_second: ask.per_second,
        time: Duration::from_secs(ask.seconds.into()),
    };
    match im_trace::arm(order) {
        Ok(()) => Answer::Armed(state_of(ask.trace).unwrap_or_default()),
        Err(error) => Answer::Refusal(MonitorRefusal {
            conflict: error == ArmError::Full,
            text: error.to_string(),
        }),
    }
}

/// Stops a trace at the msg server of this process, or tells only how far it is.
pub(super) fn stop(ask: StopTrace) -> Answer {
    let state = if ask.dry_run {
        im_trace::state(ask.trace)
    } else {
        im_trace::stop(ask.trace)
    };
    Answer::Stopped(TraceStopped {
        state: state.map(state_told),
    })
}

/// The hops of a role of this process.
pub(super) fn hops(role: Role, ask: &ReadHops) -> Answer {
    let most = |asked: u32, most: u32| asked.clamp(1, most) as usize;
    let page = im_trace::hops(&Wanted {
        trace: ask.trace,
        steps: steps(role),
        after: ask.after,
        messages: most(ask.messages, MAX_MESSAGES),
        hops: most(ask.hops, MAX_HOPS),
    });
    Answer::Hops(TraceHops {
        hops: page.hops.into_iter().map(told).collect(),
        more: page.more,
        state: state_of(ask.trace).filter(|_| role == Role::MSG),
    })
}

fn state_of(trace: u32) -> Option<TraceState> {
    im_trace::state(trace).map(state_told)
}

const fn state_told(state: State) -> TraceState {
    let State {
        is_active,
        followed,
        left_out,
    } = state;
    TraceState {
        active: is_active,
        followed,
        left_out,
    }
}

fn told(hop: Hop) -> TraceHop {
    let step = match hop.step {
        Step::Received => Made::Received,
        Step::Queued => Made::Queued,
        Step::Committed => Made::Committed,
        Step::Published => Made::Published,
        Step::Routed => Made::Routed,
        Step::Acknowledged => Made::Acknowledged,
        Step::Written => Made::Written,
    };
    TraceHop {
        message: hop.message,
        step: step.into(),
        at_us: hop.at_us,
        position: hop.position,
        session: hop.session,
        user: hop.user,
        count: hop.count,
    }
}

#[cfg(test)]
mod tests {
    use im_trace::{About, Trace, note};
    use prost::Message as _;

    use super::*;

    /// One test: what is armed is of the whole process.
    #[test]
    fn a_trace_is_armed_within_its_bounds_and_each_role_tells_its_own_steps() {
        let ask = ArmTrace {
            trace: 9,
            user: 1,
            one_in: 1,
            per_second: 100,
            seconds: 900,
            ..ArmTrace::default()
        };
        let refused = |ask: &ArmTrace| match arm(ask) {
            Answer::Refusal(refusal) => Some(refusal.conflict),
            _ => None,
        };
        assert_eq!(
            refused(&ArmTrace {
                seconds: 901,
                ..ask
            }),
            Some(false)
        );
        for trace in 9..13 {
            assert_eq!(refused(&ArmTrace { trace, ..ask }), None);
        }
        assert_eq!(refused(&ArmTrace { trace: 13, ..ask }), Some(true));
        assert_eq!(refused(&ask), None, "it is armed already");

        let message = Trace::of_message(About {
            from: 2,
            to: 1,
            is_group: false,
        });
        for step in [Step::Received, Step::Queued, Step::Routed] {
            note(message.to_wire(), Hop::of(step));
        }
        let read = ReadHops {
            trace: 9,
            messages: 1_000,
            hops: 10_000,
            ..ReadHops::default()
        };
        let of = |role: Role| match hops(role, &read) {
            Answer::Hops(hops) => hops,
            other => panic!("{other:?}"),
        };
        let steps = |role: Role| of(role).hops.iter().map(TraceHop::step).collect::<Vec<_>>();
        assert_eq!(steps(Role::MSG), [Made::Received]);
        assert_eq!(steps(Role::DB_PROXY), [Made::Queued]);
        assert_eq!(steps(Role::ROUTE), [Made::Routed]);
        assert!(of(Role::LOGIN).hops.is_empty() && of(Role::ROUTE).state.is_none());
        let state = of(Role::MSG).state.unwrap();
        assert!(state.active && state.followed == 1);

        let stopped = |trace: u32, dry_run: bool| match stop(StopTrace { trace, dry_run }) {
            Answer::Stopped(stopped) => stopped.state.map(|state| state.active),
            other => panic!("{other:?}"),
        };
        assert_eq!(stopped(13, false), None, "unknown here");
        assert_eq!(stopped(9, true), Some(true));
        assert_eq!(stopped(9, false), Some(false));
        assert_eq!(of(Role::MSG).hops.len(), 1, "what it has found stays");
    }

    #[test]
    fn the_largest_answer_is_below_what_a_link_takes() {
        let hop = TraceHop {
            message: u64::MAX,
            step: Made::Written.into(),
            at_us: 1 << 52,
            position: u64::MAX,
            session: u64::MAX,
            user: u32::MAX,
            count: u32::MAX,
        };
        let answer = TraceHops {
            hops: vec![hop; MAX_HOPS as usize],
            ..TraceHops::default()
        };
        assert!(answer.encoded_len() < 1 << 20, "{}", answer.encoded_len());
    }
}
