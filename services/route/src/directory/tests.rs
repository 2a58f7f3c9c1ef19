use std::time::Duration;

use im_proto_rpc::v1::{Audience, Kick, SessionInfo};
use tokio::time::Instant;

use super::{
    Announced, Directory, Except, Fanout, LOST_MEMORY, Limits, Notice, NoticeKind, ServerId, Up,
};

const WINDOWS: u32 = 0x01;
const MAC: u32 = 0x02;
const ANDROID: u32 = 0x12;

fn directory() -> Directory {
    Directory::new(Limits {
        max_sessions: 100,
        max_servers: 3,
        lost_server_grace: Duration::from_secs(3),
    })
}

fn session(user: u32, client_type: u32, epoch: u64, login_ms: u64) -> SessionInfo {
    SessionInfo {
        user,
        client_type,
        epoch,
        login_ms,
        ..SessionInfo::default()
    }
}

struct Told<'a>(&'a mut Directory, Vec<Notice>);

impl Told<'_> {
    fn up(&mut self, server: ServerId, info: SessionInfo) -> Up {
        self.0
            .session_up(server, info, Announced::Login, &mut self.1)
    }

    fn again(&mut self, server: ServerId, info: SessionInfo) -> Up {
        self.0
            .session_up(server, info, Announced::Again, &mut self.1)
    }

    fn attach(&mut self, name: &str, instance: u64) -> ServerId {
        self.0.attach(name, instance, &mut self.1).unwrap()
    }

    fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.1)
    }

    fn tick(&mut self) -> (Vec<u32>, Vec<u32>) {
        let waiting = self.0.has_changes();
        let tick = self.0.take_tick();
        assert_eq!((waiting, self.0.has_changes()), (tick.is_some(), false));
        let mut tick = tick.unwrap_or_default();
        tick.online.sort_unstable();
        tick.offline.sort_unstable();
        (tick.online, tick.offline)
    }
}

fn kick(server: ServerId, user: u32, epoch: u64) -> Notice {
    Notice {
        server,
        user,
        kind: NoticeKind::Kick { epoch, reason: 1 },
    }
}

fn pc_status(server: ServerId, user: u32, online: bool) -> Notice {
    Notice {
        server,
        user,
        kind: NoticeKind::PcStatus { online },
    }
}

/// Wire 10.7 and 20.2.
#[test]
fn the_later_login_of_a_class_stays_wherever_the_earlier_one_is() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let (m1, m2) = (told.attach("m1", 1), told.attach("m2", 2));
    assert_eq!(
        told.up(m1, session(10, WINDOWS, 100, 1_000)),
        Up::Registered
    );
    assert_eq!(told.notices(), []);
    assert_eq!(told.up(m2, session(10, MAC, 101, 2_000)), Up::Registered);
    assert_eq!(told.notices(), [kick(m1, 10, 100)]);
    // On one server as well.
    assert_eq!(
        told.up(m2, session(10, WINDOWS, 102, 3_000)),
        Up::Registered
    );
    assert_eq!(told.notices(), [kick(m2, 10, 101)]);
    // A phone stands beside it.
    assert_eq!(told.up(m1, session(10, ANDROID, 103, 1)), Up::Registered);
    assert_eq!(told.notices(), [pc_status(m1, 10, true)]);
    assert_eq!(told.0.session_count(), 2);
}

#[test]
fn it_holds_the_sessions_that_are_there_and_names_the_servers() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let (m1, m2) = (told.attach("m1", 1), told.attach("m2", 2));
    told.up(m1, session(10, WINDOWS, 100, 1));
    assert!(told.0.holds(10, 100));
    assert!(!told.0.holds(10, 101) && !told.0.holds(11, 100));
    let servers = told.0.servers();
    let named: Vec<(ServerId, &str)> = servers.map(|(id, server)| (id, &*server.name)).collect();
    assert_eq!(named, [(m1, "m1"), (m2, "m2")]);
}

