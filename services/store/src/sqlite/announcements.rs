//! Announcements.

use std::collections::HashSet;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use im_core::time::UnixSeconds;
use im_core::{RetryKey, UserId};
use im_order::CommitSeq;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::changes::Statement;
use super::rows::{json_array, number, position, signed, text, time, user};
use crate::{
    AnnouncementBounds, AnnouncementRow, AnnouncementState, AnnouncementStep, AnnouncementStore,
    Audience, NewAnnouncement, StoreError,
};

const EVERYBODY: i64 = 0;
const DEPARTMENTS: i64 = 1;
const PEOPLE: i64 = 2;

/// Columns of an announcement, in the order in which [`announcement`] reads them, with this body and these ids.
macro_rules! columns {
    ($body:literal, $named:literal) => {
        concat!(
            "id, sender, ",
            $body,
            ", audience, ",
            $named,
            ", state, reached, position, total, sent, refused, created, ended, made_by, failure"
        )
    };
}

/// People of an audience: ?1 what it is, ?2 the ids as a JSON array, ?3 the sender. Only who may log in. They are
/// looked through by id, so that a step costs what it passes.
macro_rules! people {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM account WHERE +status = 0 AND id <> ?3 AND (?1 = 2 OR kind = 0) AND (?1 = 0
                OR (?1 = 1 AND department IN (SELECT value FROM json_each(?2)))
                OR (?1 = 2 AND id IN (SELECT value FROM json_each(?2))))"
        )
    };
}

const COUNT: &str = people!("count(*)");
/// ?4 after, ?5 rows.
const NEXT_PEOPLE: &str = concat!(people!("id"), " AND id > ?4 ORDER BY id LIMIT ?5");
const HOW_MANY_OPEN: &str = "SELECT count(*) FROM announcement WHERE state < 2";
const DROP_ENDED: &str = "DELETE FROM announcement WHERE state > 1 AND id <=
    (SELECT id FROM announcement WHERE state > 1 ORDER BY id DESC LIMIT 1 OFFSET ?)";
const INSERT: &str = "INSERT INTO announcement
    (sender, body, audience, named, state, reached, position, total, sent, refused, created, ended, made_by)
    VALUES (?, ?, ?, ?, 0, 0, 0, ?, 0, 0, ?, 0, ?)";
const LIST: &str = concat!(
    "SELECT ",
    columns!("x''", "'[]'"),
    " FROM announcement ORDER BY id DESC"
);
const ONE: &str = concat!(
    "SELECT ",
    columns!("x''", "named"),
    " FROM announcement WHERE id = ?"
);
const OLDEST_OPEN: &str = concat!(
    "SELECT ",
    columns!("body", "named"),
    " FROM announcement WHERE state < 2 ORDER BY id LIMIT 1"
);
const BEGIN: &str = "UPDATE announcement
    SET state = 1, position = (SELECT coalesce(max(seq), 0) FROM message)
    WHERE id = (SELECT min(id) FROM announcement WHERE state < 2) AND state = 0";
const KEYS_BEHIND: &str =
    "SELECT retry_key FROM message WHERE seq > ? AND sender = ? AND retry_key IS NOT NULL";
/// ?1 id, ?2 reached before, ?3 reached, ?4 position, ?5 sent, ?6 refused, ?7 ended or 0.
const STEP: &str = "UPDATE announcement SET reached = ?3, position = ?4, sent = sent + ?5,
        refused = refused + ?6, ended = CASE WHEN state < 2 THEN ?7 ELSE ended END,
        body = CASE WHEN ?7 > 0 THEN x'' ELSE body END,
        state = CASE WHEN state < 2 AND ?7 > 0 THEN 2 ELSE state END
    WHERE id = ?1 AND reached = ?2";
const STATE: &str = "SELECT state FROM announcement WHERE id = ?";
const CANCEL: &str =
    "UPDATE announcement SET state = 3, ended = ?2, body = x'' WHERE id = ?1 AND state < 2";

const FAIL: &str = "UPDATE announcement SET state = 4, ended = ?2, body = x'', failure = ?3
    WHERE id = ?1 AND state < 2";

