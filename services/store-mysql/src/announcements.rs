//! Announcements.

use std::collections::HashSet;

use async_trait::async_trait;
use bytes::Bytes;
use im_core::time::UnixSeconds;
use im_core::{RetryKey, UserId};
use im_order::CommitSeq;
use sqlx::AssertSqlSafe;
use sqlx::mysql::MySqlRow;

use crate::MysqlStore;
use crate::change::next_number;
use crate::messages::retry_key;
use crate::rows::{bytes, list, narrow, number, position, text, time, user};
use im_store::{
    AnnouncementBounds, AnnouncementRow, AnnouncementState, AnnouncementStep, AnnouncementStore,
    Audience, NewAnnouncement, StoreError,
};

const EVERYBODY: u32 = 0;
const DEPARTMENTS: u32 = 1;
const PEOPLE: u32 = 2;

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

const HOW_MANY_OPEN: &str = "SELECT count(*) FROM announcement WHERE state < 2";
const EXCESS: &str =
    "SELECT id FROM announcement WHERE state > 1 ORDER BY id DESC LIMIT 1 OFFSET ?";
const DROP_ENDED: &str = "DELETE FROM announcement WHERE state > 1 AND id <= ?";
const INSERT: &str =
    "INSERT INTO announcement (id, sender, body, audience, named, state, reached, position,
    total, sent, refused, created, ended, made_by, failure)
    VALUES (?, ?, ?, ?, ?, 0, 0, 0, ?, 0, 0, ?, 0, ?, '')";
const LIST: &str = concat!(
    "SELECT ",
    columns!("''", "''"),
    " FROM announcement ORDER BY id DESC"
);
const ONE: &str = concat!(
    "SELECT ",
    columns!("''", "named"),
    " FROM announcement WHERE id = ?"
);
const OLDEST_OPEN: &str = concat!(
    "SELECT ",
    columns!("body", "named"),
    " FROM announcement WHERE state < 2 ORDER BY id LIMIT 1"
);
const BEGIN: &str = "UPDATE announcement
    SET state = 1, position = (SELECT last_seq FROM part WHERE part = 0) WHERE id = ? AND state = 0";
const KEYS_BEHIND: &str = "SELECT retry_key FROM message WHERE part = 0 AND seq > ? AND sender = ?
    AND retry_key IS NOT NULL";
/// Assigned from left to right, the state last: reached, position, sent, refused, ended three times, id, reached before.
const STEP: &str = "UPDATE announcement SET reached = ?, position = ?, sent = sent + ?,
        refused = refused + ?, ended = CASE WHEN state < 2 THEN ? ELSE ended END,
        body = CASE WHEN ? > 0 THEN '' ELSE body END,
        state = CASE WHEN state < 2 AND ? > 0 THEN 2 ELSE state END
    WHERE id = ? AND reached = ?";
const STATE: &str = "SELECT state FROM announcement WHERE id = ?";
/// How it ended, when, why, which.
const END: &str = "UPDATE announcement SET ended = ?, body = '', failure = ?, state = ?
    WHERE id = ? AND state < 2";
const CANCELLED: u32 = AnnouncementState::Cancelled as u32;
const FAILED: u32 = AnnouncementState::Failed as u32;

#[async_trait]
impl AnnouncementStore for MysqlStore {
    async fn count_audience(&self, sender: UserId, audience: &Audience) -> Result<u32, StoreError> {
        let text = people("count(*)", sender, audience);
        let row = sqlx::raw_sql(AssertSqlSafe(text))
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
                    // Behind the counter's lock nobody else adds one.
                    let id = narrow(next_number(&mut *connection, "announcement").await?)?;
                    let row = sqlx::query(HOW_MANY_OPEN)
                        .fetch_one(&mut *connection)
                        .await?;
                    if number(&row, 0)? >= bounds.open {
                        return Err(StoreError::Full {
                            what: "announcements",
                        });
                    }
                    let excess = sqlx::query(EXCESS)
                        .bind(bounds.ended)
                        .fetch_optional(&mut *connection)
                        .await?;
                    if let Some(excess) = excess {
                        sqlx::query(DROP_ENDED)
                            .bind(number(&excess, 0)?)
                            .execute(&mut *connection)
                            .await?;
                    }
                    let counting = people("count(*)", sender, &audience);
                    let row = sqlx::raw_sql(AssertSqlSafe(counting))
                        .fetch_one(&mut *connection)
                        .await?;
                    let total = number(&row, 0)?;
                    let (kind, named) = stored(&audience);
                    sqlx::query(INSERT)
                        .bind(id)
                        .bind(sender.get())
                        .bind(body.to_vec())
                        .bind(kind)
                        .bind(named)
                        .bind(total)
                        .bind(created.get())
                        .bind(made_by)
                        .execute(connection)
                        .await?;
                    Ok(id)
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
            .bind(id)
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
                let oldest = sqlx::query(OLDEST_OPEN)
                    .fetch_optional(&mut *connection)
                    .await?;
                let Some(oldest) = oldest else {
                    return Ok(None);
                };
                sqlx::query(BEGIN)
                    .bind(number(&oldest, 0)?)
                    .execute(&mut *connection)
                    .await?;
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
        let announced = found.announcement;
        let mut text = people("id", announced.sender, &announced.audience);
        text.push_str(&format!(" AND id > {after} ORDER BY id LIMIT {limit}"));
        let rows = sqlx::raw_sql(AssertSqlSafe(text))
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
        let rows = sqlx::query(KEYS_BEHIND)
            .bind(position.to_wire())
            .bind(sender.get())
            .fetch_all(&self.inner.readers)
            .await?;
        let mut found = Vec::new();
        for row in &rows {
            found.extend(Some(retry_key(row, 0)?).filter(|key| wanted.contains(key)));
        }
        Ok(found)
    }