#[test]
fn a_copy_goes_to_everybody_but_the_session_that_wrote() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let (m1, m2) = (told.attach("m1", 1), told.attach("m2", 2));
    told.up(m1, session(10, WINDOWS, 1, 1));
    told.up(m2, session(10, ANDROID, 2, 1));
    told.up(m1, session(11, WINDOWS, 3, 1));
    let mut fanout = Fanout::default();
    let wrote = Except::Session { user: 10, epoch: 1 };
    fanout.split(told.0, &[10, 11], Audience::All, wrote);
    let mut found = Vec::new();
    for server in fanout.touched() {
        let mut users = Vec::new();
        fanout.take(server, &mut users);
        found.push((server, users));
    }
    assert_eq!(found, [(m2, vec![10]), (m1, vec![11])]);
}

/// Clocks may stand wrong: what arrives later is later.
#[test]
fn of_two_logins_the_one_that_arrives_later_stays_whatever_the_clocks_say() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let (m1, m2) = (told.attach("m1", 1), told.attach("m2", 2));
    told.up(m1, session(10, WINDOWS, 100, 2_000_000));
    let (behind, far_behind) = (session(10, WINDOWS, 99, 1_000), session(10, MAC, 98, 0));
    assert_eq!(told.up(m2, behind), Up::Registered);
    assert_eq!(told.notices(), [kick(m1, 10, 100)]);
    assert_eq!(told.up(m1, far_behind), Up::Registered);
    assert_eq!(told.notices(), [kick(m2, 10, 99)]);
}

#[test]
fn a_session_whose_place_was_taken_stays_out_when_it_is_announced_again() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let (m1, m2) = (told.attach("m1", 1), told.attach("m2", 2));
    let displaced = || session(10, WINDOWS, 101, 2_000_000);
    told.up(m2, displaced());
    told.up(m1, session(10, WINDOWS, 100, 1_000));
    assert_eq!(told.notices(), [kick(m2, 10, 101)]);
    assert_eq!(told.again(m2, displaced()), Up::Outdone);
    assert_eq!(told.notices(), [kick(m2, 10, 101)]);
    // Announcing the other one again, over a new link for example, takes nothing from it.
    told.again(m1, session(10, WINDOWS, 100, 1_000));
    assert_eq!(told.again(m2, displaced()), Up::Outdone);
    assert_eq!(told.notices(), [kick(m2, 10, 101)]);
}

/// A node with a msg server and a route server is cut off: the user comes back elsewhere, and nobody tells
/// this route server before the node is there again.
#[test]
fn a_login_that_this_server_missed_ends_the_session_that_it_kept() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let (m1, m2) = (told.attach("m1", 1), told.attach("m2", 2));
    told.up(m1, session(10, WINDOWS, 100, 1_000));
    let newer = || session(10, WINDOWS, 99, 31_000);
    assert_eq!(told.again(m2, newer()), Up::Registered);
    assert_eq!(told.notices(), [kick(m1, 10, 100)]);
    // The server that was cut off may say so once more before it has heard that.
    let kept = session(10, WINDOWS, 100, 1_000);
    assert_eq!(told.again(m1, kept), Up::Outdone);
    assert_eq!(told.notices(), [kick(m1, 10, 100)]);
    assert!(told.0.holds(10, 99));
}

#[test]
fn of_two_sessions_that_were_only_announced_the_later_login_time_stays() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let (m1, m2) = (told.attach("m1", 1), told.attach("m2", 2));
    told.again(m1, session(10, WINDOWS, 100, 2_000));
    assert_eq!(
        told.again(m2, session(10, WINDOWS, 101, 1_999)),
        Up::Outdone
    );
    assert_eq!(told.notices(), [kick(m2, 10, 101)]);
    // Of logins at the same moment the greater epoch stays.
    assert_eq!(told.again(m2, session(10, WINDOWS, 99, 2_000)), Up::Outdone);
    assert_eq!(told.notices(), [kick(m2, 10, 99)]);
    assert_eq!(
        told.again(m2, session(10, WINDOWS, 102, 2_000)),
        Up::Registered
    );
    assert_eq!(told.notices(), [kick(m1, 10, 100)]);
    // A login is later than all of them.
    assert_eq!(told.up(m1, session(10, MAC, 103, 5)), Up::Registered);
    assert_eq!(told.notices(), [kick(m2, 10, 102)]);
}