#[async_trait]
impl AnnouncementStore for SqliteStore {
    async fn count_audience(&self, sender: UserId, audience: &Audience) -> Result<u32, StoreError> {
        let (kind, named) = stored(audience);
        let row = sqlx::query(COUNT)
            .bind(kind)
            .bind(named)
            .bind(i64::from(sender.get()))
            .fetch_one(&self.inner.readers)
            .await?;
        number(&row, 0)
    }

    async fn create_announcement(
        &self,
        announcement: &NewAnnouncement,
        bounds: AnnouncementBounds,
    ) -> Result<u32, StoreError> {
        let NewAnnouncement {
            sender,
            body,
            audience,
            created,
            made_by,
        } = announcement.clone();
        let work = self.change_numbered(
            move |connection| {
                Box::pin(async move {
                    let row = sqlx::query(HOW_MANY_OPEN)
                        .fetch_one(&mut *connection)
                        .await?;
                    if number(&row, 0)? >= bounds.open {
                        return Err(StoreError::Full {
                            what: "announcements",
                        });
                    }
                    sqlx::query(DROP_ENDED)
                        .bind(i64::from(bounds.ended))
                        .execute(&mut *connection)
                        .await?;
                    let (kind, named) = stored(&audience);
                    let sender = i64::from(sender.get());
                    let row = sqlx::query(COUNT)
                        .bind(kind)
                        .bind(&named)
                        .bind(sender)
                        .fetch_one(&mut *connection)
                        .await?;
                    let total = number(&row, 0)?;
                    let done = sqlx::query(INSERT)
                        .bind(sender)
                        .bind(body.to_vec())
                        .bind(kind)
                        .bind(named)
                        .bind(i64::from(total))
                        .bind(i64::from(created))
                        .bind(made_by)
                        .execute(connection)
                        .await?;
                    let id = done.last_insert_rowid();
                    u32::try_from(id)
                        .map_err(|_| StoreError::Corrupt(format!("announcement id {id}")))
                })
            },
            |id| u64::from(*id),
        );
        work.await
    }

    async fn announcements(&self) -> Result<Vec<AnnouncementRow>, StoreError> {
        let rows = sqlx::query(LIST).fetch_all(&self.inner.readers).await?;
        rows.iter().map(announcement).collect()
    }

    async fn announcement(&self, id: u32) -> Result<Option<AnnouncementRow>, StoreError> {
        let row = sqlx::query(ONE)
            .bind(i64::from(id))
            .fetch_optional(&self.inner.readers)
            .await?;
        row.as_ref().map(announcement).transpose()
    }

    async fn begin_announcement(&self) -> Result<Option<AnnouncementRow>, StoreError> {
        // Mostly there is none: a look costs no commit.
        let open = sqlx::query(OLDEST_OPEN).fetch_optional(&self.inner.readers);
        if open.await?.is_none() {
            return Ok(None);
        }
        self.change(|connection| {
            Box::pin(async move {
                sqlx::query(BEGIN).execute(&mut *connection).await?;
                let row = sqlx::query(OLDEST_OPEN).fetch_optional(connection).await?;
                row.as_ref().map(announcement).transpose()
            })
        })
        .await
    }

    async fn announcement_people(
        &self,
        id: u32,
        after: u32,
        limit: u32,
    ) -> Result<Vec<UserId>, StoreError> {
        let found = self.announcement(id).await?;
        let found = found.ok_or(NOT_FOUND)?;
        let (kind, named) = stored(&found.announcement.audience);
        let rows = sqlx::query(NEXT_PEOPLE)
            .bind(kind)
            .bind(named)
            .bind(i64::from(found.announcement.sender.get()))
            .bind(i64::from(after))
            .bind(i64::from(limit))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(|row| user(row, 0)).collect()
    }

    async fn keys_behind(
        &self,
        sender: UserId,
        position: CommitSeq,
        keys: &[RetryKey],
    ) -> Result<Vec<RetryKey>, StoreError> {
        let wanted: HashSet<RetryKey> = keys.iter().copied().collect();
        let mut rows = sqlx::query(KEYS_BEHIND)
            .bind(signed(position.to_wire())?)
            .bind(i64::from(sender.get()))
            .fetch(&self.inner.readers);
        let mut found = Vec::new();
        while let Some(row) = rows.try_next().await? {
            let key: Vec<u8> = row.try_get(0)?;
            let key = <[u8; 16]>::try_from(key).ok().map(RetryKey);
            found.extend(key.filter(|key| wanted.contains(key)));
        }
        Ok(found)
    }

