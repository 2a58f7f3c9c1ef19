//! Whether the public URL leads here: a probe that only this server knows is fetched through it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use im_core::{Backoff, Chain};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Most bytes that are read of an answer.
const MAX_ANSWER: usize = 4_096;

/// Waits between attempts: whoever stands before this server may notice it late.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// What only this process answers, at a path that nobody else knows.
#[derive(Clone, Debug)]
pub(crate) struct Token(u128);

impl Token {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    /// Below the base URL.
    fn path(&self) -> String {
        format!("probe/{:032x}", self.0)
    }

    /// Whether a request for this path is the probe, whatever stands before it.
    pub(crate) fn is_asked_for(&self, path: &str) -> bool {
        path.strip_suffix(&self.path())
            .is_some_and(|before| before.ends_with('/'))
    }

    /// What it is answered.
    pub(crate) fn answer(&self) -> String {
        format!("imcluster msfs {:032x}\n", self.0.rotate_left(64))
    }
}

/// Why a public URL is not proved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// It has no host, or another scheme than http.
    #[error("fetch it by plain http")]
    Scheme,
    /// Nobody answers there.
    #[error("connect to {0}")]
    Connect(String, #[source] std::io::Error),
    /// What answers there is no HTTP.
    #[error("speak HTTP with {0}")]
    Http(String, #[source] hyper::Error),
    /// Somebody else answers there.
    #[error("find this server there: the answer has status {0} and another text")]
    Other(u16),
    /// The answer is too long for the probe's.
    #[error("read the answer of {0}")]
    Read(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no answer in time.
    #[error("get an answer within {0:?}")]
    Late(Duration),
}

/// Fetches the probe of this server through its public URL, again and again within a time.
pub(crate) async fn prove(url: &str, token: &Token, limit: Duration) -> Result<(), ProbeError> {
    let deadline = Instant::now() + limit;
    let mut backoff = Backoff::new(WAITS.0, WAITS.1);
    let mut failed = ProbeError::Late(limit);
    loop {
        match timeout_at(deadline, fetch(url, token)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => {
                tracing::debug!(url, error = %Chain(&error), "the probe failed");
                failed = error;
            }
            Err(_) => return Err(failed),
        }
        let wait = Instant::now() + backoff.step();
        if wait >= deadline || matches!(failed, ProbeError::Scheme) {
            return Err(failed);
        }
        tokio::time::sleep_until(wait).await;
    }
}

async fn fetch(url: &str, token: &Token) -> Result<(), ProbeError> {
    let target = Target::of(url).ok_or(ProbeError::Scheme)?;
    let place = target.place.as_str();
    let connect = |error| ProbeError::Connect(place.to_owned(), error);
    let http = |error| ProbeError::Http(place.to_owned(), error);
    let stream = TcpStream::connect(place).await.map_err(connect)?;
    let io = TokioIo::new(stream);
    let (mut send, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .map_err(http)?;
    let request = Request::get(format!("{}{}", target.path, token.path()))
        .header(header::HOST, target.host)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    // A base URL holds letters only that may stand in one.
    let request = request.map_err(|_| ProbeError::Scheme)?;
    let answer = async {
        let answer = send.send_request(request).await.map_err(http)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| ProbeError::Read(place.to_owned(), error))?;
        if status == 200 && body.to_bytes() == token.answer() {
            Ok(())
        } else {
            Err(ProbeError::Other(status))
        }
    };
    tokio::pin!(connection);
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            // What was read before the end is there.
            Ok(()) => answer.await,
            Err(error) => Err(http(error)),
        },
    }
}

/// Where a URL leads.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    /// As it is dialed.
    place: String,
    /// As the request names it.
    host: &'a str,
    /// With the slash at both ends.
    path: &'a str,
}

impl<'a> Target<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let (host, path) = rest.split_at_checked(rest.find('/')?)?;
        let after_address = host.rsplit(']').next().unwrap_or(host);
        let place = if after_address.contains(':') {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        (!host.is_empty()).then_some(Self { place, host, path })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(300);

    #[test]
    fn a_url_leads_to_a_host_and_a_port() {
        for (url, place, path) in [
            ("http://a.example/", "a.example:80", "/"),
            ("http://a.example:8700/", "a.example:8700", "/"),
            ("http://[2001:db8::1]/p/q/", "[2001:db8::1]:80", "/p/q/"),
            ("http://[2001:db8::1]:81/", "[2001:db8::1]:81", "/"),
        ] {
            let target = Target::of(url).unwrap();
            assert_eq!((target.place.as_str(), target.path), (place, path));
        }
        for url in ["https://a/", "http:///", "a/"] {
            assert_eq!(Target::of(url), None, "{url}");
        }
    }

    #[test]
    fn only_the_probe_of_this_server_is_its_probe() {
        let (token, other) = (Token::random(), Token::random());
        assert!(token.is_asked_for(&format!("/{}", token.path())));
        assert!(token.is_asked_for(&format!("/a/b/{}", token.path())));
        assert!(!token.is_asked_for(&format!("/{}", other.path())));
        assert!(!token.is_asked_for("/probe/"));
        assert!(!token.is_asked_for(&format!("/x{}", token.path())));
        // Who hears of the path has not heard of the answer.
        let known = token.path();
        let known = known.trim_start_matches("probe/");
        assert!(!token.answer().contains(known));
    }

    /// Answers every connection with this, whatever it asks.
    async fn server(answer: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1_024];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"GET /base/probe/"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        url
    }

    fn http(status: u16, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn the_own_answer_is_a_proof_and_no_other() {
        let token = Token::random();
        let url = server(http(200, &token.answer())).await;
        prove(&url, &token, LIMIT).await.unwrap();
        for (answer, expected) in [
            (http(200, "It works!"), "status 200"),
            (http(404, &token.answer()), "status 404"),
            ("220 mail.example.com\r\n".to_owned(), "speak HTTP"),
            (http(200, &"x".repeat(5_000)), "read the answer"),
        ] {
            let url = server(answer).await;
            let error = prove(&url, &token, LIMIT).await.unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn who_does_not_answer_is_given_up_in_time() {
        let token = Token::random();
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let begun = Instant::now();
        let error = prove(&url, &token, LIMIT).await.unwrap_err();
        assert!(matches!(error, ProbeError::Late(_)), "{error}");
        assert!(begun.elapsed() < LIMIT * 10);
        drop(silent);
        let error = prove(&url, &token, LIMIT).await.unwrap_err();
        assert!(matches!(error, ProbeError::Connect(..)), "{error}");
    }
}
