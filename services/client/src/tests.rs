//! A client against a peer that says exactly what the test wants.

use std::net::SocketAddr;
use std::time::Duration;

use crate::{Client, ClientConfig, Error, Event, Events, Password, Profile, RawConn, dispatch};
use bytes::Bytes;
use im_codec::text::TextCipher;
use im_codec::{Command, Frame, TeamtalkMessage, decode_checked};
use im_core::{Peer, UserId};
use im_proto_teamtalk::base::{MsgType, UserInfo};
use im_proto_teamtalk::buddy::{ImAllUserReq, ImAllUserRsp};
use im_proto_teamtalk::login::{ImKickUser, ImLoginReq, ImLoginRes, ImMsgServRsp};
use im_proto_teamtalk::message::{ImClientTimeRsp, ImMsgData, ImMsgDataAck};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const SOON: Duration = Duration::from_secs(5);
const ALICE: u32 = 7;
const BOB: u32 = 9;

fn bob() -> Peer {
    Peer::User(UserId::from_wire(BOB).unwrap())
}

/// The server's side.
struct TestServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl TestServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new(self.address, "alice", Password::clear("123456"));
        let reconnect = config.reconnect.as_mut().unwrap();
        reconnect.first = Duration::from_millis(5);
        reconnect.longest = Duration::from_millis(20);
        config
    }

    async fn accept(&self) -> RawConn {
        let (stream, _) = self.listener.accept().await.unwrap();
        RawConn::new(stream)
    }

    /// Accepts a connection and answers its login; returns the login's header and body too.
    async fn session(&self) -> (RawConn, Frame, ImLoginReq) {
        let mut connection = self.accept().await;
        let frame = connection.recv(SOON).await.unwrap();
        assert_eq!(frame.command(), Some(Command::LoginReq));
        let request = decode_checked(frame.body.clone()).unwrap();
        let answer = login_answer(0);
        connection
            .send(Command::LoginRes, frame.header.seq, &answer)
            .await
            .unwrap();
        (connection, frame, request)
    }

    /// A client and its session.
    async fn connect(&self, config: ClientConfig) -> (Client, Events, RawConn) {
        let (client, (connection, _, _)) = tokio::join!(Client::connect(config), self.session());
        let (client, mut events) = client.unwrap();
        assert!(matches!(next(&mut events).await, Event::Connected { .. }));
        (client, events, connection)
    }
}

fn login_answer(result_code: i32) -> ImLoginRes {
    let user = UserInfo {
        user_id: ALICE,
        user_nick_name: "Alice".into(),
        ..UserInfo::default()
    };
    ImLoginRes {
        server_time: 1,
        result_code,
        result_string: Some("text".into()),
        online_status: (result_code == 0).then_some(1),
        user_info: (result_code == 0).then_some(user),
        ..ImLoginRes::default()
    }
}

async fn next(events: &mut Events) -> Event {
    tokio::time::timeout(SOON, events.recv())
        .await
        .expect("an event in time")
        .expect("the client lives")
}

async fn request<M: TeamtalkMessage>(server: &mut RawConn, command: Command) -> (u16, M) {
    let frame = server.recv(SOON).await.unwrap();
    assert_eq!(frame.command(), Some(command));
    (frame.header.seq, decode_checked(frame.body).unwrap())
}

async fn acknowledge(server: &mut RawConn, seq: u16, msg_id: u32) {
    let ack = ImMsgDataAck {
        user_id: ALICE,
        session_id: BOB,
        msg_id,
        session_type: 1,
    };
    server.send(Command::MsgDataAck, seq, &ack).await.unwrap();
}

#[tokio::test]
async fn requests_get_the_answers_with_their_numbers_whatever_comes_between() {
    let server = TestServer::start().await;
    let (client, mut events, mut connection) = server.connect(server.config()).await;
    assert_eq!(client.user_id(), ALICE);
    assert_eq!(client.user().user_nick_name, "Alice");

    let peer = async {
        let (users_seq, users): (_, ImAllUserReq) =
            request(&mut connection, Command::AllUserReq).await;
        assert_eq!((users.user_id, users.latest_update_time), (ALICE, 5));
        let time = connection.recv(SOON).await.unwrap();
        assert_ne!(time.header.seq, users_seq);
        let message = ImMsgData {
            from_user_id: BOB,
            to_session_id: ALICE,
            msg_id: 3,
            create_time: 2,
            msg_type: MsgType::SingleText as i32,
            msg_data: TextCipher::default().encrypt(b"hello").unwrap().into(),
            ..ImMsgData::default()
        };
        connection
            .send(Command::MsgData, 0, &message)
            .await
            .unwrap();
        let answer = ImClientTimeRsp { server_time: 77 };
        connection
            .send(Command::ClientTimeRsp, time.header.seq, &answer)
            .await
            .unwrap();
        let answer = ImAllUserRsp {
            user_id: ALICE,
            latest_update_time: 6,
            ..ImAllUserRsp::default()
        };
        connection
            .send(Command::AllUserRsp, users_seq, &answer)
            .await
            .unwrap();
    };
    let (users, time, ()) = tokio::join!(client.all_users(5), client.server_time(), peer);
    assert_eq!(users.unwrap().latest_update_time, 6);
    assert_eq!(time.unwrap(), 77);

    let Event::Message(message) = next(&mut events).await else {
        panic!("a message was pushed");
    };
    assert_eq!(message.peer(), Some(bob()));
    let text = client.cipher().decrypt(&message.data.msg_data).unwrap();
    assert_eq!(text, b"hello");
    client.close().await;
    assert!(matches!(
        connection.recv(SOON).await,
        Err(crate::RawError::Closed)
    ));
    assert!(matches!(
        next(&mut events).await,
        Event::Closed { error: None }
    ));
}

