//! People who chat over connections that they opened before the attack.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use im_client::{Password, RawConn, RawError};
use im_codec::{Command, decode_checked, encode, heartbeat};
use im_core::ClientType;
use im_proto_teamtalk::message::{ImMsgData, ImMsgDataAck};
use tokio::runtime::Handle;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::source;
use crate::people;
use crate::terminal::{text_message, with_user};

/// Pairs of bystanders, users 1 and 2, 3 and 4.
const PAIRS: u32 = 2;
/// Time between two messages of a pair.
const PAUSE: Duration = Duration::from_millis(60);
/// After so long a wait an acknowledgement counts as missing.
const PATIENCE: Duration = Duration::from_secs(12);
/// How often receivers send something, as original clients do.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Time for the last messages to reach their receivers.
const DELIVERY: Duration = Duration::from_secs(3);

/// What bystanders have seen.
#[derive(Clone, Debug, Default)]
pub struct Chat {
    /// Time of each acknowledgement.
    pub acks: Vec<Duration>,
    /// What else happened that should not.
    pub troubles: Vec<String>,
    /// Acknowledged and not delivered: pair and message.
    pub undelivered: BTreeSet<(u32, u32)>,
}

impl Chat {
    /// The share `share` of acknowledgements took no longer.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a short list"
    )]
    pub fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.acks.clone();
        sorted.sort_unstable();
        let at = (sorted.len() as f64 * share) as usize;
        let last = sorted.len().saturating_sub(1);
        sorted.get(at.min(last)).copied().unwrap_or_default()
    }

    /// What must not be.
    pub(super) fn faults(&self, slowest: Duration) -> Vec<String> {
        let mut faults = self.troubles.clone();
        if self.acks.is_empty() {
            faults.push("bystanders never got an acknowledgement".to_owned());
        }
        let most = self.quantile(1.0);
        if most > slowest {
            faults.push(format!("an acknowledgement took {most:?}"));
        }
        if !self.undelivered.is_empty() {
            faults.push(format!(
                "{} acknowledged messages were not delivered",
                self.undelivered.len()
            ));
        }
        faults
    }
}

impl fmt::Display for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, all] = [0.5, 0.99, 1.0].map(|share| self.quantile(share));
        write!(
            f,
            "{} acks, p50 {half:.1?}, p99 {most:.1?}, max {all:.1?}, {} troubles",
            self.acks.len(),
            self.troubles.len()
        )
    }
}

/// Everybody's notes. `undelivered` holds ids that only one side has seen yet.
#[derive(Clone, Debug, Default)]
struct Notes(Arc<Mutex<Chat>>);

impl Notes {
    fn open(&self) -> MutexGuard<'_, Chat> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acknowledged or delivered: the second of the two settles it.
    fn seen(&self, pair: u32, message: u32) {
        let mut chat = self.open();
        if !chat.undelivered.remove(&(pair, message)) {
            chat.undelivered.insert((pair, message));
        }
    }
}

/// The running pairs.
#[derive(Debug)]
pub(super) struct Bystanders {
    notes: Notes,
    quiet: CancellationToken,
    away: CancellationToken,
    speakers: TaskTracker,
    /// Held for reading while a message is under way.
    floor: Arc<RwLock<()>>,
}

impl Bystanders {
    /// Logs them in and lets them chat.
    pub(super) async fn start(runtime: &Handle, msg: SocketAddr) -> Self {
        let this = Self {
            notes: Notes::default(),
            quiet: CancellationToken::new(),
            away: CancellationToken::new(),
            speakers: TaskTracker::new(),
            floor: Arc::default(),
        };
        for pair in 0..PAIRS {
            let users = [1, 2].map(|n| 2 * pair + n);
            let conns = runtime.spawn(async move {
                let [speaker, listener] = users.map(|user| log_in(msg, user));
                tokio::try_join!(speaker, listener)
            });
            let (speaker, listener) = conns
                .await
                .expect("a login runs")
                .expect("a bystander logs in");
            let [_, to] = users;
            let speaker = Speaker {
                pair,
                msg,
                conn: speaker,
                to,
                notes: this.notes.clone(),
                quiet: this.quiet.clone(),
                floor: Arc::clone(&this.floor),
            };
            this.speakers.spawn_on(speak(speaker), runtime);
            runtime.spawn(listen(
                pair,
                listener,
                this.notes.clone(),
                this.away.clone(),
            ));
        }
        this
    }

