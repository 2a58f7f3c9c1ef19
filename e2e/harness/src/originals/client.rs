//! One original client: its header, its numbers, and what it makes of what comes.

use std::net::SocketAddr;

use im_client::{Password, Profile};
use im_codec::{ANDROID_MAX_FRAME, Command, Frame, HEADER_LEN, TeamtalkMessage, decode_checked};
use im_core::time::UnixSeconds;
use im_core::{ClientType, Peer};
use im_proto_teamtalk::base::{MsgType, UserInfo, UserStatType};
use im_proto_teamtalk::login::{ImLoginReq, ImLoginRes};
use im_proto_teamtalk::message::ImMsgData;

use super::Script;
use crate::people;
use crate::terminal::Terminal;

/// The Android client's highest number.
const ANDROID_LAST: u16 = 32_766;
/// Where the message numbers of this Windows client begin; the original takes any up to 1,000.
const WINDOWS_MESSAGES: u16 = 417;

/// A client of the scripts. All methods panic when the server does not do what the description says.
#[derive(Debug)]
pub struct Original {
    script: Script,
    profile: Profile,
    terminal: Terminal,
    user: u32,
    requests: u16,
    logins: u16,
    messages: u16,
}

impl Original {
    /// Connects to a msg server.
    pub async fn connect(script: &Script, profile: Profile, address: SocketAddr) -> Self {
        let terminal = Terminal::connect(address).await;
        Self::new(script, profile, terminal, 0)
    }

    /// Connects to a file server, as somebody who has logged in elsewhere.
    pub async fn at_file_server(&self, address: SocketAddr) -> Self {
        let terminal = Terminal::at_file_server(address).await;
        Self::new(&self.script, self.profile, terminal, self.user)
    }

    fn new(script: &Script, profile: Profile, terminal: Terminal, user: u32) -> Self {
        Self {
            script: script.clone(),
            profile,
            terminal: terminal.with_profile(profile),
            user,
            requests: 0,
            logins: 0,
            messages: WINDOWS_MESSAGES,
        }
    }

    /// The conversation that it is part of.
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// Its user's id.
    pub fn user(&self) -> u32 {
        self.user
    }

