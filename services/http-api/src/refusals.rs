//! What db-proxy is told beside requests: refusals, for the audit log, and the first use of a token on a day.

use im_proto_rpc::v1::{NoteTokenUseRequest, ReportRefusalRequest};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::db_proxy::{Admin, Asker};
use crate::metrics::Metrics;

/// Notes that may wait; beyond it they are counted and dropped: nobody waits for them.
const WAITING: usize = 256;

/// Something to tell.
#[derive(Clone, Debug)]
pub(crate) enum Note {
    /// Somebody was refused.
    Refused {
        asker: Asker,
        /// Such as "POST /api/v1/users".
        action: String,
        target: String,
        reason: String,
    },
    /// A token was used.
    Used { asker: Asker, id: u32 },
}

/// Where notes are left.
#[derive(Clone, Debug)]
pub(crate) struct Notes {
    sender: mpsc::Sender<Note>,
    metrics: Metrics,
}

impl Notes {
    /// A place for notes, and the notes that come.
    pub(crate) fn new(metrics: Metrics) -> (Self, mpsc::Receiver<Note>) {
        let (sender, notes) = mpsc::channel(WAITING);
        (Self { sender, metrics }, notes)
    }

    /// Leaves a note.
    pub(crate) fn leave(&self, note: Note) {
        if self.sender.try_send(note).is_err() {
            self.metrics.lost_notes.inc();
        }
    }
}

/// Longest action, target and reason that db-proxy takes, bytes.
const MAX_ACTION: usize = 128;
const MAX_TEXT: usize = 256;

/// Tells one note after the other until `stop`.
pub(crate) async fn tell(
    mut notes: mpsc::Receiver<Note>,
    admin: Admin,
    metrics: Metrics,
    stop: CancellationToken,
) {
    while let Some(Some(note)) = stop.run_until_cancelled(notes.recv()).await {
        let told = async {
            let mut admin = admin.clone();
            match note {
                Note::Refused {
                    asker,
                    action,
                    target,
                    reason,
                } => {
                    let report = ReportRefusalRequest {
                        action: cut(action, MAX_ACTION),
                        target: cut(target, MAX_TEXT),
                        reason: cut(reason, MAX_TEXT),
                    };
                    let reported = admin.report_refusal(asker.call(report, None)).await;
                    reported.map(drop)
                }
                Note::Used { asker, id } => {
                    let used = NoteTokenUseRequest { id };
                    let noted = admin.note_token_use(asker.call(used, None)).await;
                    noted.map(drop)
                }
            }
        };
        match stop.run_until_cancelled(told).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(status)) => {
                metrics.lost_notes.inc();
                debug!(code = ?status.code(), "db-proxy took no note");
            }
        }
    }
}

/// No more bytes than this, at the end of a character.
fn cut(mut text: String, bytes: usize) -> String {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_that_nobody_takes_are_counted_at_the_bound_and_nobody_waits() {
        let metrics = Metrics::default();
        let (notes, _receiver) = Notes::new(metrics.clone());
        let asker = Asker {
            actor: "a".to_owned(),
            credential: String::new(),
            address: String::new(),
            request_id: String::new(),
        };
        for id in 0..=256 {
            assert_eq!(metrics.lost_notes.get(), 0);
            let asker = asker.clone();
            notes.leave(Note::Used { asker, id });
        }
        assert_eq!(metrics.lost_notes.get(), 1);
    }

    #[test]
    fn a_text_is_cut_at_the_end_of_a_character() {
        assert_eq!(cut("abc".to_owned(), 3), "abc");
        assert_eq!(cut("ab\u{e9}".to_owned(), 3), "ab");
        assert_eq!(cut(String::new(), 3), "");
    }
}
