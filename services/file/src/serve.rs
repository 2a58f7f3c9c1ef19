//! One client: reads its frames, and does the work on files that they ask for.

mod frames;
mod lines;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use bytes::BytesMut;
use im_blob::{BlobError, BlobReader, BlobWriter};
use im_codec::{Command, Frame, FrameLimit, TeamtalkMessage, decode_checked, encode};
use im_core::UserId;
use im_core::places::Place;
use im_proto_teamtalk::base::{ClientFileRole, ClientFileState};
use im_proto_teamtalk::file::{
    ImFileLoginReq, ImFileLoginRsp, ImFilePullDataReq, ImFilePullDataRsp, ImFileState,
};
use im_transport::Received;
use tokio::time::{Duration, Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::lines::{About, Line};
use crate::TaskId;
use crate::conn::{Conn, Next};
use crate::hub::{Admitted, BlockHead, Hub, entered_frame, pull_frame, state_frame};
use crate::metrics::{Refusal, Way};
use crate::tasks::{Asked, Came, Pull, Violation, Written};

/// Longest frame before the task is known, bytes: a request to take part has some sixty.
const FIRST_FRAME: u32 = 256;

/// What a frame has beside its block, bytes.
pub(crate) const AROUND_BLOCK: u32 = 256;

/// Time that a client has to close after the last frame.
const LINGER: Duration = Duration::from_secs(1);

/// Reads, of 64 KiB at most, before others have a turn.
const READS: u32 = 16;

/// Why a connection ends by this server; nothing where its client or its task has ended it.
type Ended = Option<Refusal>;

/// Serves a connection to its end.
pub(crate) async fn run(hub: Arc<Hub>, conn: Arc<Conn>, mut place: Place<CancellationToken>) {
    let started = Instant::now();
    let mut client = Client {
        timer: Box::pin(sleep_until(started + hub.config.login_timeout.duration())),
        hub,
        conn,
        buffer: BytesMut::new(),
        frames: VecDeque::new(),
        started,
        heard: started,
        part: None,
        upload: None,
        reader: None,
        line: Line::default(),
        parked: Line::default(),
    };
    if let Some(reason) = client.serve(&mut place).await {
        client.ended(reason);
    }
    client.hub.left(&client.conn, client.upload.take());
    client.conn.transport.cut();
    // The place is free again when the socket is closed.
    drop(client);
    drop(place);
}

/// A client, and what its task works with.
struct Client {
    hub: Arc<Hub>,
    conn: Arc<Conn>,
    /// A part of a frame.
    buffer: BytesMut,
    frames: VecDeque<Frame>,
    /// At or before the time at which it is too late for something.
    timer: Pin<Box<Sleep>>,
    started: Instant,
    heard: Instant,
    /// The task that it takes part in, and as whom.
    part: Option<(TaskId, UserId)>,
    upload: Option<Box<dyn BlobWriter>>,
    reader: Option<Box<dyn BlobReader>>,
    /// Of the request that is worked on.
    line: Line,
    /// Of the block that was asked for before its upload was done.
    parked: Line,
}

impl Client {
    async fn serve(&mut self, place: &mut Place<CancellationToken>) -> Ended {
        let conn = Arc::clone(&self.conn);
        let mut reads = 0;
        loop {
            let next = conn.next();
            let (until, why) = self.deadline(next);
            if until < self.timer.deadline() {
                self.timer.as_mut().reset(until);
            }
            match next {
                Next::End => {
                    // Its side of the task is free: its client may come again while this one lingers.
                    self.hub.left(&self.conn, self.upload.take());
                    self.linger().await;
                    return None;
                }
                Next::Answer(pull) => {
                    if let Err(ended) = self.unparked(pull).await {
                        return ended;
                    }
                    conn.flush();
                    continue;
                }
                Next::Read | Next::Write(_) => {}
            }
            tokio::select! {
                () = conn.cut.cancelled() => return None,
                () = conn.woken() => {}
                () = &mut self.timer => {
                    if Instant::now() >= until {
                        return Some(why);
                    }
                    self.timer.as_mut().reset(until);
                }
                is_open = conn.transport.writable(), if next != Next::Read => {
                    if !is_open {
                        return None;
                    }
                    conn.flush();
                }
                is_open = conn.transport.readable(), if next == Next::Read => {
                    if !is_open {
                        return None;
                    }
                    match self.receive() {
                        Received::Nothing => continue,
                        Received::End => return None,
                        Received::Bytes(Err(())) => return Some(Refusal::Frame),
                        Received::Bytes(Ok(())) => self.heard = Instant::now(),
                    }
                    place.heard();
                    let worked = self.work(place).await;
                    conn.flush();
                    if let Err(ended) = worked {
                        return ended;
                    }
                    reads += 1;
                    if reads % READS == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }

    /// Until when the next thing must happen, and what it is called otherwise.
    fn deadline(&self, next: Next) -> (Instant, Refusal) {
        let config = &self.hub.config;
        match (next, self.part) {
            (Next::Write(since), _) => (since + config.block_timeout.duration(), Refusal::Stalled),
            (_, None) => (
                self.started + config.login_timeout.duration(),
                Refusal::LoginTimeout,
            ),
            (_, Some(_)) => (self.heard + config.idle.duration(), Refusal::Idle),
        }
    }

    /// Reads once, and cuts what came into frames.
    fn receive(&mut self) -> Received<Result<(), ()>> {
        let limit = match self.part {
            None => FIRST_FRAME,
            Some(_) => self.hub.config.max_block.as_u32() + AROUND_BLOCK,
        };
        let Self {
            conn,
            buffer,
            frames,
            ..
        } = self;
        conn.transport.receive(|bytes| {
            frames::cut(buffer, bytes, FrameLimit::new(limit), frames).map_err(drop)
        })
    }

    /// This server ends the connection: the request that is worked on says so, or a line of its own.
    fn ended(&mut self, reason: Refusal) {
        self.hub.metrics.refused(reason);
        let mut line = std::mem::take(&mut self.line);
        if !line.is_open() {
            line = Line::since(About::Connection, self.user(), self.started);
        }
        line.refused(reason, &self.hub.refused);
    }

    fn user(&self) -> u32 {
        self.part.map_or(0, |(_, user)| user.get())
    }

    /// Works on the frames that came.
    async fn work(&mut self, place: &mut Place<CancellationToken>) -> Result<(), Ended> {
        while let Some(frame) = self.frames.pop_front() {
            if self.conn.is_ending() {
                // What comes behind the end counts for nothing.
                self.frames.clear();
                break;
            }
            if let Some(request) = About::request(frame.command(), self.part.is_some()) {
                self.line = Line::begin(request, self.user());
            }
            match (frame.command(), self.part) {
                (Some(Command::HeartBeat), _) => self.conn.push([frame.to_bytes()]),
                (Some(Command::FileLoginReq), None) => self.enter(frame, place).await?,
                // One task for each connection.
                (Some(Command::FileLoginReq), Some(_)) => return Err(Some(Refusal::Frame)),
                (Some(Command::FilePullDataReq), Some(_)) => self.pull(frame).await?,
                (Some(Command::FilePullDataRsp), Some(_)) => self.block(frame).await?,
                (Some(Command::FileState), Some(_)) => {
                    let state: ImFileState = decode(&frame)?;
                    self.hub.state_of(&self.conn, &frame, &state)?;
                    self.conn.end();
                }
                // As the original: ignored.
                _ => {}
            }
            std::mem::take(&mut self.line).done();
        }
        if self.frames.is_empty() && self.frames.capacity() > 64 {
            self.frames = VecDeque::new();
        }
        Ok(())
    }

    /// A client wants to take part in a task.
    async fn enter(
        &mut self,
        frame: Frame,
        place: &mut Place<CancellationToken>,
    ) -> Result<(), Ended> {
        let seq = frame.header.seq;
        let asked: ImFileLoginReq = decode(&frame)?;
        self.line.of(asked.user_id);
        let user = UserId::from_wire(asked.user_id);
        let role = ClientFileRole::try_from(asked.file_role).ok();
        let task = asked.task_id.parse::<TaskId>().ok();
        let (Some(user), Some(role), Some(task)) = (user, role, task) else {
            self.refuse(seq, asked.task_id, Refusal::Task);
            return Ok(());
        };
        let Some(admitted) = self.hub.enter(&self.conn, seq, task, user, role) else {
            self.refuse(seq, asked.task_id, Refusal::Task);
            return Ok(());
        };
        match admitted {
            Admitted::Relay => {}
            Admitted::Upload { next, begun } => {
                match self.begin(task, begun).await {
                    Ok(upload) => self.upload = Some(upload),
                    Err(reason) => {
                        self.hub.fail(&self.conn);
                        self.refuse(seq, asked.task_id, reason);
                        return Ok(());
                    }
                }
                self.conn.push([entered_frame(seq, task)]);
                self.conn.push([pull_frame(task, user, next)]);
            }
            Admitted::Download(task) => {
                if let Err(error) = self.open(task).await {
                    self.hub.lost(task, &error);
                    self.refuse(seq, asked.task_id, Refusal::Task);
                    return Ok(());
                }
                self.conn.push([entered_frame(seq, task)]);
            }
        }
        self.part = Some((task, user));
        place.keep();
        Ok(())
    }

    /// An upload's writer: that of before, or a new one.
    async fn begin(
        &mut self,
        task: TaskId,
        begun: Option<Box<dyn BlobWriter>>,
    ) -> Result<Box<dyn BlobWriter>, Refusal> {
        if let Some(begun) = begun {
            return Ok(begun);
        }
        let put = self
            .hub
            .offer(task)
            .and_then(|offer| Hub::put(task, &offer));
        let put = put.ok_or(Refusal::Offer)?;
        let begun = self.hub.blobs.begin(put).await;
        begun.map_err(|error| match error {
            BlobError::NoRoom => Refusal::NoRoom,
            error => {
                self.hub.store_failed(task, &error);
                Refusal::Store
            }
        })
    }

    async fn open(&mut self, task: TaskId) -> Result<(), BlobError> {
        if self.reader.is_none() {
            self.reader = Some(self.hub.blobs.open(task.blob()).await?);
        }
        Ok(())
    }

    /// Answers a client that it may not take part; its connection is closed behind that.
    fn refuse(&mut self, seq: u16, task_id: String, reason: Refusal) {
        self.hub.metrics.refused(reason);
        self.line.refused(reason, &self.hub.refused);
        let answer = ImFileLoginRsp {
            result_code: 1,
            task_id,
        };
        self.conn
            .push([encode(Command::FileLoginRsp, seq, &answer)]);
        self.conn.end();
    }

    async fn pull(&mut self, frame: Frame) -> Result<(), Ended> {
        let asked: ImFilePullDataReq = decode(&frame)?;
        let asked = self.hub.pull(&self.conn, &frame, asked)?;
        if asked == Asked::Parked {
            self.parked = std::mem::take(&mut self.line);
        }
        self.read(asked).await
    }

    /// The upload for which this client has waited is done.
    async fn unparked(&mut self, pull: Pull) -> Result<(), Ended> {
        let part = self.part.ok_or(None)?;
        self.line = std::mem::take(&mut self.parked);
        let asked = self.hub.unparked(&self.conn, part, pull)?;
        self.read(asked).await?;
        std::mem::take(&mut self.line).done();
        Ok(())
    }

    /// Gives a block of a stored file, and with the last one says that this was it.
    async fn read(&mut self, asked: Asked) -> Result<(), Ended> {
        let Asked::Read {
            pull,
            is_last,
            sender,
        } = asked
        else {
            return Ok(());
        };
        let (task, user) = self.part.ok_or(None)?;
        let read = match self.open(task).await {
            Ok(()) => match &self.reader {
                Some(reader) => reader.read(pull.offset.into(), pull.size as usize).await,
                None => return Err(None),
            },
            Err(error) => Err(error),
        };
        let data = read.map_err(|error| {
            self.hub.lost(task, &error);
            None
        })?;
        self.hub.metrics.moved(Way::Downloaded, data.len());
        let block = ImFilePullDataRsp {
            result_code: 0,
            task_id: task.to_string(),
            user_id: user.get(),
            offset: pull.offset,
            file_data: data,
        };
        self.conn
            .push([encode(Command::FilePullDataRsp, pull.seq, &block)]);
        if is_last {
            let done = ClientFileState::ClientFileDone;
            self.conn.push([state_frame(done, task, sender)]);
            self.conn.end();
        }
        Ok(())
    }

    async fn block(&mut self, frame: Frame) -> Result<(), Ended> {
        let block: ImFilePullDataRsp = decode(&frame)?;
        let head = BlockHead {
            task: &block.task_id,
            user: block.user_id,
            result: block.result_code,
            offset: block.offset,
            length: block.file_data.len(),
        };
        match self.hub.block(&self.conn, &frame, &head)? {
            Came::Forward { .. } => Ok(()),
            Came::Write => self.write(block.file_data).await,
        }
    }

    /// Stores a block, and asks for the next one or finishes the file.
    async fn write(&mut self, data: bytes::Bytes) -> Result<(), Ended> {
        let (task, user) = self.part.ok_or(None)?;
        let Some(mut upload) = self.upload.take() else {
            return Err(None);
        };
        let length = data.len();
        if let Err(error) = upload.write(data).await {
            return Err(self.not_stored(task, &error));
        }
        match self.hub.written(&self.conn, length) {
            Some(Written::Next(pull)) => {
                self.upload = Some(upload);
                self.conn.push([pull_frame(task, user, pull)]);
                Ok(())
            }
            Some(Written::Whole) => {
                let stored = upload.finish().await;
                stored.map_err(|error| self.not_stored(task, &error))?;
                self.stored(task, user);
                Ok(())
            }
            None => Err(None),
        }
    }

    /// The file is on disk: its sender is told, and its receiver may have it.
    fn stored(&self, task: TaskId, user: UserId) {
        if self.hub.uploaded(&self.conn) {
            let done = ClientFileState::ClientFileDone;
            self.conn.push([state_frame(done, task, user)]);
        } else {
            self.hub.discard(task);
        }
        self.conn.end();
    }

    fn not_stored(&self, task: TaskId, error: &BlobError) -> Ended {
        self.hub.fail(&self.conn);
        if matches!(error, BlobError::NoRoom) {
            return Some(Refusal::NoRoom);
        }
        self.hub.store_failed(task, error);
        None
    }

    /// Lets the client take what it was sent, and close: closing with unread bytes would take it away.
    async fn linger(&mut self) {
        self.conn.transport.finish();
        let conn = Arc::clone(&self.conn);
        let closing = async {
            while conn.transport.readable().await {
                if let Received::End = conn.transport.receive(|_| ()) {
                    return;
                }
            }
        };
        // Whoever does not close is closed.
        timeout(LINGER, conn.cut.run_until_cancelled(closing))
            .await
            .ok();
    }
}

fn decode<M: TeamtalkMessage>(frame: &Frame) -> Result<M, Ended> {
    decode_checked(frame.body.clone()).map_err(|_| Some(Refusal::Frame))
}

impl From<Violation> for Ended {
    fn from(_: Violation) -> Self {
        Some(Refusal::Frame)
    }
}
