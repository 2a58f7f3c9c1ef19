//! Sessions that came and went, as msg servers tell them, for whoever delivers to subscriptions.
//!
//! Nothing of it is stored. Each has a number, and so has each that was left out: by its msg server because it was
//! not fetched in time, or here, where the newest are kept up to a number of bytes. Whoever reads too late sees
//! from the numbers how many are missing, and holds up nobody.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use im_core::time::UnixSeconds;
use im_proto_rpc::v1::{SessionEvent, SessionRecord, SessionsPage};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use prost::Message as _;
use tokio::sync::watch;

/// Rows of one page.
const PAGE: usize = 500;

/// What a row costs beside its bytes on the wire.
const ROW: usize = 96;

/// Longest text of a session that is kept, bytes: its msg server, its address, its version.
const MAX_TEXT: usize = 256;

/// Sessions that came and went; clones share them.
#[derive(Clone)]
pub(crate) struct Comings(Arc<Shared>);

struct Shared {
    kept: Mutex<Kept>,
    /// Bytes that are kept.
    most: usize,
    end: watch::Sender<u64>,
    wanted: watch::Sender<bool>,
    left_out: Counter,
}

#[derive(Default)]
struct Kept {
    rows: VecDeque<SessionRecord>,
    bytes: usize,
    last: u64,
}

impl Comings {
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Shared {
            kept: Mutex::default(),
            most,
            end: watch::Sender::new(0),
            wanted: watch::Sender::new(false),
            left_out: Counter::default(),
        }))
    }

    /// Shows what is counted.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "im_db_proxy_left_out_sessions",
            "Sessions that came or went of which msg servers have not told in time",
            self.0.left_out.clone(),
        );
    }

    /// Whether anybody wants to be told; nothing is kept while nobody does.
    pub(crate) fn want(&self, wanted: bool) {
        self.0.wanted.send_if_modified(|is| {
            let is_new = *is != wanted;
            *is = wanted;
            is_new
        });
        if !wanted {
            let mut kept = self.kept();
            kept.rows = VecDeque::new();
            kept.bytes = 0;
        }
    }

    /// Follows whether anybody wants to be told.
    pub(crate) fn wanted(&self) -> watch::Receiver<bool> {
        self.0.wanted.subscribe()
    }

    /// A msg server tells what came and went, behind so many that it has left out.
    pub(crate) fn add(&self, events: Vec<SessionEvent>, left_out: u64) {
        let end = {
            let mut kept = self.kept();
            kept.last = kept.last.saturating_add(left_out);
            let mut dropped = left_out;
            for event in events {
                kept.last += 1;
                let seq = kept.last;
                let Some(row) = row(seq, event) else {
                    dropped += 1;
                    continue;
                };
                kept.bytes += weight(&row);
                kept.rows.push_back(row);
                while kept.bytes > self.0.most {
                    let Some(oldest) = kept.rows.pop_front() else {
                        break;
                    };
                    kept.bytes = kept.bytes.saturating_sub(weight(&oldest));
                }
            }
            self.0.left_out.inc_by(dropped);
            kept.last
        };
        self.0.end.send_replace(end);
    }

    /// Where they end.
    pub(crate) fn end(&self) -> u64 {
        *self.0.end.borrow()
    }

    /// What is remembered behind a place; waits so long for something.
    pub(crate) async fn after(&self, after: u64, wait: Duration) -> SessionsPage {
        let mut end = self.0.end.subscribe();
        let moved = end.wait_for(|end| *end > after);
        // In vain or not: the page says what there is.
        drop(tokio::time::timeout(wait, moved).await);
        let kept = self.kept();
        let at = kept.rows.partition_point(|row| row.seq <= after);
        let sessions: Vec<_> = kept.rows.range(at..).take(PAGE).cloned().collect();
        let more = kept.rows.len() - at > sessions.len();
        let last = sessions.last().map_or(after, |row| row.seq);
        let through = if more { last } else { kept.last.max(after) };
        let told = u64::try_from(sessions.len()).unwrap_or(u64::MAX);
        SessionsPage {
            left_out: (through - after).saturating_sub(told),
            sessions,
            through,
            more,
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.kept().bytes
    }

    #[cfg(test)]
    pub(crate) fn times_left_out(&self) -> u64 {
        self.0.left_out.get()
    }
}

fn row(seq: u64, event: SessionEvent) -> Option<SessionRecord> {
    let session = event.session?;
    let texts = [&session.server, &session.address, &session.client_version];
    texts
        .iter()
        .all(|it| it.len() <= MAX_TEXT)
        .then_some(SessionRecord {
            seq,
            at: UnixSeconds::now().get(),
            up: event.up,
            session: Some(session),
        })
}

fn weight(row: &SessionRecord) -> usize {
    ROW + row.encoded_len()
}

#[cfg(test)]
mod tests {
    use im_proto_rpc::v1::SessionInfo;

    use super::*;

    fn events(users: std::ops::RangeInclusive<u32>) -> Vec<SessionEvent> {
        let event = |user| SessionEvent {
            up: true,
            session: Some(SessionInfo {
                user,
                ..SessionInfo::default()
            }),
        };
        users.map(event).collect()
    }

    async fn page(comings: &Comings, after: u64) -> (Vec<u64>, u64, bool, u64) {
        let page = comings.after(after, Duration::ZERO).await;
        let seqs = page.sessions.iter().map(|row| row.seq);
        (seqs.collect(), page.through, page.more, page.left_out)
    }

    #[tokio::test]
    async fn they_are_read_in_order_and_what_is_missing_is_counted() {
        let comings = Comings::new(1 << 20);
        comings.add(events(1..=2), 0);
        assert_eq!(page(&comings, 0).await, (vec![1, 2], 2, false, 0));
        comings.add(events(3..=3), 5);
        assert_eq!(page(&comings, 2).await, (vec![8], 8, false, 5));
        assert_eq!(page(&comings, 8).await, (vec![], 8, false, 0));
        assert_eq!(comings.times_left_out(), 5);
        comings.add(events(1..=600), 0);
        let (seqs, through, more, left_out) = page(&comings, 8).await;
        assert_eq!((seqs.len(), through, more, left_out), (500, 508, true, 0));
        comings.want(true);
        comings.want(false);
        assert_eq!(comings.bytes(), 0);
        assert_eq!(page(&comings, 508).await, (vec![], 608, false, 100));
    }

    #[tokio::test]
    async fn the_oldest_beyond_the_bound_are_forgotten_and_missing() {
        let one = weight(&row(1, events(1..=1).remove(0)).unwrap());
        let comings = Comings::new(3 * one);
        comings.add(events(1..=3), 0);
        assert_eq!((comings.bytes(), comings.times_left_out()), (3 * one, 0));
        comings.add(events(4..=5), 0);
        assert_eq!((comings.bytes(), comings.times_left_out()), (3 * one, 0));
        assert_eq!(page(&comings, 0).await, (vec![3, 4, 5], 5, false, 2));
        let mut odd = events(1..=1);
        odd[0].session.as_mut().unwrap().address = "x".repeat(MAX_TEXT + 1);
        comings.add(odd, 0);
        assert_eq!(page(&comings, 5).await, (vec![], 6, false, 1));
    }

    #[tokio::test]
    async fn a_reader_waits_for_the_next_one() {
        let comings = Comings::new(1 << 20);
        let waiting = comings.after(0, Duration::from_secs(30));
        let (page, ()) = tokio::join!(waiting, async { comings.add(events(1..=1), 0) });
        assert_eq!(page.sessions.len(), 1);
    }
}
