//! Pictures: stored and fetched over HTTP; a text names them by marks with their URLs.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{self, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What stands before a URL in a text.
const BEGIN: &str = "&$#@~^@[{:";
/// What stands behind it.
const END: &str = ":}]&$~@#@";
/// Most bytes that are read of an answer to an upload.
const MAX_ANSWER: usize = 16 * 1024;

/// The text that shows a picture.
pub fn mark(url: &str) -> String {
    format!("{BEGIN}{url}{END}")
}

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Words.
    Text(&'a str),
    /// The URL of a picture.
    Picture(&'a str),
}

/// A text as clients show it: words and pictures in turn. A mark that is not closed is words.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((words, behind)) = rest.split_once(BEGIN)
        && let Some((url, behind)) = behind.split_once(END)
    {
        if !words.is_empty() {
            found.push(Piece::Text(words));
        }
        found.push(Piece::Picture(url));
        rest = behind;
    }
    if !rest.is_empty() {
        found.push(Piece::Text(rest));
    }
    found
}

/// Why a picture is not stored or not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// The text is no URL of plain http.
    #[error("{0:?} is no http URL")]
    Url(String),
    /// Nobody answers there.
    #[error("connect to {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What answers there is no HTTP.
    #[error("speak HTTP")]
    Http(#[from] hyper::Error),
    /// The answer is longer than is wanted, or ends early.
    #[error("read the answer")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server does not do it.
    #[error("the picture server answered {}{}", .status, reason(*.status))]
    Status {
        /// Its status.
        status: StatusCode,
    },
    /// The server says that it has stored the picture, and not where.
    #[error("the picture server did not say where the picture is")]
    NoPlace,
    /// There is no answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
}

/// What a status of the picture server means.
fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => ": the picture has too many bytes for it",
        StatusCode::UNPROCESSABLE_ENTITY => ": the picture has too many pixels for it",
        StatusCode::INSUFFICIENT_STORAGE => ": it has no room left",
        StatusCode::TOO_MANY_REQUESTS => ": too much came from this address, try again later",
        StatusCode::NOT_FOUND => ": there is no such picture",
        _ => "",
    }
}

/// Stores a picture below the base URL that the dispatcher tells; gives its URL. `name` lends its ending.
///
/// # Errors
/// The base is no http URL, or the server there does not take the picture within `wait`.
pub async fn store(
    base: &str,
    name: &str,
    picture: Bytes,
    wait: Duration,
) -> Result<String, PictureError> {
    let ending = ending(name);
    let url = format!("{}/picture{ending}", base.trim_end_matches('/'));
    let answer = within(wait, ask(Method::PUT, &url, picture, MAX_ANSWER)).await?;
    let place = answer.place.ok_or(PictureError::NoPlace)?;
    let place = place.to_str().map_err(|_| PictureError::NoPlace)?;
    Ok(place.to_owned())
}

/// The ending of a name, `.png`: letters and digits, of which a URL may have some.
fn ending(name: &str) -> &str {
    let at = name.rfind('.').filter(|at| *at > 0);
    let ending = at.and_then(|at| name.get(at..)).unwrap_or_default();
    let is_plain = ending.bytes().skip(1).all(|it| it.is_ascii_alphanumeric());
    if is_plain && (2..=16).contains(&ending.len()) {
        ending
    } else {
        ""
    }
}

/// Fetches a picture of at most `most` bytes.
///
/// # Errors
/// It is no http URL, or the server there does not give it within `wait`, or gives more bytes than that.
pub async fn fetch(url: &str, most: usize, wait: Duration) -> Result<Bytes, PictureError> {
    let answer = within(wait, ask(Method::GET, url, Bytes::new(), most)).await?;
    Ok(answer.body)
}

async fn within<T>(
    wait: Duration,
    asking: impl Future<Output = Result<T, PictureError>>,
) -> Result<T, PictureError> {
    timeout(wait, asking)
        .await
        .map_err(|_| PictureError::Late(wait))?
}