#[tokio::test]
async fn an_unacknowledged_message_is_sent_again_as_the_identical_frame_after_a_reconnect() {
    let server = TestServer::start().await;
    let (client, mut events, mut connection) = server.connect(server.config()).await;

    let first = client.post_text(bob(), "one").await.unwrap();
    let second = client.post_text(bob(), "two").await.unwrap();
    let frame_one = connection.recv(SOON).await.unwrap();
    let frame_two = connection.recv(SOON).await.unwrap();
    let sent: ImMsgData = decode_checked(frame_one.body.clone()).unwrap();
    assert_eq!(sent.client_msg_id.map(|id| id.len()), Some(16));
    acknowledge(&mut connection, frame_one.header.seq, 1).await;
    assert_eq!(first.await.unwrap().msg_id, 1);
    drop(connection);

    let (mut connection, _, _) = server.session().await;
    assert_eq!(connection.recv(SOON).await.unwrap(), frame_two);
    acknowledge(&mut connection, frame_two.header.seq, 2).await;
    assert_eq!(second.await.unwrap().msg_id, 2);
    assert!(matches!(
        next(&mut events).await,
        Event::Disconnected { .. }
    ));
    assert!(matches!(next(&mut events).await, Event::Connected { .. }));
}

#[tokio::test]
async fn a_request_waits_for_the_reconnect() {
    let server = TestServer::start().await;
    let (client, _events, connection) = server.connect(server.config()).await;
    drop(connection);
    client.wait_connected(false).await.unwrap();
    let peer = async {
        let (mut connection, _, _) = server.session().await;
        let frame = connection.recv(SOON).await.unwrap();
        let answer = ImClientTimeRsp { server_time: 5 };
        connection
            .send(Command::ClientTimeRsp, frame.header.seq, &answer)
            .await
            .unwrap();
        connection
    };
    let (time, _connection) = tokio::join!(client.server_time(), peer);
    assert_eq!(time.unwrap(), 5);
}

#[tokio::test]
async fn as_windows_it_repeats_a_message_once_on_the_same_connection_under_its_number() {
    let server = TestServer::start().await;
    let mut config = server.config().with_profile(Profile::Windows);
    config.sending.ack_timeout = Duration::from_millis(50);
    let (client, _events, mut connection) = server.connect(config).await;

    let sending = client.post_text(bob(), "one").await.unwrap();
    let behind = client.post_text(bob(), "two").await.unwrap();
    let frame = connection.recv(SOON).await.unwrap();
    let message: ImMsgData = decode_checked(frame.body.clone()).unwrap();
    assert_eq!(message.client_msg_id, None);
    assert_eq!(message.from_user_id, ALICE);
    assert_ne!(message.create_time, 0);
    assert_ne!(frame.header.seq, 0);
    assert_eq!(connection.recv(SOON).await.unwrap(), frame);
    assert!(matches!(sending.await, Err(Error::Unacknowledged)));
    assert!(matches!(behind.await, Err(Error::Unacknowledged)));

    // Other requests carry number 0, and the first answer belongs to the first request.
    let peer = async {
        let (seq, _): (_, ImAllUserReq) = request(&mut connection, Command::AllUserReq).await;
        assert_eq!(seq, 0);
        let answer = ImAllUserRsp::default();
        connection
            .send(Command::AllUserRsp, 0, &answer)
            .await
            .unwrap();
    };
    let (users, ()) = tokio::join!(client.all_users(0), peer);
    users.unwrap();
}

#[tokio::test]
async fn as_ios_it_marks_its_frames_and_confirms_what_it_receives() {
    let server = TestServer::start().await;
    let config = server.config().with_profile(Profile::Ios);
    let (connecting, (mut connection, login, request)) =
        tokio::join!(Client::connect(config), server.session());
    let (_client, _events) = connecting.unwrap();
    assert_eq!((login.header.version, login.header.reserved), (13, 1));
    assert_eq!(request.client_type, 0x11);
    assert_eq!(request.password, "e10adc3949ba59abbe56e057f20f883e");

    let message = ImMsgData {
        from_user_id: BOB,
        to_session_id: ALICE,
        msg_id: 3,
        create_time: 2,
        msg_type: MsgType::SingleText as i32,
        msg_data: Bytes::from_static(b"x"),
        ..ImMsgData::default()
    };
    connection
        .send(Command::MsgData, 0, &message)
        .await
        .unwrap();
    let receipt: ImMsgDataAck = connection.expect(Command::MsgDataAck, SOON).await.unwrap();
    assert_eq!((receipt.session_id, receipt.msg_id), (BOB, 3));
}

