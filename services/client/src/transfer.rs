//! Files at a file server: a connection of its own for each, to which a client comes with the task that its
//! msg server gave it.
//!
//! Whoever has the file answers requests for blocks ([`give`]); whoever gets it asks for one block after
//! the other ([`take`]). One block is in memory at a time, whatever the file has.

use std::io::{self, SeekFrom};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use im_codec::{Command, DecodeError, Frame, TeamtalkMessage, decode_checked};
use im_proto_teamtalk::base::{ClientFileRole, ClientFileState, IpAddr, TransferFileType};
use im_proto_teamtalk::file::{
    ImFileLoginReq, ImFileLoginRsp, ImFilePullDataReq, ImFilePullDataRsp, ImFileState,
};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncSeek, AsyncSeekExt as _, AsyncWrite, AsyncWriteExt as _,
};
use tokio::time::Instant;

use crate::raw::{RawConn, RawError};

/// Longest block that is asked for, bytes: what a file server gives of a stored file at a time.
const BLOCK: u32 = 32_768;
/// Longest block that is given, bytes, however much is asked for.
const MAX_GIVEN: u32 = 48 * 1024;
/// Time from one sign of life to the next, as the original clients give them.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Time for a file server to close a connection after the last word.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A file that is to be carried over a file server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Where the file server is, `host:port`.
    pub address: String,
    /// What the msg server calls it.
    pub task_id: String,
    /// Who comes with it.
    pub user_id: u32,
    /// Passed on from person to person, or stored in between.
    pub mode: TransferFileType,
    /// Length of the file, bytes.
    pub size: u32,
}

impl Transfer {
    /// The first of the addresses that a msg server told, as [`Transfer::address`]; nothing when there is none
    /// that can be dialed.
    pub fn first_address(told: &[IpAddr]) -> Option<String> {
        let first = told.first()?;
        let port = u16::try_from(first.port).ok()?;
        Some(if first.ip.contains(':') {
            format!("[{}]:{port}", first.ip)
        } else {
            format!("{}:{port}", first.ip)
        })
    }

    fn is_direct(&self) -> bool {
        self.mode == TransferFileType::FileTypeOnline
    }
}

