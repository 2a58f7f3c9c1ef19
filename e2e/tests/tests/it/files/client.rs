//! A client at the file port, frame by frame, as the original clients are there.

use std::net::SocketAddr;

use bytes::Bytes;
use im_client::RawConn;
use im_e2e::terminal::WAIT;
use im_proto_teamtalk::base::{ClientFileRole, ClientFileState, IpAddr, TransferFileType};
use im_proto_teamtalk::file::{
    ImFileHasOfflineReq, ImFileHasOfflineRsp, ImFileLoginReq, ImFileLoginRsp, ImFileNotify,
    ImFilePullDataReq, ImFilePullDataRsp, ImFileReq, ImFileRsp, ImFileState,
};

use crate::support::*;

pub(crate) use ClientFileRole::{
    ClientOfflineDownload as Download, ClientOfflineUpload as Upload,
    ClientRealtimeRecver as Recver, ClientRealtimeSender as Sender,
};
pub(crate) use ClientFileState::{
    ClientFileCancel as Cancel, ClientFileDone as Done, ClientFilePeerReady as PeerReady,
    ClientFileRefuse as Refuse,
};
pub(crate) use TransferFileType::{FileTypeOffline as Offline, FileTypeOnline as Online};

/// What a block of a stored file has.
pub(crate) const BLOCK: u32 = 32_768;

/// A path as the Windows client sends it.
pub(crate) const NAME: &str = "C:/Users/Ann/Budget 2026.xlsx";

