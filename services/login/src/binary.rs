//! The binary port: 0x0101, its answer 0x0102, closed.
//!
//! Other frames are ignored, as by the original.

use bytes::BytesMut;
use im_codec::{Command, FrameLimit, decode_checked, next_frame};
use im_proto_teamtalk::login::ImMsgServReq;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::answer;
use crate::listener::{ClientPlace, Clients, Line, begin_line, finish};
use crate::metrics::{Port, Refusal};

/// Serves a connection to its end.
pub(crate) async fn serve(mut stream: TcpStream, place: &mut ClientPlace, clients: &Clients) {
    let limits = &clients.limits;
    let deadline = Instant::now() + limits.binary_request;
    let limit = FrameLimit::new(u32::try_from(limits.request_bytes).unwrap_or(u32::MAX));
    let mut bytes = BytesMut::new();
    let mut until = deadline.min(Instant::now() + limits.first_bytes);
    let mut line = Line::default();
    let refusal = 'reading: loop {
        match timeout_at(until, stream.read_buf(&mut bytes)).await {
            Err(_) => break Refusal::Late,
            Ok(Ok(0) | Err(_)) => break Refusal::Gone,
            Ok(Ok(_)) => {}
        }
        if !line.is_open() {
            line = begin_line(Port::Binary, &stream);
        }
        place.heard();
        until = deadline;
        loop {
            let frame = match next_frame(&mut bytes, limit) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => break 'reading Refusal::TooLong,
            };
            let asks = frame.command() == Some(Command::MsgServReq);
            if asks && decode_checked::<ImMsgServReq>(frame.body).is_ok() {
                let local = stream.local_addr().ok().map(|local| local.ip());
                let choice = clients.choose(Port::Binary, line).seen_from(local);
                let answer = answer::binary(&choice, frame.header.seq);
                finish(stream, &answer, limits.linger).await;
                return;
            }
        }
    };
    clients.refuse(Port::Binary, refusal, line);
}