#[tokio::test]
async fn a_kicked_client_stays_offline() {
    let server = TestServer::start().await;
    let (client, mut events, mut connection) = server.connect(server.config()).await;
    let kick = ImKickUser {
        user_id: ALICE,
        kick_reason: 1,
    };
    connection.send(Command::KickUser, 0, &kick).await.unwrap();
    assert!(matches!(next(&mut events).await, Event::Kick { reason: 1 }));
    assert!(matches!(
        next(&mut events).await,
        Event::Closed {
            error: Some(Error::Kicked { reason: 1 })
        }
    ));
    client.ended().await;
    assert!(matches!(client.server_time().await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_refused_login_is_told_with_its_code() {
    let server = TestServer::start().await;
    let peer = async {
        let mut connection = server.accept().await;
        let frame = connection.recv(SOON).await.unwrap();
        let answer = login_answer(6);
        connection
            .send(Command::LoginRes, frame.header.seq, &answer)
            .await
            .unwrap();
        connection
    };
    let (outcome, _connection) = tokio::join!(Client::connect(server.config()), peer);
    assert!(matches!(outcome, Err(Error::Refused { code: 6, .. })));
}

#[tokio::test]
async fn a_busy_server_says_when_to_come_again() {
    let server = TestServer::start().await;
    let peer = async {
        let mut connection = server.accept().await;
        let frame = connection.recv(SOON).await.unwrap();
        let request: ImLoginReq = decode_checked(frame.body.clone()).unwrap();
        assert_eq!(request.features, Some(1));
        let answer = ImLoginRes {
            retry_after_ms: Some(1_500),
            ..login_answer(2)
        };
        connection
            .send(Command::LoginRes, frame.header.seq, &answer)
            .await
            .unwrap();
        connection
    };
    let (outcome, _connection) = tokio::join!(Client::connect(server.config()), peer);
    let Err(error) = outcome else {
        panic!("the login was refused");
    };
    assert!(error.is_retryable());
    assert!(matches!(error, Error::Busy { retry_after } if retry_after.as_millis() == 1_500));
}

#[tokio::test]
async fn heartbeats_are_sent_and_silence_means_a_lost_connection() {
    let server = TestServer::start().await;
    let mut config = server.config();
    config.heartbeats.interval = Duration::from_millis(20);
    config.heartbeats.silence = Some(Duration::from_millis(200));
    let (_client, mut events, mut connection) = server.connect(config).await;
    let beat = connection.recv(SOON).await.unwrap();
    assert_eq!(beat.command(), Some(Command::HeartBeat));
    connection.send_bytes(&beat.to_bytes()).await.unwrap();
    assert!(matches!(
        next(&mut events).await,
        Event::Disconnected {
            error: Error::Timeout,
            ..
        }
    ));
}

#[tokio::test]
async fn the_dispatcher_is_asked_over_http_and_over_the_binary_port() {
    let server = TestServer::start().await;
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", http.local_addr().unwrap());
    let port = server.address.port();
    let dispatcher = async {
        let (mut stream, _) = http.accept().await.unwrap();
        let mut request = [0; 1024];
        let read = stream.read(&mut request).await.unwrap();
        assert!(request[..read].starts_with(b"GET /msg_server HTTP/1.1\r\n"));
        let body = format!(
            "{{\"code\":0,\"priorIP\":\"127.0.0.1\",\"backupIP\":\"127.0.0.1\",\"port\":\"{port}\"}}"
        );
        let answer = format!("HTTP/1.1 200 OK\r\nConnection:close\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    };
    let mut config = server.config();
    config.server = url.into();
    let (client, (), _session) =
        tokio::join!(Client::connect(config), dispatcher, server.session());
    assert_eq!(
        client.unwrap().0.server_address(),
        server.address.to_string()
    );

    let binary = async {
        let mut connection = server.accept().await;
        let frame = connection.recv(SOON).await.unwrap();
        assert_eq!(frame.command(), Some(Command::MsgServReq));
        let answer = ImMsgServRsp {
            result_code: 0,
            prior_ip: Some("10.0.0.1".into()),
            backip_ip: None,
            port: Some(8000),
        };
        connection
            .send(Command::MsgServRsp, frame.header.seq, &answer)
            .await
            .unwrap();
    };
    let address = server.address.to_string();
    let (endpoint, ()) = tokio::join!(dispatch::lookup_binary(&address, SOON), binary);
    assert_eq!(endpoint.unwrap().address(), "10.0.0.1:8000");
}