#[test]
fn a_late_down_cannot_end_a_newer_session() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let (m1, m2) = (told.attach("m1", 1), told.attach("m2", 2));
    told.up(m1, session(10, WINDOWS, 100, 1));
    told.up(m2, session(10, WINDOWS, 101, 2));
    told.tick();
    told.notices();
    let mut notices = Vec::new();
    assert!(!told.0.session_down(m1, 10, 100, &mut notices));
    assert!(
        !told.0.session_down(m1, 10, 101, &mut notices),
        "not by another server"
    );
    assert!(told.0.pc_online(10));
    assert_eq!(told.tick(), (vec![], vec![]), "neither 0x070e nor 0x0203");
    assert!(told.0.session_down(m2, 10, 101, &mut notices));
    assert!(!told.0.pc_online(10));
    assert_eq!(told.tick(), (vec![], vec![10]));
    assert_eq!(notices, []);
}

/// Wire 11.3, 16.6.
#[test]
fn a_phone_learns_of_the_pc_at_its_own_login_and_at_each_change() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let (m1, m2) = (told.attach("m1", 1), told.attach("m2", 2));
    told.up(m1, session(10, ANDROID, 1, 1));
    assert_eq!(told.notices(), [], "no PC is on");
    assert_eq!(told.tick(), (vec![], vec![]), "a phone alone is offline");
    assert!(!told.0.pc_online(10));
    told.up(m2, session(10, WINDOWS, 2, 2));
    assert_eq!(told.notices(), [pc_status(m1, 10, true)]);
    assert_eq!(told.tick(), (vec![10], vec![]));
    told.up(m1, session(10, ANDROID, 3, 3));
    assert_eq!(told.notices(), [kick(m1, 10, 1), pc_status(m1, 10, true)]);
    assert_eq!(told.tick(), (vec![], vec![]));
    let mut notices = Vec::new();
    told.0.session_down(m2, 10, 2, &mut notices);
    assert_eq!(notices, [pc_status(m1, 10, false)]);
    assert_eq!(told.tick(), (vec![], vec![10]));
}

#[test]
fn a_tick_holds_the_last_state_of_each_user() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let m1 = told.attach("m1", 1);
    let mut notices = Vec::new();
    told.up(m1, session(10, WINDOWS, 1, 1));
    told.0.session_down(m1, 10, 1, &mut notices);
    told.up(m1, session(11, WINDOWS, 2, 1));
    told.0.session_down(m1, 11, 2, &mut notices);
    told.up(m1, session(11, WINDOWS, 3, 2));
    assert_eq!(told.tick(), (vec![11], vec![10]));
    assert_eq!(told.0.take_tick(), None);
}

/// Wire 11.3: 0x0708 applies without notifications.
#[test]
fn announcing_again_tells_nobody() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let m1 = told.attach("m1", 1);
    told.again(m1, session(10, ANDROID, 1, 1));
    told.again(m1, session(10, WINDOWS, 2, 1));
    assert_eq!(told.notices(), []);
    assert_eq!(told.tick(), (vec![], vec![]));
    assert!(told.0.pc_online(10));
}

