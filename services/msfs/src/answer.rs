//! Answers: their headers, and the bodies that are not pictures.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::stream;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use im_blob::{BlobError, BlobReader};

use crate::form::FormError;
use crate::name::Name;

/// Bytes of a picture that are read and held for one connection at a time.
const CHUNK: usize = 128 * 1024;

/// Why nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The body is longer than it may be.
    TooLarge,
    /// The form cannot be read.
    Form(FormError),
    /// The picture has too many pixels.
    TooManyPixels,
    /// There is no room.
    NoRoom,
    /// The address has sent too much; may try again then.
    Limited(Duration),
    /// The store does not answer.
    Unavailable,
    /// The client sent no body to its end.
    Gone,
}

impl Refusal {
    /// The original's code where it has one: 1 to 11.
    const fn code(self) -> u8 {
        match self {
            Self::TooLarge => 1,
            Self::Form(error) => error as u8,
            Self::TooManyPixels => 12,
            Self::NoRoom => 13,
            Self::Limited(_) => 14,
            Self::Unavailable => 15,
            Self::Gone => 16,
        }
    }

    /// For people; those of the first eleven codes are the original's.
    const fn text(self) -> &'static str {
        match self {
            Self::TooLarge | Self::Form(FormError::TooLong) => "上传文件过大",
            Self::Form(_) | Self::Gone => "格式错误",
            Self::TooManyPixels => "图片尺寸过大",
            Self::NoRoom => "存储空间不足",
            Self::Limited(_) => "上传过于频繁",
            Self::Unavailable => "服务端异常",
        }
    }

    /// The original answers 200 to everything that it understands as a form.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::TooLarge | Self::Form(FormError::TooLong) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Form(_) => StatusCode::OK,
            Self::TooManyPixels => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NoRoom => StatusCode::INSUFFICIENT_STORAGE,
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Gone => StatusCode::BAD_REQUEST,
        }
    }

    /// After how many seconds the client may try again.
    fn retry_after(self) -> Option<u64> {
        match self {
            Self::Limited(wait) => Some(wait.as_secs() + 1),
            Self::Unavailable | Self::NoRoom => Some(30),
            _ => None,
        }
    }
}

/// How the body of an answer to an upload is labelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    /// As the original does; Mac and iOS read nothing else.
    Original,
    /// As what it is.
    Json,
}