/// Why a file did not arrive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The file server cannot be reached, or ended the connection.
    #[error("use file server")]
    Server(#[source] RawError),
    /// The task is over, or not for this person.
    #[error("the file server knows no such file for you any more")]
    NotLetIn,
    /// The other side does not want the file.
    #[error("the other side refused the file")]
    Refused,
    /// The other side gave up.
    #[error("the other side gave up")]
    Cancelled,
    /// The other side did nothing for this long.
    #[error("the other side did not go on for {} s", .0.as_secs())]
    Late(Duration),
    /// The file here cannot be read or written.
    #[error("use file")]
    File(#[source] io::Error),
    /// The other side breaks the protocol.
    #[error("the other side {0}")]
    Protocol(&'static str),
}

impl From<RawError> for TransferError {
    fn from(error: RawError) -> Self {
        Self::Server(error)
    }
}

impl From<DecodeError> for TransferError {
    fn from(error: DecodeError) -> Self {
        Self::Server(RawError::Decode(error))
    }
}

/// Gives a file to whoever asks for its blocks: the receiver of a direct transfer, or the server that stores
/// it. Returns when the other side has all of it.
///
/// # Errors
/// The task is not there, the other side refuses, gives up or does nothing for `patience`, or the source has
/// fewer bytes than were announced.
pub async fn give<R>(
    transfer: &Transfer,
    source: &mut R,
    patience: Duration,
) -> Result<(), TransferError>
where
    R: AsyncRead + AsyncSeek + Unpin,
{
    let role = if transfer.is_direct() {
        ClientFileRole::ClientRealtimeSender
    } else {
        ClientFileRole::ClientOfflineUpload
    };
    let mut there = Connection::come(transfer, role, patience).await?;
    loop {
        let frame = there.next(patience).await?;
        if frame.command() != Some(Command::FilePullDataReq) {
            match state(frame)? {
                Some(ClientFileState::ClientFileDone) => return Ok(()),
                _ => continue,
            }
        }
        let seq = frame.header.seq;
        let asked: ImFilePullDataReq = decode_checked(frame.body)?;
        let left = transfer.size.saturating_sub(asked.offset);
        let length = asked.data_size.min(left).min(MAX_GIVEN);
        if length == 0 {
            return Err(TransferError::Protocol("asks for what the file has not"));
        }
        let data = match read(source, asked.offset, length).await {
            Ok(data) => data,
            Err(error) => {
                there.say(ClientFileState::ClientFileCancel).await?;
                return Err(TransferError::File(error));
            }
        };
        let block = ImFilePullDataRsp {
            result_code: 0,
            task_id: transfer.task_id.clone(),
            user_id: transfer.user_id,
            offset: asked.offset,
            file_data: data,
        };
        there.send(Command::FilePullDataRsp, seq, &block).await?;
    }
}

async fn read<R>(source: &mut R, offset: u32, length: u32) -> io::Result<Bytes>
where
    R: AsyncRead + AsyncSeek + Unpin,
{
    source.seek(SeekFrom::Start(offset.into())).await?;
    let mut data = BytesMut::zeroed(usize::try_from(length).unwrap_or(usize::MAX));
    source.read_exact(&mut data).await?;
    Ok(data.freeze())
}

/// Takes a file, block by block: from its sender, or from the server that stores it.
///
/// # Errors
/// The task is not there, the other side gives up, does nothing for `patience` or sends what was not asked
/// for, or the sink takes no more.
pub async fn take<W>(
    transfer: &Transfer,
    sink: &mut W,
    patience: Duration,
) -> Result<(), TransferError>
where
    W: AsyncWrite + Unpin,
{
    let role = if transfer.is_direct() {
        ClientFileRole::ClientRealtimeRecver
    } else {
        ClientFileRole::ClientOfflineDownload
    };
    let mut there = Connection::come(transfer, role, patience).await?;
    if transfer.is_direct() {
        there.meet(patience).await?;
    }
    let (mut offset, mut seq) = (0, 1_u16);
    while offset < transfer.size {
        seq = seq.wrapping_add(1).max(1);
        let asked = BLOCK.min(transfer.size - offset);
        let data = there.pull(seq, offset, asked, patience).await?;
        if let Err(error) = sink.write_all(&data).await {
            there.say(ClientFileState::ClientFileCancel).await?;
            return Err(TransferError::File(error));
        }
        offset += u32::try_from(data.len()).unwrap_or(asked);
    }
    sink.flush().await.map_err(TransferError::File)?;
    if transfer.is_direct() {
        there.say(ClientFileState::ClientFileDone).await?;
    }
    Ok(())
}

/// Refuses a direct transfer, as soon as its sender is there to be told.
///
/// # Errors
/// The task is not there any more, or its sender does not come within `patience`.
pub async fn refuse(transfer: &Transfer, patience: Duration) -> Result<(), TransferError> {
    let role = ClientFileRole::ClientRealtimeRecver;
    let mut there = Connection::come(transfer, role, patience).await?;
    there.meet(patience).await?;
    there.say(ClientFileState::ClientFileRefuse).await
}

/// What a frame says of the transfer; nothing when it says something else.
fn state(frame: Frame) -> Result<Option<ClientFileState>, TransferError> {
    if frame.command() != Some(Command::FileState) {
        return Ok(None);
    }
    let said: ImFileState = decode_checked(frame.body)?;
    match said.state() {
        ClientFileState::ClientFileRefuse => Err(TransferError::Refused),
        ClientFileState::ClientFileCancel => Err(TransferError::Cancelled),
        state => Ok(Some(state)),
    }
}

/// A connection with its task.
struct Connection<'a> {
    conn: RawConn,
    transfer: &'a Transfer,
}

impl<'a> Connection<'a> {
    async fn come(
        transfer: &'a Transfer,
        role: ClientFileRole,
        patience: Duration,
    ) -> Result<Self, TransferError> {
        let connecting = RawConn::connect(&transfer.address);
        let conn = tokio::time::timeout(patience, connecting)
            .await
            .map_err(|_| TransferError::Server(RawError::Timeout))??;
        let mut there = Self { conn, transfer };
        let request = ImFileLoginReq {
            user_id: transfer.user_id,
            task_id: transfer.task_id.clone(),
            file_role: role.into(),
        };
        there.send(Command::FileLoginReq, 1, &request).await?;
        let answer = there.conn.expect(Command::FileLoginRsp, patience).await;
        let answer: ImFileLoginRsp = answer?;
        if answer.result_code == 0 {
            Ok(there)
        } else {
            Err(TransferError::NotLetIn)
        }
    }

    async fn send<M: TeamtalkMessage>(
        &mut self,
        command: Command,
        seq: u16,
        message: &M,
    ) -> Result<(), TransferError> {
        Ok(self.conn.send(command, seq, message).await?)
    }

    /// Says how the transfer stands, which is the last word on this connection.
    async fn say(&mut self, state: ClientFileState) -> Result<(), TransferError> {
        let state = ImFileState {
            state: state.into(),
            task_id: self.transfer.task_id.clone(),
            user_id: self.transfer.user_id,
        };
        self.send(Command::FileState, 0, &state).await?;
        // The server closes when it has read it; whoever closes first with bytes unread takes it back.
        drop(self.conn.wait_closed(LAST_WORDS).await);
        Ok(())
    }

    /// Waits for the sender.
    async fn meet(&mut self, patience: Duration) -> Result<(), TransferError> {
        loop {
            let frame = self.next(patience).await?;
            if state(frame)? == Some(ClientFileState::ClientFilePeerReady) {
                return Ok(());
            }
        }
    }

    /// The next frame that is no echo; a sign of life goes out while there is none.
    async fn next(&mut self, patience: Duration) -> Result<Frame, TransferError> {
        let deadline = Instant::now() + patience;
        loop {
            let beat = Instant::now() + HEARTBEAT;
            match self.conn.recv_until(beat.min(deadline)).await {
                Ok(frame) if frame.command() == Some(Command::HeartBeat) => {}
                Ok(frame) => return Ok(frame),
                Err(RawError::Timeout) if Instant::now() >= deadline => {
                    return Err(TransferError::Late(patience));
                }
                Err(RawError::Timeout) => {
                    self.conn.send_bytes(&im_codec::heartbeat(0)).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Asks for a block and takes it: not more than was asked for, and not nothing.
    async fn pull(
        &mut self,
        seq: u16,
        offset: u32,
        asked: u32,
        patience: Duration,
    ) -> Result<Bytes, TransferError> {
        let request = ImFilePullDataReq {
            task_id: self.transfer.task_id.clone(),
            user_id: self.transfer.user_id,
            trans_mode: self.transfer.mode.into(),
            offset,
            data_size: asked,
        };
        self.send(Command::FilePullDataReq, seq, &request).await?;
        loop {
            let frame = self.next(patience).await?;
            if frame.command() != Some(Command::FilePullDataRsp) {
                state(frame)?;
                continue;
            }
            let block: ImFilePullDataRsp = decode_checked(frame.body)?;
            if block.result_code != 0 {
                return Err(TransferError::Protocol("cannot give the file"));
            }
            let fits = u32::try_from(block.file_data.len())
                .is_ok_and(|length| (1..=asked).contains(&length));
            if block.offset != offset || !fits {
                return Err(TransferError::Protocol("sent what was not asked for"));
            }
            return Ok(block.file_data);
        }
    }
}

#[cfg(test)]
mod tests;