/// S-27.
#[test]
fn users_of_a_lost_server_stay_for_the_grace_and_then_go_offline() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let (m1, m2) = (told.attach("m1", 1), told.attach("m2", 2));
    told.up(m1, session(10, WINDOWS, 1, 1));
    told.up(m2, session(10, ANDROID, 2, 1));
    told.tick();
    told.notices();
    let now = Instant::now();
    let mut notices = Vec::new();
    told.0.lose(m1, now);
    assert_eq!(told.0.next_expiry(), Some(now + Duration::from_secs(3)));
    assert_eq!(
        told.0
            .expire(now + Duration::from_millis(2_999), &mut notices),
        0
    );
    assert!(told.0.pc_online(10));
    assert_eq!(told.0.expire(now + Duration::from_secs(3), &mut notices), 1);
    assert!(!told.0.pc_online(10));
    assert_eq!(notices, [pc_status(m2, 10, false)]);
    assert_eq!(told.tick(), (vec![], vec![10]));
    assert_eq!(told.0.next_expiry(), None);
    // It was told, so its return is told as well.
    let m1 = told.attach("m1", 1);
    told.again(m1, session(10, WINDOWS, 1, 1));
    assert_eq!(told.notices(), [pc_status(m2, 10, true)]);
    assert_eq!(told.tick(), (vec![10], vec![]));
}

#[test]
fn who_went_with_a_lost_server_is_remembered_for_ten_minutes_and_not_longer() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let m1 = told.attach("m1", 1);
    told.up(m1, session(10, WINDOWS, 1, 1));
    told.up(m1, session(11, WINDOWS, 2, 1));
    let grace = Duration::from_secs(3);
    let went = Instant::now() + grace;
    let mut notices = Vec::new();
    // Loses the server so that it is given up at this moment.
    let mut given_up = |told: &mut Told<'_>, name: &str, at: Instant| {
        let server = told.attach(name, 1);
        told.0.lose(server, at - grace);
        assert_eq!(told.0.expire(at, &mut notices), 1);
    };
    given_up(&mut told, "m1", went);
    told.tick();
    // What is remembered is looked at when a server is given up.
    let until = went + LOST_MEMORY;
    given_up(&mut told, "m2", until - Duration::from_millis(1));
    let m1 = told.attach("m1", 1);
    told.again(m1, session(10, WINDOWS, 1, 1));
    assert_eq!(told.tick(), (vec![10], vec![]), "their return is told");
    given_up(&mut told, "m2", until);
    told.again(m1, session(11, WINDOWS, 2, 1));
    assert_eq!(told.tick(), (vec![], vec![]));
}

#[test]
fn the_same_instance_finds_its_sessions_and_another_one_ends_them() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let m1 = told.attach("m1", 1);
    told.up(m1, session(10, WINDOWS, 1, 1));
    told.tick();
    told.0.lose(m1, Instant::now());
    assert_eq!(told.attach("m1", 1), m1);
    assert_eq!(told.0.next_expiry(), None);
    assert!(told.0.pc_online(10));
    assert_eq!(told.attach("m1", 2), m1);
    assert!(!told.0.pc_online(10));
    assert_eq!(told.tick(), (vec![], vec![10]));
}

#[test]
fn what_a_snapshot_leaves_out_is_gone() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let m1 = told.attach("m1", 1);
    told.up(m1, session(10, WINDOWS, 1, 1));
    told.up(m1, session(11, WINDOWS, 2, 1));
    told.tick();
    // A new link of the same instance: what ended meanwhile is told.
    told.attach("m1", 1);
    told.0.snapshot_begin(m1);
    told.again(m1, session(11, WINDOWS, 2, 1));
    let mut notices = Vec::new();
    told.0.snapshot_end(m1, true, &mut notices);
    assert!(!told.0.pc_online(10));
    assert!(told.0.pc_online(11));
    assert_eq!(told.tick(), (vec![], vec![10]));
    // Over the same link a session can only have moved to another shard: it did not end.
    told.0.snapshot_begin(m1);
    told.0.snapshot_end(m1, true, &mut notices);
    assert_eq!(told.0.session_count(), 0);
    assert_eq!(told.tick(), (vec![], vec![]));
    assert_eq!(notices, []);
    // So do all of them while this server is no part of the ring.
    told.up(m1, session(10, WINDOWS, 1, 1));
    told.tick();
    told.attach("m1", 1);
    told.0.snapshot_begin(m1);
    told.0.snapshot_end(m1, false, &mut notices);
    assert_eq!(told.0.session_count(), 0);
    assert_eq!(told.tick(), (vec![], vec![]));
}

