//! The audit log: its rows listed, its chain followed, and rows about whom others refused.

use std::sync::{Arc, Mutex, PoisonError};

use im_core::time::UnixSeconds;
use im_proto_rpc::v1::{
    AuditList, AuditRecord, AuditVerdict, ListAuditRequest, ReportRefusalReply,
    ReportRefusalRequest, VerifyAuditRequest,
};
use im_store::{
    AuditNote, AuditOutcome, AuditPlace, AuditQuery, AuditRow, ChangeNote, HASH_BYTES, follow_audit,
};
use serde_json::json;
use tonic::{Request, Status};

use super::caller::Caller;
use super::cursor::{List, Listed};
use super::notes::{cut, row, shown};
use super::pages::{Limits, Page};
use super::{AdminError, AdminService};

/// Rows in one answer: the default, and the most.
const LIMITS: Limits = Limits {
    default: 100,
    most: 1_000,
};

/// Rows that one question looks at.
const LOOKED_AT: u32 = 10_000;

/// Rows that one question verifies.
const VERIFIED: u32 = 2_000;

/// Longest call, target and reason of a refusal that is reported, bytes.
const MAX_ACTION: usize = 128;
const MAX_TEXT: usize = 256;

/// Rows about refusals in this minute.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Arc<Mutex<Minute>>);

#[derive(Debug, Default)]
struct Minute {
    begin: UnixSeconds,
    rows: u32,
    /// Refusals without a row since the last row.
    left_out: u32,
}

impl Refusals {
    /// Whether there is room for a row; how many had none before it.
    fn takes(&self, now: UnixSeconds, most: u32) -> Option<u32> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was put back begins a minute too.
        if now < minute.begin || now.seconds_since(minute.begin) >= 60 {
            minute.begin = now;
            minute.rows = 0;
        }
        if minute.rows >= most {
            minute.left_out = minute.left_out.saturating_add(1);
            return None;
        }
        minute.rows += 1;
        Some(std::mem::take(&mut minute.left_out))
    }
}

impl AdminService {
    /// From the newest row on.
    pub(super) async fn list_trail(
        &self,
        request: ListAuditRequest,
    ) -> Result<AuditList, AdminError> {
        let filters = [
            request.actor.as_str(),
            request.target.as_str(),
            request.action.as_str(),
        ];
        let listed = Listed {
            list: List::Audit,
            filters: &filters,
        };
        let before = self.cursors.read(listed, &request.cursor)?;
        let limit = LIMITS.of(request.limit);
        let query = AuditQuery {
            actor: request.actor.clone(),
            target: request.target.clone(),
            action: request.action.clone(),
            before: before.map(|place| u64::try_from(place).unwrap_or(u64::MAX)),
            limit,
            scan: LOOKED_AT,
        };
        let found = self.store.list_audit(&query).await?;
        let mut page = Page::new(limit);
        for row in found.rows {
            if !page.takes(row.number.into(), record(row)) {
                break;
            }
        }
        let (rows, cut) = self.end_page(listed, page);
        let next = match found.next {
            _ if !cut.is_empty() => cut,
            Some(place) => self.cursors.make(listed, place.into()),
            None => String::new(),
        };
        Ok(AuditList { rows, next })
    }

    pub(super) async fn verify_trail(
        &self,
        request: VerifyAuditRequest,
    ) -> Result<AuditVerdict, AdminError> {
        let (rows, ends) = self.store.read_audit(request.after, VERIFIED).await?;
        let from = if request.after <= ends.begin.number {
            ends.begin
        } else {
            let hash = <[u8; HASH_BYTES]>::try_from(request.hash.as_ref());
            AuditPlace {
                number: request.after,
                hash: hash.map_err(|_| {
                    AdminError::Invalid(format!("the hash of row {} is missing", request.after))
                })?,
            }
        };
        let is_last = rows.len() < usize::try_from(VERIFIED).unwrap_or(usize::MAX);
        let (good, bad) = follow_audit(from, &rows, &ends, is_last);
        Ok(AuditVerdict {
            rows: good.number.saturating_sub(from.number),
            last: good.number,
            hash: good.hash.to_vec().into(),
            more: !is_last && bad.is_none(),
            bad: bad.as_ref().map_or(0, |bad| bad.number),
            reason: bad.map_or_else(String::new, |bad| bad.reason.to_owned()),
        })
    }

    /// So many rows a minute, so that whoever is refused cannot fill the store.
    pub(super) async fn refused(
        &self,
        request: Request<ReportRefusalRequest>,
    ) -> Result<ReportRefusalReply, Status> {
        let caller = Caller::of(&request)?;
        let ReportRefusalRequest {
            action,
            target,
            reason,
        } = request.into_inner();
        if action.is_empty() {
            return Err(Status::invalid_argument("the action is missing"));
        }
        let now = UnixSeconds::now();
        let most = self.config.administration.audit_refusals_per_minute;
        let Some(left_out) = self.reported.takes(now, most) else {
            self.metrics.refusal_left_out();
            return Ok(ReportRefusalReply { written: false });
        };
        let mut after = json!({ "reason": cut(&reason, MAX_TEXT) });
        if let (Some(after), 1..) = (after.as_object_mut(), left_out) {
            after.insert("left_out_before".to_owned(), left_out.into());
        }
        let refusal = AuditNote {
            target: cut(&target, MAX_TEXT),
            after: shown(&after),
            outcome: AuditOutcome::Refused,
            ..row(&caller, &cut(&action, MAX_ACTION), now)
        };
        let note = ChangeNote {
            row: refusal,
            is_numbered: false,
            keep: self.retention(now),
            key: None,
        };
        self.store.note(&note).await.map_err(AdminError::from)?;
        Ok(ReportRefusalReply { written: true })
    }
}

fn record(row: AuditRow) -> AuditRecord {
    let AuditRow { number, note, hash } = row;
    AuditRecord {
        number,
        time: note.at.get(),
        actor: note.actor,
        credential: note.credential,
        address: note.address,
        request: note.request,
        action: note.action,
        target: note.target,
        before: note.before,
        after: note.after,
        outcome: match note.outcome {
            AuditOutcome::Done => "done",
            AuditOutcome::Refused => "refused",
        }
        .to_owned(),
        hash: hash.to_vec().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_so_many_rows_a_minute_and_the_next_row_says_how_many_had_none() {
        let refusals = Refusals::default();
        let at = |second| refusals.takes(UnixSeconds::from_wire(second), 2);
        assert_eq!(
            [at(100), at(101), at(102), at(159)],
            [Some(0), Some(0), None, None]
        );
        assert_eq!([at(160), at(161), at(161)], [Some(2), Some(0), None]);
        assert_eq!(at(50), Some(1), "a clock that was put back");
    }
}
