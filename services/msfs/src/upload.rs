//! Taking pictures in: as a form, or as the body itself. What comes in goes to the store as it comes; only
//! its beginning is held, to see what it is.

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use im_blob::{BlobError, BlobMeta, BlobName, BlobWriter, Put};
use im_core::{Chain, Network};
use im_http::InTurn;
use tokio::time::Instant;
use tracing::warn;

use crate::answer::Refusal;
use crate::form::{Event, Form};
use crate::name::{Ending, Name};
use crate::picture::{PREFIX, Picture};
use crate::service::Shared;

/// The body of a request.
pub(crate) type Sent = InTurn<Incoming>;

/// The type of what is no picture.
const UNKNOWN: &str = "application/octet-stream";

/// Takes a form in, as the original clients send it.
pub(crate) async fn form(
    shared: &Shared,
    headers: &HeaderMap,
    body: Sent,
    from: IpAddr,
) -> Result<Name, Refusal> {
    let mut body = Taken::begin(shared, headers, body, from)?;
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.map_or(&b""[..], HeaderValue::as_bytes);
    let form = Form::new(content_type, shared.limits.max_form).map_err(Refusal::Form)?;
    let taken = take_form(shared, form, &mut body).await;
    body.drained(taken).await
}

async fn take_form(shared: &Shared, mut form: Form, body: &mut Taken<'_>) -> Result<Name, Refusal> {
    let mut file: Option<File<'_>> = None;
    while let Some(bytes) = body.next().await? {
        for event in form.push(&bytes).map_err(Refusal::Form)? {
            match (event, &mut file) {
                (Event::File(ending), _) => file = Some(body.file(shared, Some(ending))),
                (Event::Content(bytes), Some(file)) => file.add(bytes).await?,
                (Event::Content(_), None) | (Event::End, _) => {}
            }
        }
    }
    form.finish().map_err(Refusal::Form)?;
    match file {
        Some(file) => file.finish().await,
        None => Err(Refusal::Gone),
    }
}

/// Takes a body in that is the picture itself. The last segment of the path may have an extension.
pub(crate) async fn put(
    shared: &Shared,
    headers: &HeaderMap,
    path: &str,
    body: Sent,
    from: IpAddr,
) -> Result<Name, Refusal> {
    let mut body = Taken::begin(shared, headers, body, from)?;
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut file = body.file(shared, Ending::of_file(name.as_bytes()).ok());
    let taken = async {
        while let Some(bytes) = body.next().await? {
            file.add(bytes).await?;
        }
        file.finish().await
    };
    let taken = taken.await;
    body.drained(taken).await
}

/// The body of an upload: bounded, counted for its address.
struct Taken<'a> {
    shared: &'a Shared,
    body: Sent,
    from: IpAddr,
    /// Bytes that the client has announced.
    announced: Option<u64>,
    /// Bytes that may still come.
    left: usize,
}

impl<'a> Taken<'a> {
    /// Refuses what is refused by its head alone.
    fn begin(
        shared: &'a Shared,
        headers: &HeaderMap,
        body: Sent,
        from: IpAddr,
    ) -> Result<Self, Refusal> {
        let announced = headers.get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let most = shared.limits.max_upload;
        if announced.is_some_and(|length| length > most as u64) {
            return Err(Refusal::TooLarge);
        }
        let admitted = shared.quota.may_begin(Network::host(from), Instant::now());
        admitted.map_err(Refusal::Limited)?;
        Ok(Self {
            shared,
            body,
            from,
            announced,
            left: most,
        })
    }

    fn file(&self, shared: &'a Shared, ending: Option<Ending>) -> File<'a> {
        File {
            shared,
            expected: self.announced.unwrap_or(shared.limits.max_upload as u64),
            ending,
            held: BytesMut::new(),
            begun: None,
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|_| Refusal::Gone)?;
            // Trailers say nothing here.
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            self.left = self
                .left
                .checked_sub(bytes.len())
                .ok_or(Refusal::TooLarge)?;
            let now = Instant::now();
            let from = Network::host(self.from);
            self.shared.quota.take(from, now, bytes.len());
            return Ok(Some(bytes));
        }
        Ok(None)
    }

    /// Reads what the client still sends of a refused upload, within the bounds: it hears of an answer only
    /// when it has sent all.
    async fn drained(&mut self, taken: Result<Name, Refusal>) -> Result<Name, Refusal> {
        match taken {
            Ok(_) | Err(Refusal::TooLarge | Refusal::Gone) => return taken,
            Err(_) => {}
        }
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) | Err(Refusal::TooLarge) => return taken,
                Err(refusal) => return Err(refusal),
            }
        }
    }
}

/// A file on its way into the store.
struct File<'a> {
    shared: &'a Shared,
    expected: u64,
    ending: Option<Ending>,
    /// Its beginning, until it is known what it is.
    held: BytesMut,
    begun: Option<(Name, Box<dyn BlobWriter>)>,
}

impl File<'_> {
    async fn add(&mut self, bytes: Bytes) -> Result<(), Refusal> {
        if let Some((_, writer)) = &mut self.begun {
            return writer
                .write(bytes)
                .await
                .map_err(|error| self.refuse(&error));
        }
        self.held.extend_from_slice(&bytes);
        if self.held.len() >= PREFIX {
            self.begin().await?;
        }
        Ok(())
    }

    async fn begin(&mut self) -> Result<(), Refusal> {
        let picture = Picture::of(&self.held);
        let size = picture.and_then(|picture| picture.size);
        if size.is_some_and(|size| !self.shared.limits.picture.has_room_for(size)) {
            return Err(Refusal::TooManyPixels);
        }
        let extension = picture.map_or("bin", |picture| picture.kind.extension());
        let ending = match self.ending.take() {
            Some(ending) => ending,
            None => Ending::of_kind(extension),
        };
        let media_type = picture.map_or(UNKNOWN, |picture| picture.kind.media_type());
        let tag = Bytes::from(ending.as_str().to_owned());
        let name = Name {
            blob: BlobName::random(),
            ending,
        };
        let put = Put {
            name: name.blob,
            meta: BlobMeta::new(media_type, tag).map_err(|_| Refusal::Unavailable)?,
            bound: self.shared.limits.max_upload as u64,
            expected: self.expected,
        };
        let held = self.held.split().freeze();
        let begun = async {
            let mut writer = self.shared.store.begin(put).await?;
            writer.write(held).await?;
            Ok(writer)
        };
        let writer = begun.await.map_err(|error| self.refuse(&error))?;
        self.begun = Some((name, writer));
        Ok(())
    }

    async fn finish(mut self) -> Result<Name, Refusal> {
        if self.begun.is_none() {
            self.begin().await?;
        }
        let (name, writer) = self.begun.take().ok_or(Refusal::Unavailable)?;
        match writer.finish().await {
            Ok(_) => Ok(name),
            Err(error) => Err(self.refuse(&error)),
        }
    }

    fn refuse(&self, error: &BlobError) -> Refusal {
        let refusal = match error {
            BlobError::TooLarge { .. } => return Refusal::TooLarge,
            BlobError::NoRoom => Refusal::NoRoom,
            _ => Refusal::Unavailable,
        };
        if self.shared.log.is_due() {
            warn!(error = %Chain(error), "store a picture failed");
        }
        refusal
    }
}
