mod told;

use super::*;

/// A table with its clock and the numbers of its msg servers.
struct Table {
    table: LoadTable,
    now: Instant,
}

fn rules() -> Rules {
    Rules::from(&LoginConfig::default())
}

fn report(server: &str, sessions: u32) -> LoadReport {
    LoadReport {
        server: server.to_owned(),
        instance: 1,
        ip1: format!("{server}.example"),
        ip2: String::new(),
        port: 8000,
        sessions,
        connections: sessions,
        state: State::Accepting as i32,
        ..LoadReport::default()
    }
}

fn stream(server: &str) -> StreamId {
    StreamId(u64::from(server.bytes().last().unwrap()))
}

impl Table {
    fn new() -> Self {
        Self::with(rules())
    }

    fn with(rules: Rules) -> Self {
        Self {
            table: LoadTable::new(rules),
            now: Instant::now(),
        }
    }

    fn report(&mut self, report: LoadReport) {
        let stream = stream(&report.server);
        assert_eq!(self.table.report(stream, report, self.now), Reported::Kept);
    }

    fn sessions(&mut self, server: &str, sessions: u32) {
        self.report(report(server, sessions));
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    fn choice(&mut self) -> Choice {
        self.table.choose(self.now)
    }

    /// Name of the server chosen by a fresh report.
    fn chosen(&mut self) -> String {
        match self.choice() {
            Choice::Fresh(address) => address.ip1.trim_end_matches(".example").to_owned(),
            other => panic!("{other:?}"),
        }
    }

    fn ends(&mut self, server: &str) {
        self.table.stream_ended(stream(server), self.now);
    }

    /// `n` clients ask and do not log in. Returns how many were sent to each of these servers.
    fn burst(&mut self, n: u32, servers: &[&str]) -> Vec<u32> {
        let mut counts = vec![0; servers.len()];
        for _ in 0..n {
            let chosen = self.chosen();
            counts[servers.iter().position(|server| *server == chosen).unwrap()] += 1;
        }
        counts
    }
}

/// S-02, word for word.
#[test]
fn the_least_loaded_server_is_chosen_exactly() {
    let mut table = Table::new();
    let mut sessions = BTreeMap::from([("M1", 50_u32), ("M2", 10), ("M3", 0)]);
    for (server, count) in &sessions {
        table.sessions(server, *count);
    }
    for _ in 0..30 {
        assert_eq!(table.chosen(), "M3");
    }
    for _ in 0..60 {
        let chosen = table.chosen();
        let (server, count) = sessions
            .iter_mut()
            .find(|(server, _)| **server == chosen)
            .unwrap();
        *count += 1;
        let (server, count) = (*server, *count);
        table.sessions(server, count);
    }
    assert_eq!(sessions[&"M1"], 50);
    assert!((33..=37).contains(&sessions[&"M2"]), "{sessions:?}");
    assert!((33..=37).contains(&sessions[&"M3"]), "{sessions:?}");
}

/// Architecture 5: reservations for hand-outs not yet seen as connections.
#[test]
fn a_burst_faster_than_the_reports_is_spread() {
    let mut table = Table::new();
    for (server, count) in [("M1", 600), ("M2", 300), ("M3", 0)] {
        table.sessions(server, count);
    }
    // As if each had logged in at once, but for the slack of each server.
    let counts = table.burst(900, &["M1", "M2", "M3"]);
    let ends: Vec<u32> = counts
        .iter()
        .zip([600, 300, 0])
        .map(|(more, had)| more + had)
        .collect();
    let (low, high) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
    assert!(high - low <= rules().slack, "{ends:?}");
}

#[test]
fn a_burst_over_equal_servers_is_spread_from_the_first_client_on() {
    let mut table = Table::new();
    for server in ["M1", "M2", "M3"] {
        table.sessions(server, 7);
    }
    assert_eq!(table.burst(30, &["M1", "M2", "M3"]), [10, 10, 10]);
}

#[test]
fn hand_outs_that_logged_in_no_longer_count_twice() {
    let mut table = Table::new();
    table.sessions("M1", 1_000);
    table.sessions("M2", 0);
    assert_eq!(table.burst(500, &["M1", "M2"]), [0, 500]);
    table.sessions("M2", 500);
    // 500 more reach the load of M1, and the slack.
    assert_eq!(table.burst(564, &["M1", "M2"]), [0, 564]);
    assert_eq!(table.chosen(), "M1");
}

#[test]
fn hand_outs_that_do_not_come_are_forgotten() {
    let mut table = Table::new();
    table.sessions("M1", 100);
    table.sessions("M2", 0);
    table.burst(164, &["M1", "M2"]);
    assert_eq!(
        table.chosen(),
        "M1",
        "M2 looks as loaded as M1, with hand-outs pending"
    );
    for _ in 0..6 {
        table.pass(5_000);
        table.sessions("M1", 100);
        table.sessions("M2", 0);
    }
    assert_eq!(table.chosen(), "M2");
    assert_eq!(table.table.dump(table.now).servers[1].pending, 1);
}

/// Architecture 5: with several login servers it must not herd.
#[test]
fn several_login_servers_fill_a_valley_once() {
    let rules = Rules {
        replicas: 3,
        ..rules()
    };
    let mut replicas = [Table::with(rules), Table::with(rules), Table::with(rules)];
    let mut sessions = [("M1", 1_000), ("M2", 1_000), ("M3", 400)];
    for table in &mut replicas {
        for (server, count) in sessions {
            table.sessions(server, count);
        }
    }
    for n in 0..1_200 {
        let chosen = replicas[n % 3].chosen();
        sessions
            .iter_mut()
            .find(|(server, _)| *server == chosen)
            .unwrap()
            .1 += 1;
    }
    // No report came in between. 1200 more make 1200 for each.
    for (server, count) in sessions {
        assert!(
            (1_200 - 80..=1_200 + 80).contains(&count),
            "{server} has {count}: {sessions:?}"
        );
    }
}

#[test]
fn limits_are_kept() {
    let mut table = Table::new();
    let limited = |server, sessions, soft_max_sessions, max_sessions| LoadReport {
        soft_max_sessions,
        max_sessions,
        ..report(server, sessions)
    };
    table.report(limited("M1", 5, 10, 20));
    table.report(limited("M2", 12, 50, 60));
    assert_eq!(table.chosen(), "M1");
    // At its soft limit it comes behind the others, although it has less.
    table.report(limited("M1", 10, 10, 20));
    assert_eq!(table.chosen(), "M2");
    // When all are beyond, they are used up to the hard limit.
    table.report(limited("M2", 50, 50, 60));
    assert_eq!(table.chosen(), "M1");
    table.report(limited("M1", 20, 10, 20));
    assert_eq!(table.chosen(), "M2");
    table.report(limited("M2", 60, 50, 60));
    assert_eq!(table.choice(), Choice::AllFull);
    table.report(limited("M2", 59, 50, 60));
    assert_eq!(table.chosen(), "M2");
}

#[test]
fn a_small_server_is_not_overrun_by_those_sent_there_and_never_called_full_for_them() {
    let mut table = Table::new();
    let small = LoadReport {
        max_sessions: 10,
        ..report("M1", 0)
    };
    table.report(small);
    table.sessions("M2", 500);
    assert_eq!(table.burst(12, &["M1", "M2"]), [10, 2]);
    table.ends("M2");
    assert_eq!(
        table.burst(50, &["M1"]),
        [50],
        "pending hand-outs are no sessions"
    );
}

#[test]
fn only_those_that_accept_are_handed_out() {
    let mut table = Table::new();
    assert_eq!(table.choice(), Choice::Nobody);
    let with = |state: State| LoadReport {
        state: state as i32,
        ..report("M1", 0)
    };
    table.report(with(State::Starting));
    assert_eq!(table.choice(), Choice::Nobody);
    table.report(with(State::Accepting));
    assert_eq!(table.chosen(), "M1");
    for state in [State::Draining, State::Cordoned] {
        table.report(with(state));
        assert_eq!(table.choice(), Choice::Nobody, "{state:?}");
    }
    table.report(with(State::Accepting));
    assert_eq!(table.chosen(), "M1", "S-101: uncordoned");
    table.report(with(State::Cordoned));
    // Another one that is full is no reason to call a draining one full.
    table.report(LoadReport {
        max_sessions: 1,
        ..report("M2", 1)
    });
    assert_eq!(table.choice(), Choice::AllFull);
}

/// S-05, SIGKILL: the kernel ends the stream at once.
#[test]
fn a_server_whose_stream_breaks_is_gone() {
    let mut table = Table::new();
    table.sessions("M1", 0);
    table.sessions("M2", 99);
    table.pass(1_000);
    table.ends("M1");
    for _ in 0..200 {
        assert_eq!(table.chosen(), "M2");
    }
    table.ends("M2");
    assert_eq!(table.choice(), Choice::Nobody, "S-01: nobody is left");
    table.sessions("M1", 0);
    assert_eq!(table.chosen(), "M1");
}

/// S-05, SIGSTOP and SIGCONT.
#[test]
fn a_silent_server_is_not_handed_out_until_it_reports_again() {
    let mut table = Table::new();
    table.sessions("M1", 0);
    for _ in 0..10 {
        table.pass(1_000);
        table.sessions("M2", 99);
    }
    for _ in 0..200 {
        assert_eq!(table.chosen(), "M2");
    }
    table.sessions("M1", 0);
    assert_eq!(table.chosen(), "M1");
}

/// Architecture 5: rather than refuse everybody.
#[test]
fn when_nobody_reports_the_last_known_addresses_are_handed_out_for_a_while() {
    let mut table = Table::new();
    table.sessions("M1", 50);
    table.sessions("M2", 3);
    table.report(LoadReport {
        state: State::Draining as i32,
        ..report("M3", 0)
    });
    table.pass(4_000);
    // The network is cut: streams end by their keep-alive, one after the other.
    table.ends("M1");
    table.ends("M3");
    assert_eq!(table.chosen(), "M2", "it is still fresh");
    table.pass(4_000);
    let Choice::LastKnown(address) = table.choice() else {
        panic!("as it was last known")
    };
    assert_eq!(address.ip1, "M2.example");
    table.ends("M2");
    table.pass(52_000);
    table.table.forget_lost(table.now);
    assert!(matches!(table.choice(), Choice::LastKnown(_)));
    table.pass(1);
    assert_eq!(table.choice(), Choice::Nobody);
    table.table.forget_lost(table.now);
    assert_eq!(table.table.dump(table.now).servers.len(), 0);
}

#[test]
fn a_new_stream_of_a_server_takes_over_and_the_old_one_says_nothing_more() {
    let mut table = Table::new();
    let now = table.now;
    let (old, new) = (StreamId(1), StreamId(2));
    assert_eq!(
        table.table.report(old, report("M1", 5), now),
        Reported::Kept
    );
    assert_eq!(
        table.table.report(new, report("M1", 6), now),
        Reported::Kept
    );
    assert_eq!(
        table.table.report(old, report("M1", 1), now),
        Reported::Outdated
    );
    table.table.stream_ended(old, now);
    assert_eq!(table.table.dump(now).servers[0].sessions, 6);
    table.table.stream_ended(new, now);
    assert_eq!(table.table.dump(now).servers.len(), 0);
}

#[test]
fn a_restarted_server_has_no_hand_outs_pending() {
    let mut table = Table::new();
    table.sessions("M1", 5);
    table.burst(9, &["M1"]);
    assert_eq!(table.table.dump(table.now).servers[0].pending, 9);
    table.report(LoadReport {
        instance: 2,
        ..report("M1", 0)
    });
    assert_eq!(table.table.dump(table.now).servers[0].pending, 0);
}

#[test]
fn a_stream_that_changes_its_name_leaves_no_ghost() {
    let mut table = Table::new();
    let now = table.now;
    table.table.report(StreamId(1), report("M1", 5), now);
    table.table.report(StreamId(1), report("M2", 5), now);
    let dump = table.table.dump(now);
    let names: Vec<&str> = dump
        .servers
        .iter()
        .map(|server| server.server.as_str())
        .collect();
    assert_eq!(names, ["M2"]);
}

#[test]
fn what_cannot_be_handed_out_is_refused() {
    let mut table = LoadTable::new(Rules {
        max_servers: 1,
        ..rules()
    });
    let now = Instant::now();
    for invalid in [
        LoadReport {
            server: String::new(),
            ..report("M1", 0)
        },
        LoadReport {
            ip1: String::new(),
            ..report("M1", 0)
        },
        LoadReport {
            port: 0,
            ..report("M1", 0)
        },
        LoadReport {
            port: 65_536,
            ..report("M1", 0)
        },
    ] {
        assert_eq!(table.report(StreamId(1), invalid, now), Reported::Invalid);
    }
    assert_eq!(
        table.report(StreamId(1), report("M1", 0), now),
        Reported::Kept
    );
    assert_eq!(
        table.report(StreamId(2), report("M2", 0), now),
        Reported::TooMany
    );
}

#[test]
fn the_second_address_is_the_first_one_again_when_there_is_none() {
    let mut table = Table::new();
    table.sessions("M1", 0);
    let Choice::Fresh(address) = table.choice() else {
        panic!("M1")
    };
    assert_eq!(
        (address.ip1.as_str(), address.ip2.as_str()),
        ("M1.example", "M1.example")
    );
    table.report(LoadReport {
        ip2: "192.0.2.7".to_owned(),
        ..report("M1", 0)
    });
    let Choice::Fresh(address) = table.choice() else {
        panic!("M1")
    };
    assert_eq!(address.ip2, "192.0.2.7");
}

#[test]
fn a_msg_server_without_an_address_is_known_and_handed_out_once_it_has_one() {
    let mut table = Table::new();
    table.report(LoadReport {
        ip1: String::new(),
        port: 0,
        state: State::Starting as i32,
        ..report("m1", 0)
    });
    assert_eq!(table.choice(), Choice::Nobody);
    let dump = table.table.dump(table.now);
    assert_eq!(dump.servers[0].state, ServerState::Starting);
    table.report(LoadReport {
        ip1: "msg-0.chat.example.com".to_owned(),
        port: 30_123,
        ..report("m1", 0)
    });
    let there = Address {
        ip1: "msg-0.chat.example.com".to_owned(),
        ip2: "msg-0.chat.example.com".to_owned(),
        port: 30_123,
    };
    assert_eq!(table.choice(), Choice::Fresh(there));
}

#[test]
fn a_report_is_fresh_until_its_very_last_moment() {
    let mut table = Table::new();
    table.sessions("M1", 0);
    assert!(table.table.any_accepting(table.now));
    table.now += rules().stale_after;
    assert!(table.table.any_accepting(table.now));
    assert_eq!(table.chosen(), "M1");
    table.pass(1);
    assert!(!table.table.any_accepting(table.now));
    assert!(matches!(table.choice(), Choice::LastKnown(_)));
}

#[test]
fn a_reserve_is_touched_after_every_promise() {
    let soft = |server, sessions, soft_max_sessions| LoadReport {
        soft_max_sessions,
        ..report(server, sessions)
    };
    let mut table = Table::new();
    table.report(soft("M1", 10, 10));
    table.report(soft("M2", 11, 12));
    // The second of them is promised to more people than it has room for from then on.
    assert_eq!(table.burst(2, &["M1", "M2"]), [0, 2]);
}