    /// The name by which the records know it.
    fn name(&self) -> &'static str {
        match self.profile {
            Profile::Own => "own",
            Profile::Windows => "Windows",
            Profile::Mac => "Mac",
            Profile::Ios => "iOS",
            Profile::Android => "Android",
        }
    }

    /// The user id in its requests: Mac and iOS leave it out, and the session's user counts.
    pub fn named(&self) -> u32 {
        match self.profile {
            Profile::Mac | Profile::Ios => 0,
            _ => self.user,
        }
    }

    /// The number of its next request.
    fn number(&mut self, command: Command) -> u16 {
        match (self.profile, command) {
            (Profile::Windows, Command::LoginReq) => {
                self.logins += 1;
                self.logins
            }
            (Profile::Windows, Command::MsgData) => {
                self.messages += 1;
                self.messages
            }
            (Profile::Windows, _) => 0,
            (Profile::Android, _) => {
                self.requests = self.requests % ANDROID_LAST + 1;
                self.requests
            }
            _ => {
                self.requests = self.requests.wrapping_add(1);
                self.requests
            }
        }
    }

    /// Logs a test person in; nothing may come before the answer, which has this record.
    pub async fn log_in(&mut self, info: &UserInfo) {
        let (kind, version) = match self.profile {
            Profile::Windows | Profile::Own => (ClientType::Windows, "win_10086"),
            Profile::Mac => (ClientType::Mac, "MAC/1.2-17"),
            Profile::Ios => (ClientType::Ios, "MAC/1.2-17"),
            Profile::Android => (ClientType::Android, "1.0.0"),
        };
        let request = ImLoginReq {
            user_name: info.user_real_name.clone(),
            password: Password::clear(people::PASSWORD).as_wire().to_owned(),
            online_status: UserStatType::UserStatusOnline.into(),
            client_type: i32::try_from(kind.to_wire()).unwrap_or_default(),
            client_version: Some(version.to_owned()),
            features: None,
        };
        let seq = self.number(Command::LoginReq);
        self.script
            .record()
            .sent(Command::LoginReq.id(), self.name());
        let frame = self.terminal.login_under(seq, &request).await;
        let script = self.script.clone();
        let expected = |got: &ImLoginRes| ImLoginRes {
            server_time: script.now(got.server_time),
            result_code: 0,
            result_string: Some("成功".to_owned()),
            online_status: Some(UserStatType::UserStatusOnline.into()),
            user_info: Some(info.clone()),
            retry_after_ms: None,
        };
        self.compare(Command::LoginRes, frame, expected);
        self.user = info.user_id;
    }

    /// Sends under the next number.
    pub async fn send<M: TeamtalkMessage>(&mut self, command: Command, message: &M) -> u16 {
        let seq = self.number(command);
        self.send_under(command, seq, message).await;
        seq
    }

    /// Sends under a number of choice: a tag, or that of a frame that is sent again.
    pub async fn send_under<M: TeamtalkMessage>(
        &mut self,
        command: Command,
        seq: u16,
        message: &M,
    ) {
        self.script.record().sent(command.id(), self.name());
        self.terminal.send_seq(command, seq, message).await;
    }

    /// Sends what no protocol file has: a service, a number and a body.
    pub async fn send_stray(&mut self, service: u16, number: u16, body: &[u8]) {
        let seq = self.number(Command::HeartBeat);
        let header = im_codec::Header {
            service_id: service,
            command_id: number,
            ..self.profile.header(Command::HeartBeat, seq, body.len())
        };
        self.script.record().sent(number, self.name());
        let frame = [&header.to_bytes()[..], body].concat();
        self.terminal.send_bytes(&frame).await;
    }

    /// Takes the answer under this number, which must be what is expected. The expected message may take
    /// from the answer only what it has checked by itself, such as a time.
    pub async fn answer<M: TeamtalkMessage + PartialEq>(
        &mut self,
        command: Command,
        seq: u16,
        expected: impl FnOnce(&M) -> M,
    ) -> M {
        let fits = |frame: &Frame| frame.header.seq == seq && frame.command() == Some(command);
        let frame = self.terminal.find(command.name(), fits).await;
        self.compare(command, frame, expected)
    }

    /// Sends a request and takes its answer.
    pub async fn ask<Req: TeamtalkMessage, Rsp: TeamtalkMessage + PartialEq>(
        &mut self,
        command: Command,
        request: &Req,
        expected: impl FnOnce(&Rsp) -> Rsp,
    ) -> Rsp {
        let seq = self.send(command, request).await;
        let answer = command.answer().expect("the command has an answer");
        self.answer(answer, seq, expected).await
    }

    /// The next notice of this command.
    pub async fn notice<M: TeamtalkMessage + PartialEq>(
        &mut self,
        command: Command,
        expected: impl FnOnce(&M) -> M,
    ) -> M {
        self.answer(command, 0, expected).await
    }

    /// The next notice of this command that is about what `wanted` says: others tell of other people.
    pub async fn notice_of<M: TeamtalkMessage + PartialEq>(
        &mut self,
        command: Command,
        wanted: impl Fn(&M) -> bool,
        expected: M,
    ) {
        let fits = |frame: &Frame| {
            frame.command() == Some(command)
                && decode_checked::<M>(frame.body.clone()).is_ok_and(|it| wanted(&it))
        };
        let frame = self.terminal.find(command.name(), fits).await;
        assert_eq!(frame.header.seq, 0, "number of a notice");
        self.compare(command, frame, |_| expected);
    }

    fn compare<M: TeamtalkMessage + PartialEq>(
        &mut self,
        command: Command,
        frame: Frame,
        expected: impl FnOnce(&M) -> M,
    ) -> M {
        if self.profile == Profile::Android {
            let length = HEADER_LEN + frame.body.len();
            assert!(length <= ANDROID_MAX_FRAME, "{length} bytes for Android");
        }
        let body = frame.body.clone();
        let got: M = decode_checked(frame.body).expect("the body was validated");
        let wanted = expected(&got);
        assert_eq!(got, wanted, "{} at {}", command.name(), self.name());
        self.script.record().compared(command, self.name(), &body);
        got
    }

    /// Sends a heartbeat and takes its echo, which has the same bytes.
    pub async fn beat(&mut self) {
        let seq = self.number(Command::HeartBeat);
        let beat = self.profile.frame(Command::HeartBeat, seq, &[]);
        self.script
            .record()
            .sent(Command::HeartBeat.id(), self.name());
        self.terminal.send_bytes(&beat).await;
        let fits = |it: &Frame| it.command() == Some(Command::HeartBeat) && it.header.seq == seq;
        let echo = self.terminal.find("the echo of a heartbeat", fits).await;
        assert_eq!(echo.to_bytes(), beat, "an echo is unchanged");
        self.script
            .record()
            .compared(Command::HeartBeat, self.name(), &[]);
    }

    /// A message as this client makes it.
    pub fn message(&self, to: Peer, kind: MsgType, data: Vec<u8>) -> ImMsgData {
        let has_clock = matches!(self.profile, Profile::Windows | Profile::Android);
        ImMsgData {
            from_user_id: match self.profile {
                Profile::Ios => 0,
                _ => self.user,
            },
            to_session_id: to.session_id(),
            msg_id: 0,
            create_time: if has_clock {
                UnixSeconds::now().get()
            } else {
                0
            },
            msg_type: kind.into(),
            msg_data: data.into(),
            attach_data: None,
            client_msg_id: None,
        }
    }

    /// Waits for the end of the connection: nothing else may have come but these, which this client does
    /// not know or which were not taken.
    pub async fn closed(&mut self, other: &[Command]) {
        let frames = self.terminal.closed().await;
        self.only(&frames, other);
    }

    /// Nothing may have come up to now but what was taken, notices about everybody, and these, which this
    /// client does not know.
    pub async fn nothing_but(&mut self, other: &[Command]) {
        let frames = self.terminal.settle().await;
        self.only(&frames, other);
    }

    fn only(&self, frames: &[Frame], other: &[Command]) {
        let known = frames.iter().filter_map(Frame::command);
        let more: Vec<Command> = known.filter(|it| !other.contains(it)).collect();
        assert_eq!(more, [], "more than was expected at {}", self.name());
    }
}
