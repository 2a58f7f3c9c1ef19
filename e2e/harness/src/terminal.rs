//! A bare terminal for tests of the protocol itself: the test decides about every frame it sends,
//! and every frame that the server sends is held against the rules for all of them.
//!
//! Frames that are not asked for yet are kept in order of their arrival. Notices about everybody
//! (presence, signatures, avatars) are kept apart, because other tests on the same platform cause
//! them too.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use im_client::{Password, Profile, RawConn, RawError};
use im_codec::{Command, Direction, Frame, TeamtalkMessage, decode_checked, validate};
use im_core::{ClientType, GroupId, Peer, UserId};
use im_proto_teamtalk::base::{MsgType, UserStat, UserStatType};
use im_proto_teamtalk::buddy::ImUserStatNotify;
use im_proto_teamtalk::login::{ImLoginReq, ImLoginRes};
use im_proto_teamtalk::message::{ImMsgData, ImMsgDataAck};
use tokio::time::Instant;

use crate::{fields, people};

/// Longest wait for a frame on a busy machine.
pub const WAIT: Duration = Duration::from_secs(20);

/// Holds a frame from the server against the rules for all frames: header
/// values, a known command that servers send, its service, all required fields, no undeclared
/// enumeration, never an empty body, no data of other servers, no sequence number in a push.
///
/// # Panics
/// When the frame breaks one.
pub fn assert_conforms(frame: &Frame) {
    conforms(frame, &MSG_SERVER);
}

/// What a msg or login server sends.
const MSG_SERVER: [Direction; 4] = [
    Direction::Answer,
    Direction::LoginToClient,
    Direction::Push,
    Direction::ClientAndMsg,
];
/// What a file server sends.
const FILE_SERVER: [Direction; 2] = [Direction::ClientAndFile, Direction::ClientAndMsg];

fn conforms(frame: &Frame, sent: &[Direction]) {
    let header = &frame.header;
    let Some(command) = header.command() else {
        panic!("the server sent an unknown command: {header:?}");
    };
    if command == Command::HeartBeat {
        return; // An echo has the header values of its request.
    }
    let name = command.name();
    assert_eq!(header.version, 1, "version of {name}");
    assert_eq!(header.flag, 0, "flag of {name}");
    assert_eq!(header.reserved, 0, "reserved of {name}");
    assert_eq!(
        header.service_id,
        command.service() as u16,
        "service of {name}"
    );
    assert!(
        sent.contains(&command.direction()),
        "{name} never goes from a server to a client"
    );
    assert!(!frame.body.is_empty(), "iOS drops the empty body of {name}");
    if let Err(violation) = validate(command.message(), &frame.body) {
        panic!("body of {name}: {violation}");
    }
    assert!(
        !has_attach_data(&frame.body),
        "{name} carries data of other servers"
    );
    if matches!(command.direction(), Direction::Push) {
        assert_eq!(header.seq, 0, "sequence number of the push {name}");
    }
}

/// Whether field 20 or 100 is there: the routing data of the original servers, and the message id
/// of our own clients.
fn has_attach_data(mut body: &[u8]) -> bool {
    std::iter::from_fn(|| fields::next(&mut body)).any(|(number, _)| matches!(number, 20 | 100))
}

/// The conversation with a user.
///
/// # Panics
/// For user 0.
pub fn with_user(id: u32) -> Peer {
    Peer::User(UserId::from_wire(id).expect("users count from 1"))
}

/// The conversation in a group.
///
/// # Panics
/// For group 0.
pub fn in_group(id: u32) -> Peer {
    Peer::Group(GroupId::from_wire(id).expect("groups count from 1"))
}

/// A text message as a client sends it, encrypted.
///
/// # Panics
/// For an empty text.
pub fn text_message(from: u32, to: Peer, text: &str) -> ImMsgData {
    let cipher = im_codec::text::TextCipher::default();
    let kind = match to {
        Peer::User(_) => MsgType::SingleText,
        Peer::Group(_) => MsgType::GroupText,
    };
    ImMsgData {
        from_user_id: from,
        to_session_id: to.session_id(),
        msg_id: 0,
        // As Mac and iOS: with a clock in it, a repetition is recognised over connections.
        create_time: 0,
        msg_type: kind.into(),
        msg_data: cipher
            .encrypt(text.as_bytes())
            .expect("text is not empty")
            .into(),
        ..ImMsgData::default()
    }
}

/// The clear text of a delivered message.
///
/// # Panics
/// When it is no text.
pub fn text_of(message: &ImMsgData) -> String {
    let cipher = im_codec::text::TextCipher::default();
    let text = cipher
        .decrypt(&message.msg_data)
        .expect("the body is a valid cipher text");
    String::from_utf8(text).expect("the test sends UTF-8")
}