/// The answer to an upload: the original's keys in its order.
pub(crate) fn of_upload(
    stored: Result<&Name, Refusal>,
    base: &str,
    label: Label,
) -> Response<Content> {
    let (code, text) = match stored {
        Ok(_) => (0, "成功"),
        Err(refusal) => (refusal.code(), refusal.text()),
    };
    let path = stored.map(ToString::to_string).unwrap_or_default();
    let url = stored.map(|_| format!("{base}{path}")).unwrap_or_default();
    let place = match stored {
        // The original leaves them out here.
        Err(Refusal::TooLarge) => String::new(),
        _ => format!(
            ",\n   \"path\" : {},\n   \"url\" : {}",
            json(&path),
            json(&url)
        ),
    };
    let body =
        format!("{{\n   \"error_code\" : {code},\n   \"error_msg\" : \"{text}\"{place}\n}}\n");
    let status = match (stored, label) {
        (Ok(_), Label::Original) => StatusCode::OK,
        (Ok(_), Label::Json) => StatusCode::CREATED,
        (Err(refusal), _) => refusal.status(),
    };
    let kind = match label {
        Label::Original => "text/html;charset=utf-8",
        Label::Json => "application/json",
    };
    let mut answer = plain(status, kind, body.into());
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if label == Label::Json
        && let Ok(url) = HeaderValue::try_from(url)
        && !url.is_empty()
    {
        headers.insert(header::LOCATION, url);
    }
    if let Some(seconds) = stored.err().and_then(Refusal::retry_after) {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An answer with a text of the server's own.
pub(crate) fn plain(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Content> {
    let mut answer = Response::new(Content::whole(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    protect(headers);
    answer
}

/// The same for people.
pub(crate) fn text(status: StatusCode, text: &'static str) -> Response<Content> {
    plain(
        status,
        "text/plain;charset=utf-8",
        Bytes::from_static(text.as_bytes()),
    )
}

/// Nothing that is served runs, and nothing is taken for what it is not said to be.
pub(crate) fn protect(headers: &mut HeaderMap) {
    const PROTECTED: [(HeaderName, &str); 2] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox",
        ),
    ];
    for (name, value) in PROTECTED {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

type Parts = Pin<Box<dyn Stream<Item = Result<Bytes, BlobError>> + Send>>;

/// The body of an answer.
pub(crate) struct Content {
    source: Source,
    left: u64,
}

enum Source {
    Bytes(Bytes),
    Blob(Parts),
}

impl Content {
    /// These bytes.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self {
            left: bytes.len() as u64,
            source: Source::Bytes(bytes),
        }
    }

    /// Nothing: to a question about the headers.
    pub(crate) fn empty() -> Self {
        Self::whole(Bytes::new())
    }

    /// A part of a blob, read as it is sent.
    pub(crate) fn part(reader: Box<dyn BlobReader>, range: Range<u64>) -> Self {
        let reader: Arc<dyn BlobReader> = reader.into();
        let left = range.end.saturating_sub(range.start);
        let parts = stream::try_unfold(range, move |range| {
            let reader = Arc::clone(&reader);
            async move {
                let left = range.end.saturating_sub(range.start);
                let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
                if length == 0 {
                    return Ok(None);
                }
                let bytes = reader.read(range.start, length).await?;
                if bytes.is_empty() {
                    return Err(BlobError::Unavailable(io::ErrorKind::UnexpectedEof.into()));
                }
                let next = range.start + bytes.len() as u64;
                Ok(Some((bytes, next..range.end)))
            }
        });
        Self {
            source: Source::Blob(Box::pin(parts)),
            left,
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = BlobError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BlobError>>> {
        let next = match &mut self.source {
            Source::Bytes(bytes) if bytes.is_empty() => None,
            Source::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
            Source::Blob(parts) => std::task::ready!(parts.as_mut().poll_next(cx)),
        };
        if let Some(Ok(bytes)) = &next {
            self.left = self.left.saturating_sub(bytes.len() as u64);
        }
        Poll::Ready(next.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use im_blob::BlobName;

    use super::*;
    use crate::name::Ending;

    const BASE: &str = "http://files.example.com/";

    fn name() -> Name {
        Name {
            blob: BlobName::from_bytes([7; 16]),
            ending: Ending::parse("_640x480.jpg").unwrap(),
        }
    }

    fn body(answer: Response<Content>) -> String {
        let Source::Bytes(bytes) = &answer.body().source else {
            panic!("a text");
        };
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn an_upload_is_answered_as_the_original_does() {
        let answer = of_upload(Ok(&name()), BASE, Label::Original);
        assert_eq!(answer.status(), 200);
        assert_eq!(
            answer.headers()[header::CONTENT_TYPE],
            "text/html;charset=utf-8"
        );
        assert_eq!(answer.headers()[header::CONNECTION], "close");
        let path = "g0/007/007/07070707070707070707070707070707_640x480.jpg";
        let expected = format!(
            "{{\n   \"error_code\" : 0,\n   \"error_msg\" : \"成功\",\n   \"path\" : \"{path}\",\n   \
             \"url\" : \"{BASE}{path}\"\n}}\n"
        );
        assert_eq!(body(answer), expected);
    }

    #[test]
    fn a_refusal_has_the_originals_code_and_empty_places() {
        let answer = of_upload(Err(Refusal::Form(FormError::NoType)), BASE, Label::Original);
        assert_eq!(answer.status(), 200);
        let expected = "{\n   \"error_code\" : 6,\n   \"error_msg\" : \"格式错误\",\n   \"path\" : \"\",\n   \
                        \"url\" : \"\"\n}\n";
        assert_eq!(body(answer), expected);
        let answer = of_upload(Err(Refusal::TooLarge), BASE, Label::Original);
        assert_eq!(answer.status(), 413);
        let expected = "{\n   \"error_code\" : 1,\n   \"error_msg\" : \"上传文件过大\"\n}\n";
        assert_eq!(body(answer), expected);
    }

    #[test]
    fn what_is_put_is_answered_as_http_has_it() {
        let answer = of_upload(Ok(&name()), BASE, Label::Json);
        assert_eq!(answer.status(), 201);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(
            answer.headers()[header::LOCATION],
            format!("{BASE}{}", name())
        );
        for (refusal, status, retry) in [
            (Refusal::TooLarge, 413, None),
            (Refusal::TooManyPixels, 422, None),
            (Refusal::NoRoom, 507, Some("30")),
            (
                Refusal::Limited(Duration::from_millis(1_500)),
                429,
                Some("2"),
            ),
            (Refusal::Unavailable, 503, Some("30")),
        ] {
            let answer = of_upload(Err(refusal), BASE, Label::Json);
            assert_eq!(answer.status(), status, "{refusal:?}");
            let found = answer.headers().get(header::RETRY_AFTER);
            assert_eq!(found.map(|it| it.to_str().unwrap()), retry, "{refusal:?}");
            let json: serde_json::Value = serde_json::from_str(&body(answer)).unwrap();
            assert!(json["error_code"].as_u64().unwrap() > 0);
        }
    }

    #[test]
    fn nothing_that_is_served_can_run() {
        let answer = text(StatusCode::NOT_FOUND, "not found\n");
        assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.contains("sandbox"), "{policy}");
    }
}