/// A file of so many bytes, none of which repeats its neighbours.
pub(crate) fn content(bytes: u32) -> Bytes {
    (0..bytes)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// Asks for a task.
pub(crate) async fn offer(
    sender: &mut Terminal,
    to: u32,
    size: u32,
    mode: TransferFileType,
) -> ImFileRsp {
    let request = ImFileReq {
        from_user_id: 0,
        to_user_id: to,
        file_name: NAME.to_owned(),
        file_size: size,
        trans_mode: mode.into(),
    };
    sender.ask(Command::FileReq, &request).await
}

/// Asks for a task, which must come.
pub(crate) async fn task(
    sender: &mut Terminal,
    to: u32,
    size: u32,
    mode: TransferFileType,
) -> ImFileRsp {
    let answer = offer(sender, to, size, mode).await;
    assert_eq!(answer.result_code, 0, "{answer:?}");
    assert_eq!((answer.to_user_id, answer.file_name.as_str()), (to, NAME));
    assert_eq!(answer.trans_mode, i32::from(mode));
    assert_eq!(answer.task_id.len(), 36, "a UUID: {}", answer.task_id);
    answer
}

/// The only address of an answer or a notice.
pub(crate) fn address(list: &[IpAddr]) -> SocketAddr {
    let [only] = list else {
        panic!("{list:?}");
    };
    format!("{}:{}", only.ip, only.port).parse().unwrap()
}

/// The next notice of a file.
pub(crate) async fn notice(receiver: &mut Terminal) -> ImFileNotify {
    receiver.push(Command::FileNotify).await
}

/// What waits for whoever asks.
pub(crate) async fn waiting(receiver: &mut Terminal) -> ImFileHasOfflineRsp {
    let request = ImFileHasOfflineReq {
        user_id: 0,
        attach_data: None,
    };
    receiver.ask(Command::FileHasOfflineReq, &request).await
}

/// One connection to the file port.
pub(crate) struct Peer {
    pub(crate) conn: RawConn,
    pub(crate) task: String,
    pub(crate) user: u32,
}

impl Peer {
    /// Connects, and says as whom it comes to which task; gives the result.
    pub(crate) async fn come(
        at: SocketAddr,
        task: &str,
        user: u32,
        role: ClientFileRole,
    ) -> (Self, u32) {
        let mut conn = RawConn::connect(&at.to_string()).await.unwrap();
        let request = ImFileLoginReq {
            user_id: user,
            task_id: task.to_owned(),
            file_role: role.into(),
        };
        conn.send(Command::FileLoginReq, 7, &request).await.unwrap();
        let frame = conn.recv(WAIT).await.unwrap();
        assert_eq!(frame.command(), Some(Command::FileLoginRsp));
        assert_eq!(frame.header.seq, 7, "that of the request");
        let answer: ImFileLoginRsp = body(&frame);
        assert_eq!(answer.task_id, task);
        let peer = Self {
            conn,
            task: task.to_owned(),
            user,
        };
        (peer, answer.result_code)
    }

    /// The same; it must be let in.
    pub(crate) async fn enter(at: SocketAddr, task: &str, user: u32, role: ClientFileRole) -> Self {
        let (peer, result) = Self::come(at, task, user, role).await;
        assert_eq!(result, 0, "{user} as {role:?}");
        peer
    }

    /// It must not be let in, and is closed.
    pub(crate) async fn refused(at: SocketAddr, task: &str, user: u32, role: ClientFileRole) {
        let (mut peer, result) = Self::come(at, task, user, role).await;
        assert_eq!(result, 1, "{user} as {role:?}");
        assert!(peer.closed().await.is_empty());
    }

    pub(crate) async fn send<M: TeamtalkMessage>(&mut self, command: Command, seq: u16, it: &M) {
        self.conn.send(command, seq, it).await.unwrap();
    }

    /// The next frame, which is this.
    pub(crate) async fn frame<M: TeamtalkMessage>(&mut self, command: Command) -> (u16, M) {
        let frame = self.conn.recv(WAIT).await.unwrap();
        assert_eq!(frame.command(), Some(command), "{frame:?}");
        (frame.header.seq, body(&frame))
    }

    /// A request for a block.
    pub(crate) fn request(
        &self,
        mode: TransferFileType,
        offset: u32,
        size: u32,
    ) -> ImFilePullDataReq {
        ImFilePullDataReq {
            task_id: self.task.clone(),
            user_id: self.user,
            trans_mode: mode.into(),
            offset,
            data_size: size,
        }
    }

    /// A block.
    pub(crate) fn block(&self, offset: u32, data: Bytes) -> ImFilePullDataRsp {
        ImFilePullDataRsp {
            result_code: 0,
            task_id: self.task.clone(),
            user_id: self.user,
            offset,
            file_data: data,
        }
    }

    /// Says what becomes of the transfer.
    pub(crate) async fn say(&mut self, state: ClientFileState) {
        let state = ImFileState {
            state: state.into(),
            task_id: self.task.clone(),
            user_id: self.user,
        };
        self.send(Command::FileState, 0, &state).await;
    }

    /// The next frame says this, and names this person.
    pub(crate) async fn told(&mut self, state: ClientFileState, user: u32) {
        let (_, told): (u16, ImFileState) = self.frame(Command::FileState).await;
        assert_eq!((told.state(), told.user_id), (state, user));
        assert_eq!(told.task_id, self.task);
    }

    /// Waits until the server closes; gives what came before.
    pub(crate) async fn closed(&mut self) -> Vec<Frame> {
        self.conn
            .wait_closed(WAIT)
            .await
            .expect("the server closes")
    }

    /// Answers the next request for a block of this file, as a sender does; gives the offset.
    pub(crate) async fn serve(&mut self, file: &Bytes) -> u32 {
        let (seq, asked): (u16, ImFilePullDataReq) = self.frame(Command::FilePullDataReq).await;
        let start = asked.offset as usize;
        let end = file.len().min(start + asked.data_size as usize);
        let block = self.block(asked.offset, file.slice(start..end));
        self.send(Command::FilePullDataRsp, seq, &block).await;
        asked.offset
    }

    /// Uploads what is left of a file until the server says that it has it.
    pub(crate) async fn upload(&mut self, file: &Bytes) {
        loop {
            let offset = self.serve(file).await;
            if file.len() <= (offset + BLOCK) as usize {
                break;
            }
        }
        self.told(Done, self.user).await;
        assert!(self.closed().await.is_empty());
    }

    /// Asks for the rest of a stored file from an offset on, as the Windows client does: first for 34 KiB,
    /// then for as much as came.
    pub(crate) async fn download(&mut self, sender: u32, from: u32, size: u32) -> Vec<u8> {
        let (mut all, mut wanted) = (Vec::new(), 34_816);
        let mut offset = from;
        while offset < size {
            let seq = 1 + (offset / BLOCK) as u16;
            let request = self.request(Offline, offset, wanted);
            self.send(Command::FilePullDataReq, seq, &request).await;
            let (answered, block): (u16, ImFilePullDataRsp) =
                self.frame(Command::FilePullDataRsp).await;
            assert_eq!(
                (answered, block.offset, block.result_code),
                (seq, offset, 0)
            );
            assert_eq!(block.user_id, self.user);
            wanted = block.file_data.len() as u32;
            offset += wanted;
            all.extend_from_slice(&block.file_data);
        }
        self.told(Done, sender).await;
        assert!(self.closed().await.is_empty());
        all
    }
}

/// Uploads a file for somebody; gives its task and where it is.
pub(crate) async fn stored(
    sender: &mut Terminal,
    from: u32,
    to: u32,
    file: &Bytes,
) -> (String, SocketAddr) {
    let answer = task(sender, to, file.len() as u32, Offline).await;
    let at = address(&answer.ip_addr_list);
    let mut peer = Peer::enter(at, &answer.task_id, from, Upload).await;
    peer.upload(file).await;
    (answer.task_id, at)
}