    async fn step_announcement(&self, step: &AnnouncementStep) -> Result<bool, StoreError> {
        let step = *step;
        self.change(move |connection| {
            Box::pin(async move {
                let ended = step.ended.map_or(0, UnixSeconds::get);
                let done = sqlx::query(STEP)
                    .bind(step.reached)
                    .bind(step.position.to_wire())
                    .bind(step.sent)
                    .bind(step.refused)
                    .bind(ended)
                    .bind(ended)
                    .bind(ended)
                    .bind(step.id)
                    .bind(step.after)
                    .execute(&mut *connection)
                    .await?;
                let row = sqlx::query(STATE)
                    .bind(step.id)
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
        self.end_announcement(id, CANCELLED, "", now).await
    }

    async fn fail_announcement(
        &self,
        id: u32,
        why: &str,
        now: UnixSeconds,
    ) -> Result<bool, StoreError> {
        self.end_announcement(id, FAILED, why, now).await
    }
}

impl MysqlStore {
    /// Ends an announcement that is open; whether it was.
    async fn end_announcement(
        &self,
        id: u32,
        state: u32,
        why: &str,
        now: UnixSeconds,
    ) -> Result<bool, StoreError> {
        let why = why.to_owned();
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(END)
                    .bind(now.get())
                    .bind(why)
                    .bind(state)
                    .bind(id)
                    .execute(&mut *connection)
                    .await?;
                let row = sqlx::query(STATE)
                    .bind(id)
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
fn stored(audience: &Audience) -> (u32, String) {
    let words = |ids: Vec<String>| ids.join(" ");
    match audience {
        Audience::Everybody => (EVERYBODY, String::new()),
        Audience::Departments(ids) => {
            (DEPARTMENTS, words(ids.iter().map(u32::to_string).collect()))
        }
        Audience::People(people) => (
            PEOPLE,
            words(people.iter().map(UserId::to_string).collect()),
        ),
    }
}

/// Asks for the people of an audience. Only who may log in; bots only by name. They are looked through by id, so that a step costs
/// what it passes.
fn people(columns: &str, sender: UserId, audience: &Audience) -> String {
    let among = match audience {
        Audience::Everybody => " AND kind = 0".to_owned(),
        Audience::Departments(ids) => {
            format!(
                " AND kind = 0 AND department IN ({})",
                list(ids.iter().copied())
            )
        }
        Audience::People(people) => {
            format!(
                " AND id IN ({})",
                list(people.iter().map(|user| user.get()))
            )
        }
    };
    format!(
        "SELECT {columns} FROM account FORCE INDEX (PRIMARY) WHERE status = 0 AND id <> {sender}{among}"
    )
}

fn audience(kind: u32, named: &str) -> Result<Audience, StoreError> {
    let ids: Result<Vec<u32>, _> = named.split_whitespace().map(str::parse).collect();
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

fn state(row: &MySqlRow, at: usize) -> Result<AnnouncementState, StoreError> {
    let number = number(row, at)?;
    AnnouncementState::of(number)
        .ok_or_else(|| StoreError::Corrupt(format!("state {number} of an announcement")))
}

fn announcement(row: &MySqlRow) -> Result<AnnouncementRow, StoreError> {
    Ok(AnnouncementRow {
        id: number(row, 0)?,
        announcement: NewAnnouncement {
            sender: user(row, 1)?,
            body: Bytes::from(bytes(row, 2)?),
            audience: audience(number(row, 3)?, &text(row, 4)?)?,
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