/// A login request as the test wants it.
pub fn login_request(user: u32, kind: ClientType) -> ImLoginReq {
    ImLoginReq {
        user_name: people::name(user),
        password: Password::clear(people::PASSWORD).as_wire().to_owned(),
        online_status: UserStatType::UserStatusOnline.into(),
        client_type: i32::try_from(kind.to_wire()).unwrap_or_default(),
        client_version: Some("test".to_owned()),
        ..ImLoginReq::default()
    }
}

/// One connection under a test's control.
#[derive(Debug)]
pub struct Terminal {
    conn: RawConn,
    profile: Profile,
    /// What the server at the other end may send.
    sent: &'static [Direction],
    user: u32,
    seq: u16,
    held: VecDeque<Frame>,
    notices: VecDeque<Frame>,
}

impl Terminal {
    /// Connects and does nothing.
    ///
    /// # Panics
    /// As all methods: when the server does not do what the test needs.
    pub async fn connect(address: SocketAddr) -> Self {
        let conn = RawConn::connect(&address.to_string())
            .await
            .expect("connect");
        Self::new(conn)
    }

    /// The same from a local address of choice.
    pub async fn connect_from(address: SocketAddr, local: IpAddr) -> Self {
        let conn = RawConn::connect_from(&address.to_string(), local)
            .await
            .expect("connect");
        Self::new(conn)
    }

    /// Connects to a file server and does nothing.
    pub async fn at_file_server(address: SocketAddr) -> Self {
        Self {
            sent: &FILE_SERVER,
            ..Self::connect(address).await
        }
    }

    fn new(conn: RawConn) -> Self {
        Self {
            conn,
            profile: Profile::Own,
            sent: &MSG_SERVER,
            user: 0,
            seq: 100,
            held: VecDeque::new(),
            notices: VecDeque::new(),
        }
    }

    /// Sends with the header values of an original client from now on.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Connects and logs test person `user` in.
    pub async fn login(address: SocketAddr, user: u32, kind: ClientType) -> Self {
        let mut terminal = Self::connect(address).await;
        let answer = terminal.try_login(&login_request(user, kind)).await;
        assert_eq!(answer.result_code, 0, "login of u{user}: {answer:?}");
        terminal
    }

    /// Sends a login request and takes its answer, which must be the first frame of all.
    pub async fn try_login(&mut self, request: &ImLoginReq) -> ImLoginRes {
        let seq = self.next_seq();
        let frame = self.login_under(seq, request).await;
        decode_checked(frame.body).expect("login answer")
    }

    /// Sends a login request under a number of choice and takes its answer, which must be the first frame of
    /// all.
    pub async fn login_under(&mut self, seq: u16, request: &ImLoginReq) -> Frame {
        self.send_seq(Command::LoginReq, seq, request).await;
        let frame = self.conn.recv(WAIT).await.expect("login answer");
        assert_conforms(&frame);
        assert_eq!(
            frame.command(),
            Some(Command::LoginRes),
            "nothing precedes the login answer"
        );
        assert_eq!(frame.header.seq, seq, "the login answer echoes its number");
        let answer: ImLoginRes = decode_checked(frame.body.clone()).expect("login answer");
        self.user = answer.user_info.as_ref().map_or(0, |info| info.user_id);
        frame
    }

    /// Id of the logged-in user.
    pub fn user(&self) -> u32 {
        self.user
    }

    /// The connection below.
    pub fn raw(&mut self) -> &mut RawConn {
        &mut self.conn
    }

    /// A number that this terminal has not used yet.
    pub fn next_seq(&mut self) -> u16 {
        self.seq += 1;
        self.seq
    }

    /// Sends a message under a new number.
    pub async fn send<M: TeamtalkMessage>(&mut self, command: Command, message: &M) -> u16 {
        let seq = self.next_seq();
        self.send_seq(command, seq, message).await;
        seq
    }

    /// Sends a message under a number of choice.
    pub async fn send_seq<M: TeamtalkMessage>(&mut self, command: Command, seq: u16, message: &M) {
        let frame = self.profile.frame(command, seq, &message.encode_to_vec());
        self.send_bytes(&frame).await;
    }