    /// What has been seen up to now.
    pub(super) fn chat(&self) -> Chat {
        self.notes.open().clone()
    }

    /// Nothing is said for as long as this is held; what was said is acknowledged before.
    pub(super) async fn silence(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.floor).write_owned().await
    }

    /// Ends the chat when everything sent is acknowledged or given up, and delivered.
    pub(super) async fn finish(&self) -> Chat {
        self.quiet.cancel();
        self.speakers.close();
        self.speakers.wait().await;
        let deadline = Instant::now() + DELIVERY;
        while !self.notes.open().undelivered.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.away.cancel();
        self.chat()
    }
}

async fn log_in(msg: SocketAddr, user: u32) -> Result<RawConn, RawError> {
    let from = IpAddr::V4(source(2, u8::try_from(user).unwrap_or(u8::MAX)));
    let mut conn = RawConn::connect_from(&msg.to_string(), from).await?;
    let password = Password::clear(people::PASSWORD);
    conn.login(
        &people::name(user),
        &password,
        ClientType::Windows,
        PATIENCE,
    )
    .await?;
    Ok(conn)
}

struct Speaker {
    pair: u32,
    msg: SocketAddr,
    conn: RawConn,
    to: u32,
    notes: Notes,
    quiet: CancellationToken,
    floor: Arc<RwLock<()>>,
}

async fn speak(speaker: Speaker) {
    let Speaker {
        pair,
        msg,
        mut conn,
        to,
        notes,
        quiet,
        floor,
    } = speaker;
    let user = to - 1;
    let mut seq = 1_u16;
    while !quiet.is_cancelled() {
        seq = seq.wrapping_add(1).max(1);
        let turn = floor.read().await;
        let begin = Instant::now();
        match say(&mut conn, user, to, seq).await {
            Ok(id) => {
                notes.open().acks.push(begin.elapsed());
                notes.seen(pair, id);
            }
            Err(error) => {
                let after = begin.elapsed();
                let trouble = format!("user {user}: no acknowledgement after {after:.1?}: {error}");
                notes.open().troubles.push(trouble);
                match log_in(msg, user).await {
                    Ok(new) => conn = new,
                    Err(error) => {
                        let trouble = format!("user {user} does not come back: {error}");
                        notes.open().troubles.push(trouble);
                    }
                }
            }
        }
        drop(turn);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn say(conn: &mut RawConn, from: u32, to: u32, seq: u16) -> Result<u32, RawError> {
    let text = text_message(from, with_user(to), &format!("bystander {seq}"));
    let deadline = Instant::now() + PATIENCE;
    conn.send_bytes(&encode(Command::MsgData, seq, &text))
        .await?;
    loop {
        let frame = conn.recv_until(deadline).await?;
        if frame.command() == Some(Command::MsgDataAck) && frame.header.seq == seq {
            return Ok(decode_checked::<ImMsgDataAck>(frame.body)?.msg_id);
        }
    }
}

async fn listen(pair: u32, mut conn: RawConn, notes: Notes, away: CancellationToken) {
    let mut beat = Instant::now() + HEARTBEAT;
    loop {
        let Some(frame) = away.run_until_cancelled(conn.recv_until(beat)).await else {
            return;
        };
        let frame = match frame {
            // Silent for two minutes it would be closed, and rightly.
            Err(RawError::Timeout) => {
                beat += HEARTBEAT;
                match conn.send_bytes(&heartbeat(0)).await {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                }
            }
            frame => frame,
        };
        match frame {
            Ok(frame) if frame.command() == Some(Command::MsgData) => {
                // Attackers may write to everybody as well.
                if let Ok(message) = decode_checked::<ImMsgData>(frame.body)
                    && message.from_user_id == 2 * pair + 1
                {
                    notes.seen(pair, message.msg_id);
                }
            }
            Ok(_) => {}
            Err(error) => {
                let trouble = format!("user {}: cut off: {error}", 2 * pair + 2);
                notes.open().troubles.push(trouble);
                return;
            }
        }
    }
}
