//! Bots, and what they are told of.

use async_trait::async_trait;
use im_core::UserId;
use im_core::time::UnixSeconds;
use im_order::CommitSeq;
use sqlx::{Row as _, SqliteConnection};

use super::SqliteStore;
use super::accounts::{profile, profile_columns};
use super::directory::next_stamp;
use super::messages::message;
use super::rows::{conversation, is_unique_violation, number, signed, size, unsigned};
use super::subscriptions::remove_of_bot;
use super::tokens::insert_token;
use crate::{
    BotBounds, BotPage, BotRead, BotShown, BotStore, LogEntry, MadeBot, NewBot, NewToken,
    StoreError, UserProfile,
};

const HOW_MANY: &str = "SELECT count(*) FROM account WHERE kind = 1";
const INSERT: &str = "INSERT INTO account
    (id, name, hash, nick, sex, department, phone, email, domain, avatar, signature, status, stamp, kind)
    VALUES ((SELECT coalesce(max(id), 0) + 1 FROM account), ?1, '', ?2, 0, ?3, '', '', '', ?4, ?5, 0, ?6, 1)
    RETURNING id";
const LIST: &str = concat!(
    "SELECT ",
    profile_columns!(),
    " FROM account WHERE kind = 1 AND name > ? ORDER BY name LIMIT ?"
);
const CHANGE: &str =
    "UPDATE account SET nick = ?, department = ?, avatar = ?, signature = ?, status = ?,
    stamp = ? WHERE id = ? AND kind = 1";
const REMOVE: &str = "UPDATE account SET name = ?, stamp = ?, status = 3, signature = '', kind = 2
    WHERE id = ? AND kind = 1";
const IS_ACTIVE: &str =
    "SELECT EXISTS (SELECT 1 FROM account WHERE id = ? AND kind = 1 AND status = 0)";
const REVOKE: &str = "UPDATE api_token SET revoked = ?1 WHERE bot = ?2 AND revoked = 0";
const SHORTEN: &str =
    "UPDATE api_token SET expires = ?1 WHERE bot = ?2 AND revoked = 0 AND expires > ?1";

/// Where the first message lies that may be for a bot: none of its conversations has one behind a position when
/// this is null. ?1 bot, ?2 after.
const FIRST: &str = "SELECT min((SELECT m.seq FROM message AS m
        WHERE m.conv = b.conv AND m.id > b.joined_id ORDER BY m.id LIMIT 1))
    FROM member AS b JOIN conversation AS c ON c.conv = b.conv
    WHERE b.user = ?1 AND b.active = 1 AND c.last_seq > ?2";

/// Looks at every place from ?2 to ?3 for messages for the bot ?1, at most ?4 of them and, but for the first one,
/// ?5 bytes.
const READ: &str = "WITH sized AS MATERIALIZED (
        SELECT seq, sum(size) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) AS total, size FROM (
            SELECT m.seq AS seq, length(m.body) + 96 AS size
            FROM message AS m CROSS JOIN member AS b ON b.user = ?1 AND b.conv = m.conv
            WHERE m.seq BETWEEN ?2 AND ?3 AND m.sender <> ?1 AND b.active = 1 AND m.id > b.joined_id
            ORDER BY m.seq LIMIT ?4))
    SELECT m.seq, m.id, m.sender, m.type, m.time, m.low_sent, m.body, c.kind, c.a, c.b
    FROM sized AS s CROSS JOIN message AS m ON m.seq = s.seq
        CROSS JOIN conversation AS c ON c.conv = m.conv
    WHERE s.total <= ?5 OR s.total = s.size ORDER BY m.seq";

#[async_trait]
impl BotStore for SqliteStore {
    async fn create_bot(
        &self,
        bot: &NewBot,
        token: &NewToken,
        bounds: BotBounds,
        now: UnixSeconds,
    ) -> Result<MadeBot, StoreError> {
        let (bot, token) = (bot.clone(), token.clone());
        let work = self.change_numbered(
            move |connection| {
                Box::pin(async move {
                    let row = sqlx::query(HOW_MANY).fetch_one(&mut *connection).await?;
                    if number(&row, 0)? >= bounds.bots {
                        return Err(StoreError::Full { what: "bots" });
                    }
                    let user = insert(&mut *connection, bot, now).await?;
                    let mut token = token;
                    token.bot = Some(user);
                    let token =
                        insert_token(connection, token, bounds.tokens_since, bounds.tokens).await?;
                    Ok((user.get(), token))
                })
            },
            |(user, _)| u64::from(*user),
        );
        let (user, token) = work.await?;
        let user = UserId::from_wire(user);
        let user = user.ok_or_else(|| StoreError::Corrupt("user id 0".to_owned()))?;
        Ok(MadeBot { user, token })
    }

    async fn bots(&self, after: &str, limit: u32) -> Result<Vec<UserProfile>, StoreError> {
        let rows = sqlx::query(LIST)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(profile).collect()
    }

