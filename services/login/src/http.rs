//! The HTTP port: one request, one answer, closed.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::listener::{ClientPlace, Clients, Line, begin_line, finish};
use crate::metrics::{Port, Refusal};

/// What clients ask for; anything may follow.
const PATH: &[u8] = b"/msg_server";

/// Header lines that fit into the largest request that can be configured, roughly; a request with
/// more of them is not one.
const MAX_HEADERS: usize = 128;

/// What the bytes of a connection are so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// More must come.
    Partial,
    /// The question for a msg server.
    Dispatch,
    /// A request for something else.
    Elsewhere,
    /// No HTTP.
    Malformed,
}

/// Serves a connection to its end.
pub(crate) async fn serve(mut stream: TcpStream, place: &mut ClientPlace, clients: &Clients) {
    let limits = &clients.limits;
    let deadline = Instant::now() + limits.http_request;
    let mut patience = limits.first_bytes;
    let mut bytes = Vec::with_capacity(limits.request_bytes.min(1_024) + 1);
    let mut line = Line::default();
    let refusal = loop {
        let silent = Instant::now() + patience;
        match timeout_at(deadline.min(silent), stream.read_buf(&mut bytes)).await {
            Err(_) => break Refusal::Late,
            Ok(Ok(0) | Err(_)) => break Refusal::Gone,
            Ok(Ok(_)) => {}
        }
        if !line.is_open() {
            line = begin_line(Port::Http, &stream);
        }
        place.heard();
        patience = limits.http_idle;
        if bytes.len() > limits.request_bytes {
            break Refusal::TooLong;
        }
        match examine(&bytes) {
            Request::Partial => {}
            Request::Malformed => break Refusal::Malformed,
            Request::Elsewhere => break Refusal::Elsewhere,
            Request::Dispatch => {
                let local = stream.local_addr().ok().map(|local| local.ip());
                let choice = clients.choose(Port::Http, line).seen_from(local);
                let answer = clients.answers.http(&choice, local);
                finish(stream, &answer, limits.linger).await;
                return;
            }
        }
    };
    clients.refuse(Port::Http, refusal, line);
}

/// Reads a request; a body is waited for as far as it is announced.
fn examine(bytes: &[u8]) -> Request {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Request::Partial,
        Err(_) => return Request::Malformed,
    };
    let announced = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body = match announced.map(|header| std::str::from_utf8(header.value)) {
        None => Some(0),
        Some(text) => text.ok().and_then(|text| text.trim().parse::<usize>().ok()),
    };
    let Some(body) = body else {
        return Request::Malformed;
    };
    if bytes.len() < head.saturating_add(body) {
        return Request::Partial;
    }
    match request.path {
        Some(path) if path.as_bytes().starts_with(PATH) => Request::Dispatch,
        _ => Request::Elsewhere,
    }
}

/// Bounds of client connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) request_bytes: usize,
    pub(crate) first_bytes: Duration,
    pub(crate) http_idle: Duration,
    pub(crate) http_request: Duration,
    pub(crate) binary_request: Duration,
    pub(crate) linger: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_method_and_anything_behind_the_path_is_the_question() {
        for request in [
            "GET /msg_server HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /msg_server?a=b HTTP/1.0\r\n\r\n",
            "POST /msg_server_and_more HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "HEAD /msg_server/x HTTP/1.1\r\n\r\n",
            "BREW /msg_server HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(examine(request.as_bytes()), Request::Dispatch, "{request}");
        }
    }

    #[test]
    fn another_path_is_something_else() {
        for path in [
            "/",
            "/msg_serve",
            "/Msg_server",
            "//msg_server",
            "*",
            "/msg-server",
        ] {
            let request = format!("GET {path} HTTP/1.1\r\n\r\n");
            assert_eq!(examine(request.as_bytes()), Request::Elsewhere, "{path}");
        }
    }

    #[test]
    fn a_request_is_complete_only_with_its_last_byte() {
        let request = b"POST /msg_server HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        for end in 0..request.len() {
            assert_eq!(examine(&request[..end]), Request::Partial, "{end}");
        }
        assert_eq!(examine(request), Request::Dispatch);
    }

    #[test]
    fn what_is_no_http_is_malformed() {
        for bytes in [
            &b"\x00\x00\x00\x10\x00\x01"[..],
            b"GET /msg_server HTTP/3.7\r\n\r\n",
            b"GET /msg_server HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"GET /msg_server HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        ] {
            assert_eq!(examine(bytes), Request::Malformed);
        }
    }
}