#[test]
fn bounds_refuse_and_places_are_used_again() {
    let mut directory = Directory::new(Limits {
        max_sessions: 2,
        max_servers: 1,
        lost_server_grace: Duration::ZERO,
    });
    let mut notices = Vec::new();
    let m1 = directory.attach("m1", 1, &mut notices).unwrap();
    assert_eq!(directory.attach("m2", 1, &mut notices), None);
    let mut told = Told(&mut directory, Vec::new());
    assert_eq!(told.up(m1, session(0, WINDOWS, 1, 1)), Up::Refused);
    assert_eq!(told.up(m1, session(1, WINDOWS, 0, 1)), Up::Refused);
    assert_eq!(told.up(m1, session(1, WINDOWS, 1, 1)), Up::Registered);
    assert_eq!(told.up(m1, session(2, WINDOWS, 2, 1)), Up::Registered);
    assert_eq!(told.up(m1, session(3, WINDOWS, 3, 1)), Up::Refused);
    assert_eq!(
        told.up(m1, session(2, MAC, 4, 2)),
        Up::Registered,
        "takes the place of its own"
    );
    told.0.session_down(m1, 1, 1, &mut notices);
    assert_eq!(told.up(m1, session(3, WINDOWS, 3, 1)), Up::Registered);
    let now = Instant::now();
    told.0.lose(m1, now);
    told.0.expire(now, &mut notices);
    assert_eq!(told.0.session_count(), 0);
    assert!(told.0.attach("m2", 1, &mut notices).is_some());
}

#[test]
fn kicks_reach_the_sessions_that_they_name() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let (m1, m2) = (told.attach("m1", 1), told.attach("m2", 2));
    told.up(m1, session(10, WINDOWS, 1, 1));
    told.up(m2, session(10, ANDROID, 2, 1));
    told.up(m2, session(11, WINDOWS, 3, 1));
    told.up(m2, session(11, ANDROID, 4, 1));
    let targets = |user, epoch, audience: Audience, except| {
        let kick = Kick {
            user,
            epoch,
            audience: audience as i32,
            except,
            reason: 2,
        };
        told.0.kick_targets(&kick)
    };
    assert_eq!(targets(10, 0, Audience::All, 0), [Some(m1), Some(m2)]);
    assert_eq!(targets(10, 0, Audience::Pc, 0), [Some(m1), None]);
    assert_eq!(targets(10, 0, Audience::All, 2), [Some(m1), None]);
    assert_eq!(
        targets(10, 2, Audience::Pc, 0),
        [None, Some(m2)],
        "an epoch says it all"
    );
    assert_eq!(targets(10, 9, Audience::All, 0), [None, None]);
    assert_eq!(
        targets(11, 0, Audience::All, 0),
        [Some(m2), None],
        "once per server"
    );
    assert_eq!(targets(12, 0, Audience::All, 0), [None, None]);
}

#[test]
fn sessions_are_listed_with_their_server() {
    let mut directory = directory();
    let mut told = Told(&mut directory, Vec::new());
    let m1 = told.attach("m1", 1);
    let info = SessionInfo {
        status: 3,
        server: "something else".to_owned(),
        address: "192.0.2.1:5".to_owned(),
        client_version: "1.0".to_owned(),
        ..session(10, WINDOWS, 1, 7)
    };
    told.up(m1, info.clone());
    told.up(m1, session(11, ANDROID, 2, 8));
    let expected = SessionInfo {
        server: "m1".to_owned(),
        ..info
    };
    assert_eq!(told.0.list(10, 9), (vec![expected], false));
    assert_eq!(told.0.list(0, 9).0.len(), 2);
    assert!(!told.0.list(0, 2).1, "as many as there are are all");
    let (cut, was_cut) = told.0.list(0, 1);
    assert_eq!((cut.len(), was_cut), (1, true));
}
