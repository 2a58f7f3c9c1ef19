//! Frames at full speed: ignored ones, cheap ones, and those that others are told about.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use im_codec::{Header, encode};
use im_core::ClientType;
use im_e2e::attack::{Attacker, Ears};
use im_e2e::siege::{Siege, attacker, ground, source};
use im_proto_teamtalk::buddy::{ImChangeSignInfoReq, ImUsersStatReq};
use im_proto_teamtalk::file::ImFileHasOfflineReq;
use im_proto_teamtalk::login::{ImKickPcClientReq, ImLogoutReq, ImPushShieldReq};
use im_proto_teamtalk::message::{ImClientTimeReq, ImUnreadMsgCntReq};
use tokio::time::{Instant, sleep};

use crate::support::*;

/// Time for a login while nothing but the attack is to be done.
const AT_ONCE: Duration = Duration::from_secs(2);

/// As many connections without an account stream these bytes as the server has worker threads, and two
/// more.
async fn streams(msg: SocketAddr, bytes: &[u8], time: Duration) {
    let count = std::thread::available_parallelism().map_or(2, usize::from) + 2;
    let streams = (0..count).map(|_| async {
        let end = Instant::now() + time;
        while Instant::now() < end {
            // Who is cut comes back.
            let mut conn = Attacker::connect(msg, source(35, 1), Ears::Open)
                .await
                .unwrap();
            conn.flood(bytes, end.saturating_duration_since(Instant::now()))
                .await;
            sleep(Duration::from_millis(20)).await;
        }
    });
    join_all(streams).await;
}

/// Frames of an unknown command, then heartbeats, before login and as fast as they are taken: whoever
/// runs on the same threads is served all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_never_pause() {
    let siege = Siege::separate(ground(1)).await;
    let mut siege = siege.newcomers_within(AT_ONCE);
    let msg = siege.msg();
    let unknown = Header {
        service_id: 7,
        command_id: 0x7777,
        ..Header::new(Command::HeartBeat, 1, 0)
    };
    let kinds = [
        unknown.to_bytes().repeat(4_096),
        im_codec::heartbeat(1).repeat(4_096),
    ];
    for bytes in kinds {
        siege
            .round(streams(msg, &bytes, Duration::from_secs(4)))
            .await;
    }
    siege.holds().await;
}

/// Logged-in connections repeat these bytes and read what comes.
async fn flood(msg: SocketAddr, count: u32, kind: ClientType, bytes: &[u8], time: Duration) {
    let floods = (1..=count).map(|n| async move {
        let from = source(36, n as u8);
        let mut conn = Attacker::login(msg, from, attacker(n), kind, Ears::Open).await;
        conn.flood(bytes, time).await;
    });
    join_all(floods).await;
}

/// Phones that ask to kick their user's PC, at full speed: the calls go where logins go, and must not
/// fill it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kicks_at_full_speed() {
    let siege = Siege::separate(ground(6)).await;
    let mut siege = siege.newcomers_within(AT_ONCE);
    let msg = siege.msg();
    let kick = encode(
        Command::KickPcClientReq,
        7,
        &ImKickPcClientReq { user_id: 1 },
    )
    .repeat(256);
    for _ in 0..2 {
        siege
            .round(flood(msg, 6, Ios, &kick, Duration::from_secs(4)))
            .await;
    }
    siege.holds().await;
}

/// Every other cheap command in the same way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cheap_commands_at_full_speed() {
    let siege = Siege::separate(ground(4)).await;
    let mut siege = siege.newcomers_within(AT_ONCE);
    let msg = siege.msg();
    let frames = [
        encode(Command::ClientTimeReq, 7, &ImClientTimeReq {}),
        im_codec::heartbeat(7),
        encode(
            Command::FileHasOfflineReq,
            7,
            &ImFileHasOfflineReq {
                user_id: 1,
                attach_data: None,
            },
        ),
        encode(
            Command::UsersStatReq,
            7,
            &ImUsersStatReq {
                user_id: 1,
                user_id_list: (1..200).collect(),
                attach_data: None,
            },
        ),
        encode(
            Command::PushShieldReq,
            7,
            &ImPushShieldReq {
                user_id: 1,
                shield_status: 1,
                attach_data: None,
            },
        ),
        encode(
            Command::UnreadMsgCntReq,
            7,
            &ImUnreadMsgCntReq {
                user_id: 1,
                attach_data: None,
            },
        ),
    ];
    for _ in 0..2 {
        let attack = async {
            for frame in &frames {
                let bytes = frame.repeat(256);
                flood(msg, 4, Ios, &bytes, Duration::from_millis(800)).await;
            }
        };
        siege.round(attack).await;
    }
    siege.holds().await;
}