    /// Sends bytes as they are.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.conn.send_bytes(bytes).await.expect("send");
    }

    async fn receive(&mut self, deadline: Instant) -> Result<Frame, RawError> {
        let frame = self.conn.recv_until(deadline).await?;
        conforms(&frame, self.sent);
        Ok(frame)
    }

    fn keep(&mut self, frame: Frame) {
        let about_everybody = matches!(
            frame.command(),
            Some(
                Command::UserStatNotify
                    | Command::SignInfoChangedNotify
                    | Command::AvatarChangedNotify
            )
        );
        let place = if about_everybody {
            &mut self.notices
        } else {
            &mut self.held
        };
        place.push_back(frame);
    }

    /// The first frame, already here or coming, that `wanted` picks; others are kept.
    pub async fn find(&mut self, what: &str, wanted: impl Fn(&Frame) -> bool) -> Frame {
        for place in [&mut self.held, &mut self.notices] {
            if let Some(at) = place.iter().position(&wanted)
                && let Some(frame) = place.remove(at)
            {
                return frame;
            }
        }
        let deadline = Instant::now() + WAIT;
        loop {
            match self.receive(deadline).await {
                Ok(frame) if wanted(&frame) => return frame,
                Ok(frame) => self.keep(frame),
                Err(error) => panic!("user {} waits for {what}: {error}", self.user),
            }
        }
    }

    /// The answer under this number; it must carry this command.
    pub async fn answer<Rsp: TeamtalkMessage>(&mut self, command: Command, seq: u16) -> Rsp {
        let frame = self
            .find(command.name(), |frame| {
                frame.header.seq == seq && frame.command() == Some(command)
            })
            .await;
        decode_checked(frame.body).expect("the body was validated")
    }

    /// Sends a request and takes its answer.
    pub async fn ask<Req: TeamtalkMessage, Rsp: TeamtalkMessage>(
        &mut self,
        command: Command,
        request: &Req,
    ) -> Rsp {
        let seq = self.send(command, request).await;
        let answer = command.answer().expect("the command has an answer");
        self.answer(answer, seq).await
    }

    /// The next push of this command.
    pub async fn push<M: TeamtalkMessage>(&mut self, command: Command) -> M {
        let frame = self
            .find(command.name(), |frame| {
                frame.header.seq == 0 && frame.command() == Some(command)
            })
            .await;
        decode_checked(frame.body).expect("the body was validated")
    }

    /// The next presence notice (0x0203) about this user.
    pub async fn presence_of(&mut self, user: u32) -> UserStat {
        let about = |frame: &Frame| match frame.command() {
            Some(Command::UserStatNotify) => decode_checked::<ImUserStatNotify>(frame.body.clone())
                .map(|notice| notice.user_stat),
            _ => Ok(UserStat::default()),
        };
        let frame = self
            .find("a presence notice", |frame| {
                about(frame).is_ok_and(|stat| stat.user_id == user)
            })
            .await;
        about(&frame).expect("the body was validated")
    }

    /// Waits until the server has read everything that this terminal sent, and takes what came
    /// meanwhile or before, except the notices about everybody.
    pub async fn settle(&mut self) -> Vec<Frame> {
        let seq = self.next_seq();
        self.send_bytes(&im_codec::heartbeat(seq)).await;
        let echo =
            |frame: &Frame| frame.command() == Some(Command::HeartBeat) && frame.header.seq == seq;
        self.find("the echo of a heartbeat", echo).await;
        self.held.drain(..).collect()
    }

    /// What came about everybody, up to now.
    pub fn take_notices(&mut self) -> Vec<Frame> {
        self.notices.drain(..).collect()
    }

    /// Waits until the server closes; what came before, except the notices about everybody.
    pub async fn closed(&mut self) -> Vec<Frame> {
        let frames = self
            .conn
            .wait_closed(WAIT)
            .await
            .expect("the server closes");
        for frame in frames {
            conforms(&frame, self.sent);
            self.keep(frame);
        }
        self.held.drain(..).collect()
    }

    /// Sends a text and takes the acknowledgement.
    pub async fn say(&mut self, to: Peer, text: &str) -> ImMsgDataAck {
        let message = text_message(self.user, to, text);
        self.ask(Command::MsgData, &message).await
    }

    /// The next delivered message.
    pub async fn message(&mut self) -> ImMsgData {
        self.push(Command::MsgData).await
    }

    /// Makes sure that whatever the platform had for this terminal has come: somebody sends it a
    /// text, and everything that was under way goes before it. Returns what came before.
    pub async fn fence(&mut self, from: &mut Self) -> Vec<Frame> {
        let ack = from.say(with_user(self.user), "a fence").await;
        let fence = |frame: &Frame| {
            frame.command() == Some(Command::MsgData)
                && decode_checked::<ImMsgData>(frame.body.clone()).is_ok_and(|message| {
                    message.from_user_id == ack.user_id
                        && message.msg_id == ack.msg_id
                        && message.msg_type == i32::from(MsgType::SingleText)
                })
        };
        self.find("a fence", fence).await;
        self.held.drain(..).collect()
    }
}