    async fn step_announcement(&self, step: &AnnouncementStep) -> Result<bool, StoreError> {
        let step = *step;
        let position = signed(step.position.to_wire())?;
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(STEP)
                    .bind(i64::from(step.id))
                    .bind(i64::from(step.after))
                    .bind(i64::from(step.reached))
                    .bind(position)
                    .bind(i64::from(step.sent))
                    .bind(i64::from(step.refused))
                    .bind(step.ended.map_or(0, i64::from))
                    .execute(&mut *connection)
                    .await?;
                let row = sqlx::query(STATE)
                    .bind(i64::from(step.id))
                    .fetch_optional(connection)
                    .await?
                    .ok_or(NOT_FOUND)?;
                if done.rows_affected() == 0 {
                    return Err(StoreError::Outdated);
                }
                Ok(state(&row, 0)?.is_open())
            })
        })
        .await
    }

    async fn cancel_announcement(&self, id: u32, now: UnixSeconds) -> Result<bool, StoreError> {
        let ending = sqlx::query(CANCEL).bind(i64::from(id)).bind(i64::from(now));
        self.end_announcement(id, ending).await
    }

    async fn fail_announcement(
        &self,
        id: u32,
        why: &str,
        now: UnixSeconds,
    ) -> Result<bool, StoreError> {
        let ending = sqlx::query(FAIL)
            .bind(i64::from(id))
            .bind(i64::from(now))
            .bind(why.to_owned());
        self.end_announcement(id, ending).await
    }
}

impl SqliteStore {
    /// Ends an announcement that is open; whether it was.
    async fn end_announcement(&self, id: u32, ending: Statement) -> Result<bool, StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let done = ending.execute(&mut *connection).await?;
                let row = sqlx::query(STATE)
                    .bind(i64::from(id))
                    .fetch_optional(connection)
                    .await?;
                row.ok_or(NOT_FOUND)?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
    }
}

const NOT_FOUND: StoreError = StoreError::NotFound {
    what: "announcement",
};

/// An audience as the columns (audience, named).
fn stored(audience: &Audience) -> (i64, String) {
    match audience {
        Audience::Everybody => (EVERYBODY, "[]".to_owned()),
        Audience::Departments(ids) => (DEPARTMENTS, json_array(ids.iter().copied())),
        Audience::People(people) => (PEOPLE, json_array(people.iter().map(|user| user.get()))),
    }
}

fn audience(kind: i64, named: &str) -> Result<Audience, StoreError> {
    let digits = named.trim_matches(['[', ']']).split(',');
    let ids = digits.filter(|word| !word.is_empty()).map(str::parse);
    let ids: Result<Vec<u32>, _> = ids.collect();
    let odd = || StoreError::Corrupt(format!("audience {kind} {named:?}"));
    let ids = ids.map_err(|_| odd())?;
    match kind {
        EVERYBODY => Ok(Audience::Everybody),
        DEPARTMENTS => Ok(Audience::Departments(ids)),
        PEOPLE => {
            let people: Option<Vec<_>> = ids.into_iter().map(UserId::from_wire).collect();
            people.map(Audience::People).ok_or_else(odd)
        }
        _ => Err(odd()),
    }
}

fn state(row: &SqliteRow, at: usize) -> Result<AnnouncementState, StoreError> {
    let number = number(row, at)?;
    AnnouncementState::of(number)
        .ok_or_else(|| StoreError::Corrupt(format!("state {number} of an announcement")))
}

fn announcement(row: &SqliteRow) -> Result<AnnouncementRow, StoreError> {
    Ok(AnnouncementRow {
        id: number(row, 0)?,
        announcement: NewAnnouncement {
            sender: user(row, 1)?,
            body: Bytes::from(row.try_get::<Vec<u8>, _>(2)?),
            audience: audience(row.try_get(3)?, &text(row, 4)?)?,
            created: time(row, 11)?,
            made_by: text(row, 13)?,
        },
        state: state(row, 5)?,
        reached: number(row, 6)?,
        position: position(row, 7)?,
        total: number(row, 8)?,
        sent: number(row, 9)?,
        refused: number(row, 10)?,
        ended: Some(time(row, 12)?).filter(|time| time.get() != 0),
        failure: text(row, 14)?,
    })
}