/// Four sessions change their signature as fast as it is taken, 200 people are online: changes are
/// gathered before they are told, and somebody on a slow line stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_at_full_speed() {
    const LISTENERS: u32 = 200;
    const TIME: Duration = Duration::from_secs(3);
    /// Notices per second that a terminal may be told.
    const MOST: u64 = 50;
    let mut siege = Siege::separate(ground(4 + LISTENERS + 1)).await;
    let msg = siege.msg();
    let mut listeners = Vec::new();
    for n in 5..5 + LISTENERS {
        let user = attacker(n);
        listeners.push(Attacker::login(msg, source(37, 1), user, Ios, Ears::Open).await);
    }
    let slow = attacker(5 + LISTENERS);
    let mut slow = Attacker::login(msg, source(37, 2), slow, Ios, Ears::Closed).await;
    siege.calm().await;
    for _ in 0..2 {
        let attack = async {
            let storm = (1..=4).map(|n| async move {
                let from = source(38, 1);
                let mut conn = Attacker::login(msg, from, attacker(n), Ios, Ears::Open).await;
                let mut frames = Vec::new();
                for change in 0..64 {
                    let request = ImChangeSignInfoReq {
                        user_id: 1,
                        sign_info: format!("{change:0120}"),
                        attach_data: None,
                    };
                    frames.extend(encode(Command::ChangeSignInfoReq, 7, &request));
                }
                conn.flood(&frames, TIME).await;
            });
            let told = listeners.iter_mut().map(|one| one.listen(TIME));
            let (_, told) = futures::join!(join_all(storm), join_all(told));
            told.into_iter().max().unwrap_or_default()
        };
        let bytes = siege.round(attack).await;
        // A notice has 16 bytes of header, a user and 120 bytes of signature.
        let notices = bytes / 140 / TIME.as_secs();
        siege.note(format!("at most {notices} notices per second and listener"));
        siege.expect(notices <= MOST, || {
            format!("{notices} notices per second to each listener")
        });
    }
    let cut = listeners.iter().filter(|one| one.is_cut()).count();
    siege.expect(cut == 0, || format!("{cut} listeners were cut"));
    slow.listen(Duration::from_millis(500)).await;
    siege.expect(!slow.is_cut(), || "the slow listener was cut".to_owned());
    siege.holds().await;
}

/// A member comes and goes in a group of 400 as fast as it is taken: what all are told stays small.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_at_full_speed() {
    const MEMBERS: u32 = 400;
    const ONLINE: u32 = 100;
    const TIME: Duration = Duration::from_secs(3);
    /// Bytes per second that a member may be told.
    const MOST: u64 = 64 << 10;
    let mut siege = Siege::separate(ground(MEMBERS)).await;
    let msg = siege.msg();
    let mut creator = Terminal::login(msg, attacker(1), Windows).await;
    let members: Vec<u32> = (1..MEMBERS).map(attacker).collect();
    let group = make_group(&mut creator, "busy", &members).await;
    drop(creator);
    let mut listeners = Vec::new();
    for n in 2..2 + ONLINE {
        let user = attacker(n);
        listeners.push(Attacker::login(msg, source(37, 1), user, Ios, Ears::Open).await);
    }
    siege.calm().await;
    let mut frames = Vec::new();
    for change in [GroupModifyType::Add, GroupModifyType::Del] {
        let request = ImGroupChangeMemberReq {
            user_id: 1,
            change_type: change.into(),
            group_id: group,
            member_id_list: vec![attacker(MEMBERS)],
            attach_data: None,
        };
        frames.extend(encode(Command::GroupChangeMemberReq, 7, &request));
    }
    let frames = frames.repeat(16);
    for _ in 0..2 {
        let attack = async {
            let from = source(38, 1);
            let mut conn = Attacker::login(msg, from, attacker(1), Windows, Ears::Open).await;
            let told = listeners.iter_mut().map(|one| one.listen(TIME));
            let (_, told) = futures::join!(conn.flood(&frames, TIME), join_all(told));
            told.into_iter().max().unwrap_or_default()
        };
        let bytes = siege.round(attack).await / TIME.as_secs();
        siege.note(format!("at most {bytes} bytes per second and listener"));
        siege.expect(bytes <= MOST, || {
            format!("{bytes} bytes per second to each member")
        });
    }
    let cut = listeners.iter().filter(|one| one.is_cut()).count();
    siege.expect(cut == 0, || format!("{cut} listeners were cut"));
    siege.holds().await;
}

