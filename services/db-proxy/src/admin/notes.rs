//! What a change leaves in its transaction: its row in the audit log and, under an idempotency key, its
//! answer.

use std::sync::Arc;

use im_core::time::UnixSeconds;
use im_store::{AuditNote, AuditOutcome, AuditRetention, ChangeNote, KeyNote, Store};
use prost::Message;
use serde_json::Value;

use super::AdminService;
use super::caller::Caller;
use super::keys::Key;

/// Longest text of what was before and after a change, bytes.
const MAX_VALUE: usize = 4 << 10;

/// Longest target, bytes.
const MAX_TARGET: usize = 512;

/// What a text that was cut ends with.
const CUT: &str = "…";

/// The call that a service works for.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) action: &'static str,
    pub(super) caller: Caller,
    pub(super) key: Option<Key>,
}

/// A change: one transaction.
#[derive(Debug)]
pub(super) struct Changed {
    target: String,
    is_numbered: bool,
    before: Value,
    after: Value,
    answer: Option<Vec<u8>>,
}

impl Changed {
    /// A change of what is named in words such as "user ann".
    pub(super) fn of(target: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            is_numbered: false,
            before: Value::Null,
            after: Value::Null,
            answer: None,
        }
    }

    /// Something new of a kind, which gets its number from the store.
    pub(super) fn new_of(kind: &str) -> Self {
        Self {
            is_numbered: true,
            ..Self::of(format!("{kind} "))
        }
    }

    pub(super) fn before(self, before: Value) -> Self {
        Self { before, ..self }
    }

    pub(super) fn after(self, after: Value) -> Self {
        Self { after, ..self }
    }

    /// What the call answers when it comes again under its key: this is its last transaction.
    pub(super) fn answer(self, answer: &impl Message) -> Self {
        Self {
            answer: Some(answer.encode_to_vec()),
            ..self
        }
    }
}

impl AdminService {
    /// The note of a change, when somebody asked for it.
    pub(super) fn note(&self, changed: Changed) -> Option<ChangeNote> {
        let call = self.call.as_ref()?;
        let now = UnixSeconds::now();
        let key = call.key.as_ref().zip(changed.answer).map(|(key, answer)| {
            let bounds = &self.config.administration;
            KeyNote {
                scope: key.scope.clone(),
                key: key.key.clone(),
                digest: key.digest(),
                answer,
                since: now.saturating_sub(bounds.idempotency_for.as_seconds_u32()),
                most: bounds.idempotency_keys.into(),
            }
        });
        let noted = AuditNote {
            target: cut(&changed.target, MAX_TARGET),
            before: shown(&changed.before),
            after: shown(&changed.after),
            ..row(&call.caller, call.action, now)
        };
        Some(ChangeNote {
            row: noted,
            is_numbered: changed.is_numbered,
            keep: self.retention(now),
            key,
        })
    }

    /// The store, whose next change leaves its note.
    pub(super) fn noting(&self, changed: Changed) -> Arc<dyn Store> {
        match self.note(changed) {
            Some(note) => self.store.noting(note),
            None => Arc::clone(&self.store),
        }
    }

    pub(super) fn retention(&self, now: UnixSeconds) -> AuditRetention {
        let bounds = &self.config.administration;
        AuditRetention {
            rows: bounds.audit_rows.into(),
            since: now.saturating_sub(bounds.audit_for.as_seconds_u32()),
        }
    }
}

/// A row about what somebody asked for.
pub(super) fn row(caller: &Caller, action: &str, now: UnixSeconds) -> AuditNote {
    AuditNote {
        at: now,
        actor: caller.actor.clone(),
        credential: caller.credential.clone(),
        address: caller.address.clone(),
        request: caller.request.clone(),
        action: action.to_owned(),
        target: String::new(),
        before: String::new(),
        after: String::new(),
        outcome: AuditOutcome::Done,
    }
}

/// A value as it stands in a row: nothing for null.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        value => cut(&value.to_string(), MAX_VALUE),
    }
}

/// The text, or what there is room for of it.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most.saturating_sub(CUT.len()));
    let kept = text.get(..end).unwrap_or_default();
    format!("{kept}{CUT}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_at_4_kib_between_characters() {
        let text = |bytes: usize| Value::String("x".repeat(bytes - 2));
        assert_eq!(shown(&text(MAX_VALUE)).len(), MAX_VALUE);
        let cut = shown(&text(MAX_VALUE + 1));
        assert_eq!(cut.len(), MAX_VALUE);
        assert!(cut.ends_with("x…"), "{cut}");
        let wide = shown(&Value::String("安".repeat(MAX_VALUE)));
        assert!(
            wide.len() <= MAX_VALUE && wide.len() > MAX_VALUE - 3,
            "{}",
            wide.len()
        );
        assert_eq!(shown(&Value::Null), "");
    }
}
