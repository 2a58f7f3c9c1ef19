//! The chain of the audit log: each row's hash covers the row and the hash of the one before, so that a
//! row that is edited or removed later no longer fits.
//!
//! Whoever writes the database and knows this form can make the whole chain anew from any row on. Against
//! them helps only a number and hash of a later row that was noted elsewhere.

use crate::{AuditEnds, AuditNote, AuditOutcome, AuditPlace, AuditRow, HASH_BYTES};

const CONTEXT: &str = "imcluster db-proxy audit rows 2026-11";

/// Why the audit log is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAuditRow {
    /// The first row that was touched.
    pub number: u64,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The hash of a row behind another one, for stores that keep the audit log.
pub fn audit_hash(before: &AuditPlace, number: u64, note: &AuditNote) -> [u8; HASH_BYTES] {
    let AuditNote {
        at,
        actor,
        credential,
        address,
        request,
        action,
        target,
        before: was,
        after,
        outcome,
    } = note;
    let mut hash = blake3::Hasher::new_derive_key(CONTEXT);
    hash.update(&before.hash);
    hash.update(&number.to_be_bytes());
    hash.update(&at.get().to_be_bytes());
    hash.update(&[match outcome {
        AuditOutcome::Done => 0,
        AuditOutcome::Refused => 1,
    }]);
    for text in [
        actor, credential, address, request, action, target, was, after,
    ] {
        // With its length, so that no text can borrow from the next.
        hash.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().into()
}

/// Follows the chain over rows in the order of writing, from a good place on. `is_last`: no row follows
/// them. The last good place, and the first row that was touched.
pub fn follow_audit(
    from: AuditPlace,
    rows: &[AuditRow],
    ends: &AuditEnds,
    is_last: bool,
) -> (AuditPlace, Option<BadAuditRow>) {
    let mut good = from;
    for row in rows {
        let expected = good.number.saturating_add(1);
        let bad = |number, reason| Some(BadAuditRow { number, reason });
        if row.number != expected {
            return (good, bad(expected, "it was removed"));
        }
        if row.number > ends.end.number {
            return (good, bad(expected, "it was added"));
        }
        if row.hash != audit_hash(&good, row.number, &row.note) {
            return (good, bad(expected, "it was edited"));
        }
        good = AuditPlace {
            number: row.number,
            hash: row.hash,
        };
    }
    let end = &ends.end;
    let reason = if !is_last || good == *end {
        return (good, None);
    } else if good.number < end.number {
        "it was removed"
    } else {
        "it is not the row that was written last"
    };
    let number = good.number.saturating_add(1).min(end.number.max(1));
    (good, Some(BadAuditRow { number, reason }))
}

#[cfg(test)]
mod tests {
    use im_core::time::UnixSeconds;

    use super::*;

    fn note(target: &str) -> AuditNote {
        AuditNote {
            at: UnixSeconds::from_wire(7),
            actor: "ann".to_owned(),
            credential: "token 1".to_owned(),
            address: "192.0.2.1".to_owned(),
            request: "r".to_owned(),
            action: "AddUser".to_owned(),
            target: target.to_owned(),
            before: String::new(),
            after: "{}".to_owned(),
            outcome: AuditOutcome::Done,
        }
    }

    fn chain(count: u64) -> (Vec<AuditRow>, AuditEnds) {
        let mut end = AuditPlace::default();
        let mut rows = Vec::new();
        for number in 1..=count {
            let note = note(&format!("user {number}"));
            let hash = audit_hash(&end, number, &note);
            end = AuditPlace { number, hash };
            rows.push(AuditRow { number, note, hash });
        }
        let begin = AuditPlace::default();
        (rows, AuditEnds { begin, end })
    }

    fn first_bad(rows: &[AuditRow], ends: &AuditEnds) -> Option<(u64, &'static str)> {
        let (_, bad) = follow_audit(ends.begin, rows, ends, true);
        bad.map(|bad| (bad.number, bad.reason))
    }

    #[test]
    fn a_chain_that_nobody_touched_is_good_to_its_end() {
        for count in [0, 1, 5] {
            let (rows, ends) = chain(count);
            let (good, bad) = follow_audit(ends.begin, &rows, &ends, true);
            assert_eq!((good, bad), (ends.end, None));
        }
    }

    #[test]
    fn the_first_row_that_was_edited_is_named_whatever_was_edited() {
        type Edit = fn(&mut AuditRow);
        let edits: [Edit; 12] = [
            |row| row.note.at = UnixSeconds::from_wire(8),
            |row| row.note.actor.push('x'),
            |row| row.note.credential.push('x'),
            |row| row.note.address.push('x'),
            |row| row.note.request.push('x'),
            |row| row.note.action.push('x'),
            |row| row.note.target.push('x'),
            |row| row.note.before.push('x'),
            |row| row.note.after.push('x'),
            |row| row.note.outcome = AuditOutcome::Refused,
            |row| row.hash[0] ^= 1,
            // The same letters under another heading.
            |row| {
                row.note.actor.push('t');
                row.note.credential.remove(0);
            },
        ];
        for (at, edit) in edits.iter().enumerate() {
            for place in 0..4 {
                let (mut rows, ends) = chain(4);
                edit(&mut rows[place]);
                let bad = u64::try_from(place).unwrap() + 1;
                assert_eq!(
                    first_bad(&rows, &ends),
                    Some((bad, "it was edited")),
                    "edit {at}"
                );
            }
        }
    }

    #[test]
    fn the_first_row_that_was_removed_or_added_is_named_also_at_the_ends() {
        for place in 0..4 {
            let (mut rows, ends) = chain(4);
            rows.remove(place);
            let bad = u64::try_from(place).unwrap() + 1;
            assert_eq!(first_bad(&rows, &ends), Some((bad, "it was removed")));
        }
        let (_, ends) = chain(4);
        assert_eq!(first_bad(&[], &ends), Some((1, "it was removed")));
        let (rows, _) = chain(5);
        assert_eq!(first_bad(&rows, &ends), Some((5, "it was added")));
        let (rows, mut ends) = chain(4);
        ends.end.hash[0] ^= 1;
        let reason = "it is not the row that was written last";
        assert_eq!(first_bad(&rows, &ends), Some((4, reason)));
    }

    #[test]
    fn a_page_goes_on_where_the_one_before_ended() {
        let (mut rows, ends) = chain(6);
        let (good, bad) = follow_audit(ends.begin, &rows[..3], &ends, false);
        assert_eq!((good.number, bad), (3, None));
        let (end, bad) = follow_audit(good, &rows[3..], &ends, true);
        assert_eq!((end, bad), (ends.end, None));
        rows[4].note.target = "user 1".to_owned();
        let (_, bad) = follow_audit(good, &rows[3..], &ends, true);
        assert_eq!(bad.unwrap().number, 5);
    }
}