/// Who fills the room for answers and reads nothing is not heard any more, and is cut when the time for
/// the silent is over, like everybody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_nothing_is_idle() {
    const PHONES: u32 = 4;
    // Without rates a phone fills the room for answers at once.
    let ground = ground(PHONES)
        .set("msg.idle_mobile=2s")
        .set("msg.rate_limit=0");
    let mut siege = Siege::separate(ground).await;
    let msg = siege.msg();
    let open = async |siege: &mut Siege| {
        let metrics = super::metrics(siege, "msg1").await;
        metrics.sum("im_msg_connections", "")
    };
    let before = open(&mut siege).await;
    let chunk = im_codec::heartbeat(1).repeat(4_096);
    let mut phones = Vec::new();
    for n in 1..=PHONES {
        let from = source(39, 1);
        let mut phone = Attacker::login(msg, from, attacker(n), Ios, Ears::Closed).await;
        phone.flood(&chunk, Duration::from_millis(300)).await;
        phones.push(phone);
    }
    let begin = Instant::now();
    while open(&mut siege).await > before && begin.elapsed() < Duration::from_secs(8) {
        sleep(Duration::from_millis(200)).await;
    }
    let left = open(&mut siege).await - before;
    siege.expect(left <= 0.0, || {
        format!("{left} phones that read nothing are still there after 8 s")
    });
    drop(phones);
    siege.holds().await;
}

/// People who log in and out as fast as they can fill no log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logouts_at_full_speed() {
    const TIME: Duration = Duration::from_secs(3);
    const MOST: usize = 64 << 10;
    let mut siege = Siege::separate(ground(4)).await;
    let msg = siege.msg();
    for _ in 0..2 {
        let size = |siege: &mut Siege| -> usize {
            let platform = siege.platform();
            let names = platform.names();
            let logs = names
                .iter()
                .map(|name| platform.process(name).unwrap().log());
            logs.map(|log| log.len()).sum()
        };
        let before = size(&mut siege);
        let attack = join_all((1..=4).map(|n| async move {
            let end = Instant::now() + TIME;
            let login = encode(Command::LoginReq, 1, &login_request(attacker(n), Windows));
            let logout = encode(Command::LogoutReq, 2, &ImLogoutReq {});
            let mut count = 0;
            while Instant::now() < end {
                let from = source(40, n as u8);
                let Ok(mut conn) = Attacker::connect(msg, from, Ears::Open).await else {
                    continue;
                };
                drop(conn.send(&login).await);
                // The answer, then the logout, then the end.
                conn.listen_once(Duration::from_secs(1)).await;
                drop(conn.send(&logout).await);
                conn.listen(Duration::from_secs(1)).await;
                count += 1;
            }
            count
        }));
        let count: u32 = siege.round(attack).await.into_iter().sum();
        let written = size(&mut siege) - before;
        siege.note(format!("{count} logouts, {written} bytes of log"));
        siege.expect(written < MOST, || {
            format!("{written} bytes of log for {count} logouts")
        });
    }
    siege.holds().await;
}
