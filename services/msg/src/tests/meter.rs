//! Rates of commands, and turns.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use im_codec::Command;
use im_config::units::{ByteSize, Span};
use im_config::{MeterConfig, MsgConfig, Rate};
use im_proto_rpc::v1::route_call::Call;
use im_proto_teamtalk::buddy::ImAllUserReq;
use im_proto_teamtalk::login::{ImKickPcClientReq, ImKickPcClientRsp};
use im_proto_teamtalk::message::{ImClientTimeReq, ImClientTimeRsp};
use tokio::time::{Duration, Instant};

use super::rig::*;
use crate::metrics::{Limit, Refusal};

/// Everything is plenty but what a test makes scarce.
fn metered(meter: MeterConfig) -> MsgConfig {
    MsgConfig {
        rate_limit: 1_000,
        rate_burst: 1_000,
        meter,
        ..config()
    }
}

/// Two at once, and one in 50 ms.
const FEW: Rate = Rate {
    burst: 2,
    per_minute: 1_200,
};

/// A frame of a command that nobody knows.
fn unknown() -> Vec<u8> {
    let mut frame = im_codec::heartbeat(0).to_vec();
    frame[10..12].copy_from_slice(&0x7f7f_u16.to_be_bytes());
    frame
}

#[tokio::test]
async fn a_client_over_a_rate_is_answered_late_and_loses_nothing() {
    let rig = Rig::start_with(metered(MeterConfig {
        time: FEW,
        ..MeterConfig::default()
    }))
    .await;
    let mut client = rig.client(7, WINDOWS).await;
    let start = Instant::now();
    for seq in 1..=6 {
        client
            .send(Command::ClientTimeReq, seq, &ImClientTimeReq {})
            .await;
    }
    for seq in 1..=6 {
        let _: ImClientTimeRsp = client.expect(Command::ClientTimeRsp, seq).await;
    }
    assert!(start.elapsed() >= Duration::from_millis(190));
    assert!(rig.gateway.env.metrics.limits(Limit::Time) >= 3);
}

#[tokio::test]
async fn frames_that_no_client_sends_end_the_connection_before_and_after_login() {
    let rig = Rig::start_with(metered(MeterConfig {
        ignored: FEW,
        ..MeterConfig::default()
    }))
    .await;
    let mut fresh = rig.connect().await;
    let mut known = rig.client(7, WINDOWS).await;
    for client in [&mut fresh, &mut known] {
        client.raw(&unknown().repeat(2)).await;
        client.expect_silence().await;
        client.raw(&unknown().repeat(2)).await;
        client.expect_end().await;
    }
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::Flood), 2);
    // Requests before login are such frames too.
    let mut early = rig.connect().await;
    for seq in 1..=3 {
        early.send(Command::MsgData, seq, &text(8, "early")).await;
    }
    early.expect_end().await;
}

#[tokio::test]
async fn heartbeats_beyond_their_rate_do_not_put_off_the_login_timeout() {
    let rig = Rig::start_with(MsgConfig {
        login_timeout: Span::millis(200),
        ..metered(MeterConfig {
            heartbeat: FEW,
            ..MeterConfig::default()
        })
    })
    .await;
    let mut client = rig.connect().await;
    client.raw(&im_codec::heartbeat(1).repeat(1_000)).await;
    let start = Instant::now();
    while client.frame().await.is_some() {}
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::LoginTimeout), 1);
}

#[tokio::test]
async fn what_others_are_told_counts_per_user_and_over_reconnects() {
    let slow = Rate {
        burst: 2,
        per_minute: 1,
    };
    let rig = Rig::start_with(metered(MeterConfig {
        kick: slow,
        ..MeterConfig::default()
    }))
    .await;
    let kicks = || {
        let route = rig.route().state();
        let kicks = route.calls.iter();
        kicks.filter(|call| matches!(call, Call::Kick(_))).count()
    };
    for round in 0..2 {
        let mut phone = rig.client(7, IOS).await;
        for seq in 1..=2 {
            let ask = ImKickPcClientReq { user_id: 7 };
            phone.send(Command::KickPcClientReq, seq, &ask).await;
        }
        if round == 0 {
            for seq in 1..=2 {
                let _: ImKickPcClientRsp = phone.expect(Command::KickPcClientRsp, seq).await;
            }
        } else {
            until("it is too early", || {
                rig.gateway.env.metrics.limits(Limit::Kick) == 1
            })
            .await;
        }
    }
    until("the first are told", || kicks() >= 1).await;
    assert!(kicks() <= 2);
    assert_eq!(rig.gateway.meters.len(), 1);
}