    async fn change_bot(
        &self,
        bot: UserId,
        shown: &BotShown,
        status: u32,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        let shown = shown.clone();
        self.change(move |connection| {
            Box::pin(async move {
                let stamp = next_stamp(connection, now).await?;
                let done = sqlx::query(CHANGE)
                    .bind(shown.nick)
                    .bind(i64::from(shown.department))
                    .bind(shown.avatar)
                    .bind(shown.signature)
                    .bind(i64::from(status))
                    .bind(i64::from(stamp))
                    .bind(i64::from(bot.get()))
                    .execute(&mut *connection)
                    .await?;
                found(done.rows_affected())?;
                if status != 0 {
                    revoke(connection, bot, now).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn remove_bot(
        &self,
        bot: UserId,
        name: &str,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.change(move |connection| {
            Box::pin(async move {
                let stamp = next_stamp(connection, now).await?;
                let done = sqlx::query(REMOVE)
                    .bind(name)
                    .bind(i64::from(stamp))
                    .bind(i64::from(bot.get()))
                    .execute(&mut *connection)
                    .await?;
                found(done.rows_affected())?;
                revoke(&mut *connection, bot, now).await?;
                remove_of_bot(connection, bot).await
            })
        })
        .await
    }

    async fn replace_bot_token(
        &self,
        bot: UserId,
        token: &NewToken,
        former_until: UnixSeconds,
        bounds: BotBounds,
    ) -> Result<u32, StoreError> {
        let token = NewToken {
            bot: Some(bot),
            ..token.clone()
        };
        let work = self.change_numbered(
            move |connection| {
                Box::pin(async move {
                    let row = sqlx::query(IS_ACTIVE)
                        .bind(i64::from(bot.get()))
                        .fetch_one(&mut *connection)
                        .await?;
                    found(number(&row, 0)?.into())?;
                    let now = token.created;
                    if former_until > now {
                        sqlx::query(SHORTEN)
                            .bind(i64::from(former_until))
                            .bind(i64::from(bot.get()))
                            .execute(&mut *connection)
                            .await?;
                    } else {
                        revoke(&mut *connection, bot, now).await?;
                    }
                    insert_token(connection, token, bounds.tokens_since, bounds.tokens).await
                })
            },
            |id| u64::from(*id),
        );
        work.await
    }

    async fn read_for_bot(&self, read: BotRead) -> Result<BotPage, StoreError> {
        let BotRead {
            bot,
            after,
            through,
            limit,
            places,
        } = read;
        let nothing = |reached| BotPage {
            entries: Vec::new(),
            reached,
        };
        if after >= through {
            return Ok(nothing(after));
        }
        let bot = i64::from(bot.get());
        let behind = signed(after.to_wire())?;
        let row = sqlx::query(FIRST)
            .bind(bot)
            .bind(behind)
            .fetch_one(&self.inner.readers)
            .await?;
        let first: Option<i64> = row.try_get(0)?;
        let through = through.to_wire();
        // What is stored from now on lies behind `through`.
        let first = match first.map(unsigned).transpose()? {
            Some(first) if first <= through => first.max(after.to_wire().saturating_add(1)),
            _ => return Ok(nothing(CommitSeq::from_wire(through))),
        };
        let last = through.min(first.saturating_add(u64::from(places.max(1)) - 1));
        let rows = sqlx::query(READ)
            .bind(bot)
            .bind(signed(first)?)
            .bind(signed(last)?)
            .bind(i64::from(limit.rows.max(1)))
            .bind(size(limit.bytes))
            .fetch_all(&self.inner.readers)
            .await?;
        let entry = |row| {
            Ok::<_, StoreError>(LogEntry {
                conversation: conversation(row, 7)?,
                message: message(row, 0)?,
            })
        };
        let entries = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        // Whoever was given some asks again behind them: a page may have been cut.
        let last_given = entries.last().map(|entry| entry.message.seq);
        let reached = last_given.unwrap_or_else(|| CommitSeq::from_wire(last));
        Ok(BotPage { entries, reached })
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    bot: NewBot,
    now: UnixSeconds,
) -> Result<UserId, StoreError> {
    let stamp = next_stamp(connection, now).await?;
    let inserted = sqlx::query(INSERT)
        .bind(bot.name)
        .bind(bot.shown.nick)
        .bind(i64::from(bot.shown.department))
        .bind(bot.shown.avatar)
        .bind(bot.shown.signature)
        .bind(i64::from(stamp))
        .fetch_one(connection)
        .await;
    match inserted {
        Ok(row) => super::rows::user(&row, 0),
        Err(error) if is_unique_violation(&error) => Err(StoreError::Taken { what: "name" }),
        Err(error) => Err(error.into()),
    }
}

async fn revoke(
    connection: &mut SqliteConnection,
    bot: UserId,
    now: UnixSeconds,
) -> Result<(), StoreError> {
    sqlx::query(REVOKE)
        .bind(i64::from(now))
        .bind(i64::from(bot.get()))
        .execute(connection)
        .await?;
    Ok(())
}

fn found(rows: u64) -> Result<(), StoreError> {
    if rows == 0 {
        return Err(StoreError::NotFound { what: "bot" });
    }
    Ok(())
}
