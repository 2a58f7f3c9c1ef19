//! Giving pictures out: whole or in part, as they are or scaled.

use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use im_blob::{BlobError, BlobName, BlobReader};
use im_core::Chain;
use tracing::{error, warn};

use crate::answer::{Content, protect, text};
use crate::conditions::{Part, has_already, may_send_part, part};
use crate::metrics::{Answered, Request};
use crate::name::{Asked, Name};
use crate::picture::Kind;
use crate::scaler::{Outcome, Wanted};
use crate::service::Shared;

/// Digits of the hash that tell two pictures apart.
const TAG_BYTES: usize = 16;

/// A picture never changes under its name.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// What a picture is sent from.
enum Source {
    Blob(Box<dyn BlobReader>),
    /// Just made.
    Bytes(Bytes),
}

impl Source {
    fn size(&self) -> u64 {
        match self {
            Self::Blob(reader) => reader.info().size,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// What names these very bytes.
    fn tag(&self) -> String {
        let hash = match self {
            Self::Blob(reader) => reader.info().blake3,
            Self::Bytes(bytes) => *blake3::hash(bytes).as_bytes(),
        };
        let mut tag = String::from("\"");
        for byte in hash.iter().take(TAG_BYTES) {
            let _infallible = write!(tag, "{byte:02x}");
        }
        tag + "\""
    }

    fn kind(&self) -> Option<Kind> {
        match self {
            Self::Blob(reader) => Kind::of(reader.info().meta.content_type()),
            Self::Bytes(_) => Some(Kind::Jpeg),
        }
    }

    fn content(self, range: std::ops::Range<u64>) -> Content {
        match self {
            Self::Blob(reader) => Content::part(reader, range),
            Self::Bytes(bytes) => {
                let at = |offset| {
                    usize::try_from(offset)
                        .unwrap_or(bytes.len())
                        .min(bytes.len())
                };
                Content::whole(bytes.slice(at(range.start)..at(range.end)))
            }
        }
    }
}

/// What was found for a request.
enum Found {
    Source(Source),
    /// In place of a scaled one.
    Unscaled(Source),
    Busy,
}

/// Answers a request for what this path names, from a client there.
pub(crate) async fn download(
    shared: &Shared,
    path: &str,
    headers: &HeaderMap,
    is_head: bool,
    from: IpAddr,
) -> Response<Content> {
    let Some(asked) = Asked::parse(path) else {
        shared.metrics.answered(Request::Other, Answered::NotFound);
        return not_found();
    };
    let request = if asked.side.is_some() {
        Request::Variant
    } else {
        Request::Picture
    };
    let (answered, answer) = match find(shared, &asked, from).await {
        Ok(Found::Source(source)) => send(source, headers, is_head),
        Ok(Found::Unscaled(source)) => {
            let (answered, answer) = send(source, headers, is_head);
            let is_whole = answered == Answered::Whole;
            (
                if is_whole {
                    Answered::Unscaled
                } else {
                    answered
                },
                answer,
            )
        }
        Ok(Found::Busy) => (Answered::Busy, unavailable("try again in a second\n", 1)),
        Err(BlobError::NotFound) => (Answered::NotFound, not_found()),
        Err(BlobError::Corrupt(what)) => {
            error!(blob = ?asked.name.blob, what, "a stored picture is damaged");
            let answer = text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the picture is damaged\n",
            );
            (Answered::Failed, answer)
        }
        Err(error) => {
            if shared.log.is_due() {
                warn!(error = %Chain(&error), "read a picture failed");
            }
            (
                Answered::Failed,
                unavailable("the pictures cannot be read\n", 5),
            )
        }
    };
    shared.metrics.answered(request, answered);
    answer
}

async fn find(shared: &Shared, asked: &Asked, from: IpAddr) -> Result<Found, BlobError> {
    let Asked { name, side } = asked;
    let Some(side) = *side else {
        let reader = open(shared, name.blob, name.ending.as_str().as_bytes()).await?;
        return Ok(Found::Source(Source::Blob(reader)));
    };
    let wanted = Wanted {
        original: name.blob,
        ending: name.ending.clone(),
        side,
    };
    match open(shared, wanted.name(), &wanted.tag()).await {
        Err(BlobError::NotFound) => {}
        found => return found.map(|reader| Found::Source(Source::Blob(reader))),
    }
    let original = open_picture(shared, name).await?;
    match shared.scaler.scaled(wanted, from).await {
        Ok(Outcome::Made(bytes)) => Ok(Found::Source(Source::Bytes(bytes))),
        Ok(Outcome::Unscalable) => Ok(Found::Unscaled(Source::Blob(original))),
        Ok(Outcome::Failed) => Err(BlobError::Unavailable(std::io::Error::other(
            "scaling failed",
        ))),
        Err(_busy) => Ok(Found::Busy),
    }
}

async fn open_picture(shared: &Shared, name: &Name) -> Result<Box<dyn BlobReader>, BlobError> {
    let reader = open(shared, name.blob, name.ending.as_str().as_bytes()).await?;
    match Kind::of(reader.info().meta.content_type()) {
        Some(_) => Ok(reader),
        None => Err(BlobError::NotFound),
    }
}

/// Opens what has this name and this tag: what it was stored under, and nothing else that has the same bits.
async fn open(
    shared: &Shared,
    name: BlobName,
    tag: &[u8],
) -> Result<Box<dyn BlobReader>, BlobError> {
    let reader = shared.store.open(name).await?;
    if reader.info().meta.tag() != tag {
        return Err(BlobError::NotFound);
    }
    Ok(reader)
}

fn send(source: Source, headers: &HeaderMap, is_head: bool) -> (Answered, Response<Content>) {
    let (size, tag, kind) = (source.size(), source.tag(), source.kind());
    let said = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let range = said(header::RANGE).filter(|_| may_send_part(said(header::IF_RANGE), &tag));
    let (answered, status, content, of) = if has_already(said(header::IF_NONE_MATCH), &tag) {
        let status = StatusCode::NOT_MODIFIED;
        (Answered::NotModified, status, Content::empty(), None)
    } else {
        match part(range, size) {
            Part::Whole => {
                let content = source.content(0..size);
                (Answered::Whole, StatusCode::OK, content, None)
            }
            Part::Range(range) => {
                let of = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                let content = source.content(range);
                (
                    Answered::Part,
                    StatusCode::PARTIAL_CONTENT,
                    content,
                    Some(of),
                )
            }
            Part::None => {
                let status = StatusCode::RANGE_NOT_SATISFIABLE;
                let of = format!("bytes */{size}");
                (Answered::NoPart, status, Content::empty(), Some(of))
            }
        }
    };
    let length = hyper::body::Body::size_hint(&content).exact().unwrap_or(0);
    let content = if is_head { Content::empty() } else { content };
    let mut answer = Response::new(content);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    if status != StatusCode::NOT_MODIFIED {
        headers.insert(header::CONTENT_LENGTH, length.into());
        label(headers, kind);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(FOR_EVER));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    for (name, value) in [(header::ETAG, Some(tag)), (header::CONTENT_RANGE, of)] {
        // Digits and plain letters.
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    protect(headers);
    (answered, answer)
}

/// A picture is shown where it was fetched, everything else is a file to be saved.
fn label(headers: &mut HeaderMap, kind: Option<Kind>) {
    let media_type = kind.map_or("application/octet-stream", Kind::media_type);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if kind.is_none() {
        let attachment = HeaderValue::from_static("attachment");
        headers.insert(header::CONTENT_DISPOSITION, attachment);
    }
}

fn not_found() -> Response<Content> {
    text(StatusCode::NOT_FOUND, "there is no such picture\n")
}

fn unavailable(why: &'static str, seconds: u64) -> Response<Content> {
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, why);
    let headers = answer.headers_mut();
    headers.insert(header::RETRY_AFTER, seconds.into());
    answer
}