#[tokio::test]
async fn who_was_answered_too_much_asks_later_on_any_connection_and_loses_nothing() {
    const ANSWER: usize = 100 << 10;
    let rig = Rig::start_with(metered(MeterConfig {
        answers_burst: ByteSize::kib(250),
        answers_per_second: ByteSize::kib(100),
        ..MeterConfig::default()
    }))
    .await;
    rig.db.state().more = vec![vec![0; ANSWER].into()];
    let mut client = rig.client(7, WINDOWS).await;
    let mut other = rig.client(7, ANDROID).await;
    let start = Instant::now();
    let ask = ImAllUserReq::default();
    let limits = || rig.gateway.env.metrics.limits(Limit::Answers);
    for seq in 1..=3 {
        client.send(Command::AllUserReq, seq, &ask).await;
        for _ in 0..2 {
            assert_eq!(client.frame().await.unwrap().header.seq, seq);
        }
    }
    assert_eq!(limits(), 0, "300 KiB, and 250 are asked for at once");
    // Whoever asks nothing is not held up.
    client.send(Command::MsgData, 4, &text(8, "on")).await;
    client.expect_ack(4).await;
    for (seq, client) in [(5, &mut client), (6, &mut other)] {
        client.send(Command::AllUserReq, seq, &ask).await;
        for _ in 0..2 {
            assert_eq!(client.frame().await.unwrap().header.seq, seq);
        }
    }
    assert!(limits() >= 2, "both had to wait");
    // Before the last question 400 KiB were given, of which 150 were earned.
    assert!(start.elapsed() >= Duration::from_millis(1_450));
}

#[tokio::test]
async fn a_users_meter_is_forgotten_when_everything_is_earned_again() {
    let rig = Rig::start_with(metered(MeterConfig::default())).await;
    rig.db.state().wait_ms = 300;
    let mut client = rig.client(7, WINDOWS).await;
    client.send(Command::MsgData, 1, &text(8, "short")).await;
    client.expect_ack(1).await;
    assert_eq!(rig.gateway.meters.len(), 1);
    until("it is forgotten", || rig.gateway.meters.len() == 0).await;
}

#[tokio::test]
async fn who_has_stored_as_much_as_they_may_is_read_later_on_every_terminal() {
    let rig = Rig::start_with(metered(MeterConfig::default())).await;
    rig.db.state().wait_ms = 400;
    let mut phone = rig.client(7, IOS).await;
    let mut client = rig.client(7, WINDOWS).await;
    let mut other = rig.client(8, WINDOWS).await;
    let start = Instant::now();
    client.send(Command::MsgData, 1, &text(9, "first")).await;
    client.expect_ack(1).await;
    rig.db.state().wait_ms = 0;
    phone.send(Command::MsgData, 1, &text(9, "later")).await;
    other.send(Command::MsgData, 1, &text(9, "at once")).await;
    other.expect_ack(1).await;
    phone.expect_ack(1).await;
    assert!(start.elapsed() >= Duration::from_millis(390));
    assert!(rig.gateway.env.metrics.limits(Limit::Stored) >= 1);
    assert_eq!(rig.db.state().sends.len(), 3, "nothing is lost");
}

/// Writes frames that nobody answers as fast as the socket takes them, until told to stop.
fn flood(addr: std::net::SocketAddr, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut sock = std::net::TcpStream::connect(addr).unwrap();
        let frames = unknown().repeat(8_192);
        // Bounded in any case: 8 GiB.
        for _ in 0..65_536 {
            if stop.load(Ordering::Relaxed) || sock.write_all(&frames).is_err() {
                return;
            }
        }
    })
}

#[tokio::test]
async fn streams_that_never_end_let_others_go_first() {
    /// If all of them went before anything else, each hop of a message would wait for as many milliseconds.
    const STREAMS: usize = 48;
    // No meters: a stream is as fast as it can be, and there is one thread for everything.
    let rig = Rig::start_with(config()).await;
    let mut client = rig.client(7, WINDOWS).await;
    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..STREAMS)
        .map(|_| flood(rig.addr, Arc::clone(&stop)))
        .collect();
    until("turns end", || {
        rig.gateway.env.metrics.turns_ended.get() > 10 * STREAMS as u64
    })
    .await;
    let mut waits = Vec::new();
    for seq in 1..=50 {
        let start = Instant::now();
        client
            .send(Command::MsgData, seq, &text(8, "through"))
            .await;
        client.expect_ack(seq).await;
        waits.push(start.elapsed());
    }
    let mut newcomer = rig.client(9, WINDOWS).await;
    newcomer.expect_silence().await;
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        // The server must be able to read what is still written.
        let joined = tokio::task::spawn_blocking(move || flood.join());
        joined.await.unwrap().unwrap();
    }
    // The threads that write compete for the processor: half of the waits show what the server does.
    waits.sort_unstable();
    assert!(waits[25] < Duration::from_millis(40), "{waits:?}");
}