/// An answer that is a success.
struct Answer {
    place: Option<HeaderValue>,
    body: Bytes,
}

async fn ask(method: Method, url: &str, body: Bytes, most: usize) -> Result<Answer, PictureError> {
    let no_url = || PictureError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| no_url())?;
    let is_http = uri.scheme_str() == Some("http");
    let authority = uri.authority().filter(|_| is_http).ok_or_else(no_url)?;
    let address = format!(
        "{}:{}",
        authority.host(),
        authority.port_u16().unwrap_or(80)
    );
    let connecting = TcpStream::connect(&address).await;
    let stream = connecting.map_err(|source| PictureError::Connect { address, source })?;
    let (mut send, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, authority.as_str())
        .header(header::CONNECTION, "close")
        .body(Full::new(body))
        .map_err(|_| no_url())?;
    let answer = async {
        let answer = send.send_request(request).await?;
        let status = answer.status();
        if !status.is_success() {
            return Err(PictureError::Status { status });
        }
        let place = answer.headers().get(header::LOCATION).cloned();
        let body = Limited::new(answer.into_body(), most).collect().await;
        let body = body.map_err(PictureError::Read)?.to_bytes();
        Ok(Answer { place, body })
    };
    tokio::pin!(connection);
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            // What was read before the end is there.
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const WAIT: Duration = Duration::from_secs(20);

    #[test]
    fn a_text_is_words_and_pictures_in_turn() {
        let url = "http://a:8700/g0/000/000/1_2x2.png";
        let shown = format!("look {} and {}", mark(url), mark("b"));
        let expected = [
            Piece::Text("look "),
            Piece::Picture(url),
            Piece::Text(" and "),
            Piece::Picture("b"),
        ];
        assert_eq!(pieces(&shown), expected);
        assert_eq!(pieces(&mark(url)), [Piece::Picture(url)]);
        for words in ["no mark", "&$#@~^@[{:open", ":}]&$~@#@", "&$#@~^@[{"] {
            assert_eq!(pieces(words), [Piece::Text(words)]);
        }
        assert_eq!(pieces(""), []);
    }

    #[test]
    fn an_ending_is_what_a_url_may_have() {
        assert_eq!(ending("a.b.PNG"), ".PNG");
        for name in [
            "picture",
            ".png",
            "a.",
            "a.p/g",
            "a.é",
            "a.0123456789abcdef",
        ] {
            assert_eq!(ending(name), "", "{name}");
        }
    }

    /// Answers one request with this.
    async fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1_024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        url
    }

    #[tokio::test]
    async fn what_a_server_answers_is_bounded_and_a_refusal_has_its_reason() {
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd";
        let url = server(ok).await;
        assert_eq!(fetch(&url, 4, WAIT).await.unwrap(), "abcd");
        let url = server(ok).await;
        let error = fetch(&url, 3, WAIT).await.unwrap_err();
        assert!(matches!(error, PictureError::Read(_)), "{error}");
        let url = server("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").await;
        let error = store(&url, "a.png", Bytes::from_static(b"x"), WAIT).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("413") && error.contains("bytes"), "{error}");
        let url = server("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await;
        let error = store(&url, "a.png", Bytes::from_static(b"x"), WAIT).await;
        assert!(matches!(error, Err(PictureError::NoPlace)));
        let url = server("220 mail\r\n\r\n").await;
        assert!(fetch(&url, 3, WAIT).await.is_err());
    }

    #[tokio::test]
    async fn other_places_are_no_pictures() {
        for url in ["https://a/", "file:///etc/passwd", "a", "http://", ""] {
            let error = fetch(url, 3, WAIT).await.unwrap_err();
            assert!(matches!(error, PictureError::Url(_)), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn who_does_not_answer_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let error = fetch(&url, 3, Duration::from_millis(100))
            .await
            .unwrap_err();
        assert!(matches!(error, PictureError::Late(_)), "{error}");
    }
}
