//! `GET /api/discovery`: the list of links that clients fetch, as the original site writes it.
//!
//! Anybody may ask: the list is kept for a moment, so that db-proxy is asked at most once in that time, and by one
//! request at a time.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use im_core::Network;
use im_proto_rpc::v1::{DiscoveryItemRecord, ListDiscoveryItemsRequest};
use tokio::time::{Instant, timeout};

use crate::caller::{Key, slot};
use crate::db_proxy::{self, Asker};
use crate::metrics::Limited;
use crate::origin::Origin;
use crate::problem::{Kind, Problem};
use crate::service::Api;

/// The path that clients are told.
pub(crate) const DISCOVERY: &str = "/api/discovery";

/// How old the list may be.
const KEPT: Duration = Duration::from_secs(2);

/// The list as it was read last.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    kept: Mutex<Kept>,
    /// One request asks.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Kept {
    list: Option<(Bytes, Instant)>,
    /// Counts the times at which it was forgotten.
    forgotten: u64,
}

impl Discovery {
    /// Forgets the list: it was changed here.
    pub(crate) fn forget(&self) {
        let mut kept = self.lock();
        kept.list = None;
        kept.forgotten += 1;
    }

    fn fresh(&self) -> Option<Bytes> {
        let kept = self.lock();
        let (list, since) = kept.list.as_ref()?;
        (since.elapsed() < KEPT).then(|| list.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the list. It needs no token.
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Response, Problem> {
    let Some(origin) = request.extensions().get::<Origin>().cloned() else {
        return Err(Problem::new(Kind::Internal, ""));
    };
    let list = match api.discovery.fresh() {
        Some(list) => list,
        None => {
            let _slot = slot(&api, Key::Address(Network::host(origin.address)))?;
            let limit = api.config.request_timeout.duration();
            let read = timeout(limit, read(&api, &origin)).await;
            read.unwrap_or_else(|_| {
                api.metrics.limit(Limited::Time);
                Err(Problem::new(Kind::Timeout, ""))
            })?
        }
    };
    let kind = [(header::CONTENT_TYPE, "text/html; charset=UTF-8")];
    Ok((kind, list).into_response())
}

async fn read(api: &Api, origin: &Origin) -> Result<Bytes, Problem> {
    let _asking = api.discovery.asking.lock().await;
    if let Some(list) = api.discovery.fresh() {
        return Ok(list);
    }
    let forgotten = api.discovery.lock().forgotten;
    let asker = Asker {
        actor: "discovery".to_owned(),
        credential: "none".to_owned(),
        address: origin.address.to_string(),
        request_id: origin.request_id.clone(),
    };
    let asked = Instant::now();
    let wanted = asker.call(ListDiscoveryItemsRequest {}, None);
    let found = api.items.clone().list_discovery_items(wanted).await;
    let found = found.map_err(|status| db_proxy::problem(&status, true))?;
    let list = Bytes::from(spelled(&found.into_inner().items));
    let mut kept = api.discovery.lock();
    if kept.forgotten == forgotten {
        kept.list = Some((list.clone(), asked));
    }
    Ok(list)
}

/// The list as `json_encode` of PHP writes rows of its database: every value is a text.
fn spelled(items: &[DiscoveryItemRecord]) -> String {
    let mut list = String::from("[");
    for item in items {
        if list.len() > 1 {
            list.push(',');
        }
        let priority = item.priority.to_string();
        let values = [
            ("{\"itemName\":", item.name.as_str()),
            (",\"itemUrl\":", &item.url),
            (",\"itemPriority\":", &priority),
        ];
        for (key, value) in values {
            list.push_str(key);
            text(&mut list, value);
        }
        list.push('}');
    }
    list.push(']');
    list
}

/// A text in quotes: a slash has a backslash before it, and what is not ASCII is written in numbers.
fn text(list: &mut String, value: &str) {
    list.push('"');
    for c in value.chars() {
        match c {
            '"' => list.push_str("\\\""),
            '\\' => list.push_str("\\\\"),
            '/' => list.push_str("\\/"),
            '\u{8}' => list.push_str("\\b"),
            '\u{c}' => list.push_str("\\f"),
            '\n' => list.push_str("\\n"),
            '\r' => list.push_str("\\r"),
            '\t' => list.push_str("\\t"),
            ' '..='\u{7f}' => list.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _infallible = write!(list, "\\u{unit:04x}");
                }
            }
        }
    }
    list.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, url: &str, priority: u32) -> DiscoveryItemRecord {
        DiscoveryItemRecord {
            name: name.to_owned(),
            url: url.to_owned(),
            priority,
            ..DiscoveryItemRecord::default()
        }
    }

    /// What PHP 5 and later print for the same rows.
    #[test]
    fn the_list_is_spelled_as_the_original_site_spells_it() {
        assert_eq!(spelled(&[]), "[]");
        let items = [
            item("蘑菇街", "http://www.mogujie.com", 0),
            item(
                "a \"b\" \\ \u{1f600}\t\u{1}\u{7f}é",
                "https://x/?a=1&b=<2>",
                4_294_967_295,
            ),
        ];
        let expected = concat!(
            r#"[{"itemName":"\u8611\u83c7\u8857","itemUrl":"http:\/\/www.mogujie.com","itemPriority":"0"},"#,
            r#"{"itemName":"a \"b\" \\ \ud83d\ude00\t\u0001"#,
            "\u{7f}",
            r#"\u00e9","itemUrl":"https:\/\/x\/?a=1&b=<2>","itemPriority":"4294967295"}]"#
        );
        assert_eq!(spelled(&items), expected);
        let read: serde_json::Value = serde_json::from_str(&spelled(&items)).unwrap();
        assert_eq!(read[1]["itemName"], items[1].name);
    }

    #[tokio::test(start_paused = true)]
    async fn the_list_is_kept_for_its_time_and_not_once_it_was_changed() {
        let discovery = Discovery::default();
        assert_eq!(discovery.fresh(), None);
        let keep = || {
            let list = (Bytes::from_static(b"[]"), Instant::now());
            discovery.lock().list = Some(list);
        };
        keep();
        assert!(discovery.fresh().is_some());
        tokio::time::advance(KEPT).await;
        assert_eq!(discovery.fresh(), None);
        keep();
        discovery.forget();
        assert_eq!(discovery.fresh(), None);
    }
}
