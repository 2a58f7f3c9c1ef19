//! A bare client.

use std::net::IpAddr;

use tokio::net::TcpSocket;

use super::*;

pub(in crate::tests) struct Client {
    pub(in crate::tests) sock: TcpStream,
    buffer: BytesMut,
}

impl Client {
    pub(in crate::tests) async fn connect(addr: SocketAddr) -> Self {
        let sock = TcpStream::connect(addr).await.unwrap();
        Self {
            sock,
            buffer: BytesMut::new(),
        }
    }

    /// From an address of this machine.
    pub(in crate::tests) async fn connect_from(from: IpAddr, addr: SocketAddr) -> Self {
        let sock = TcpSocket::new_v4().unwrap();
        sock.bind((from, 0).into()).unwrap();
        Self {
            sock: sock.connect(addr).await.unwrap(),
            buffer: BytesMut::new(),
        }
    }

    pub(in crate::tests) async fn raw(&mut self, bytes: &[u8]) {
        self.sock.write_all(bytes).await.unwrap();
    }

    pub(in crate::tests) async fn send<M: TeamtalkMessage>(
        &mut self,
        command: Command,
        seq: u16,
        message: &M,
    ) {
        self.raw(&encode(command, seq, message)).await;
    }

    /// The next frame; `None` at the end of the stream.
    pub(in crate::tests) async fn frame(&mut self) -> Option<Frame> {
        let reading = async {
            loop {
                if let Some(frame) = next_frame(&mut self.buffer, DEFAULT_MAX_FROM_SERVER).unwrap()
                {
                    return Some(frame);
                }
                match self.sock.read_buf(&mut self.buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("a frame or the end in time")
    }

    /// The next frame must be this one.
    pub(in crate::tests) async fn expect<M: TeamtalkMessage>(
        &mut self,
        command: Command,
        seq: u16,
    ) -> M {
        let frame = self
            .frame()
            .await
            .unwrap_or_else(|| panic!("end instead of {command:?}"));
        assert_eq!(frame.command(), Some(command));
        assert_eq!(frame.header.seq, seq);
        assert_eq!(frame.header.service_id, command.service() as u16);
        im_codec::decode_checked(frame.body).unwrap()
    }

    pub(in crate::tests) async fn expect_message(&mut self) -> ImMsgData {
        self.expect(Command::MsgData, 0).await
    }

    pub(in crate::tests) async fn expect_ack(&mut self, seq: u16) -> ImMsgDataAck {
        self.expect(Command::MsgDataAck, seq).await
    }

    pub(in crate::tests) async fn expect_end(&mut self) {
        assert!(self.frame().await.is_none(), "a frame instead of the end");
    }

    /// Nothing has arrived before the answer to a heartbeat: whatever was ignored stays unanswered.
    pub(in crate::tests) async fn expect_silence(&mut self) {
        self.raw(&im_codec::heartbeat(0xbeef)).await;
        let frame = self.frame().await.expect("the heartbeat comes back");
        assert_eq!(
            (frame.command(), frame.header.seq),
            (Some(Command::HeartBeat), 0xbeef)
        );
    }
}
