//! Bots, and what they are told of.

use async_trait::async_trait;
use im_core::UserId;
use im_core::time::UnixSeconds;
use im_order::CommitSeq;
use sqlx::mysql::MySqlConnection;

use crate::MysqlStore;
use crate::accounts::{profile, profile_columns};
use crate::change_log::{PERSON, note_changes};
use crate::directory::{LOCK_STAMP, next_stamp};
use crate::messages::entry;
use crate::rows::{count, is_duplicate, number, size};
use crate::subscriptions::remove_of_bot;
use crate::tokens::insert_token;
use im_store::{
    BotBounds, BotPage, BotRead, BotShown, BotStore, MadeBot, NewBot, NewToken, StoreError,
    UserProfile,
};

const HOW_MANY: &str = "SELECT count(*) FROM account WHERE kind = 1";
/// Ids are given behind the lock of the directory's stamp.
const NEXT_ID: &str = "SELECT coalesce(max(id), 0) + 1 FROM account";
const INSERT: &str = "INSERT INTO account
    (id, name, hash, nick, sex, department, phone, email, domain, avatar, signature, status, stamp, kind)
    VALUES (?, ?, '', ?, 0, ?, '', '', '', ?, ?, 0, ?, 1)";
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
const REVOKE: &str = "UPDATE api_token SET revoked = ? WHERE bot = ? AND revoked = 0";
const SHORTEN: &str =
    "UPDATE api_token SET expires = least(expires, ?) WHERE bot = ? AND revoked = 0";

/// Where the first message lies that may be for a bot, 0 for nowhere: the bot, after.
const FIRST: &str = "SELECT coalesce(min((SELECT m.seq FROM message AS m
        WHERE m.conv = i.conv AND m.id > coalesce(g.joined_id, 0) ORDER BY m.id LIMIT 1)), 0)
    FROM inbox AS i
    JOIN conversation AS c ON c.part = 0 AND c.conv = i.conv
    LEFT JOIN group_member AS g ON g.part = 0 AND g.conv = i.conv AND g.user = i.user AND i.conv < 4294967296
    WHERE i.user = ? AND (i.conv >= 4294967296 OR g.active = 1) AND c.last_seq > ?";

/// Looks at every place from one to another for messages for a bot, at most so many of them and, but for the first one,
/// so many bytes: the bot, from, to, the bot, messages, bytes.
const READ: &str = "SELECT m.seq, m.id, m.sender, m.type, m.time, m.low_sent, m.body, m.conv FROM (
        SELECT seq, size, sum(size) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) AS total FROM (
            SELECT m.seq AS seq, length(m.body) + 96 AS size
            FROM message AS m
            STRAIGHT_JOIN inbox AS i ON i.user = ? AND i.conv = m.conv
            LEFT JOIN group_member AS g ON g.part = 0 AND g.conv = i.conv AND g.user = i.user AND i.conv < 4294967296
            WHERE m.part = 0 AND m.seq BETWEEN ? AND ? AND m.sender <> ?
              AND (i.conv >= 4294967296 OR g.active = 1) AND m.id > coalesce(g.joined_id, 0)
            ORDER BY m.seq LIMIT ?) AS chosen) AS s
    STRAIGHT_JOIN message AS m ON m.part = 0 AND m.seq = s.seq
    WHERE s.total <= ? OR s.total = s.size ORDER BY m.seq";

#[async_trait]
impl BotStore for MysqlStore {
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
                    // Behind the lock of the stamp nobody else makes one.
                    sqlx::query(LOCK_STAMP).execute(&mut *connection).await?;
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
            .bind(limit)
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
                    .bind(shown.department)
                    .bind(shown.avatar)
                    .bind(shown.signature)
                    .bind(status)
                    .bind(stamp.get())
                    .bind(bot.get())
                    .execute(&mut *connection)
                    .await?;
                found(done.rows_affected())?;
                if status != 0 {
                    revoke(&mut *connection, bot, now).await?;
                }
                note_changes(connection, PERSON, &[(bot.get(), stamp.get())]).await
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
                    .bind(stamp.get())
                    .bind(bot.get())
                    .execute(&mut *connection)
                    .await?;
                found(done.rows_affected())?;
                revoke(&mut *connection, bot, now).await?;
                remove_of_bot(&mut *connection, bot).await?;
                note_changes(connection, PERSON, &[(bot.get(), stamp.get())]).await
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
                        .bind(bot.get())
                        .fetch_one(&mut *connection)
                        .await?;
                    found(number(&row, 0)?.into())?;
                    let now = token.created;
                    if former_until > now {
                        sqlx::query(SHORTEN)
                            .bind(former_until.get())
                            .bind(bot.get())
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
        let bot = bot.get();
        let row = sqlx::query(FIRST)
            .bind(bot)
            .bind(after.to_wire())
            .fetch_one(&self.inner.readers)
            .await?;
        let first = count(&row, 0)?;
        let through = through.to_wire();
        // What is stored from now on lies behind `through`.
        if first == 0 || first > through {
            return Ok(nothing(CommitSeq::from_wire(through)));
        }
        let first = first.max(after.to_wire().saturating_add(1));
        let last = through.min(first.saturating_add(u64::from(places.max(1)) - 1));
        let rows = sqlx::query(READ)
            .bind(bot)
            .bind(first)
            .bind(last)
            .bind(bot)
            .bind(limit.rows.max(1))
            .bind(size(limit.bytes))
            .fetch_all(&self.inner.readers)
            .await?;
        let entries = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        // Whoever was given some asks again behind them: a page may have been cut.
        let last_given = entries.last().map(|entry| entry.message.seq);
        let reached = last_given.unwrap_or_else(|| CommitSeq::from_wire(last));
        Ok(BotPage { entries, reached })
    }
}

async fn insert(
    connection: &mut MySqlConnection,
    bot: NewBot,
    now: UnixSeconds,
) -> Result<UserId, StoreError> {
    let stamp = next_stamp(connection, now).await?;
    let row = sqlx::query(NEXT_ID).fetch_one(&mut *connection).await?;
    let user = crate::rows::user(&row, 0)?;
    let inserted = sqlx::query(INSERT)
        .bind(user.get())
        .bind(bot.name)
        .bind(bot.shown.nick)
        .bind(bot.shown.department)
        .bind(bot.shown.avatar)
        .bind(bot.shown.signature)
        .bind(stamp.get())
        .execute(&mut *connection)
        .await;
    match inserted {
        Ok(_) => {
            note_changes(connection, PERSON, &[(user.get(), stamp.get())]).await?;
            Ok(user)
        }
        Err(error) if is_duplicate(&error) => Err(StoreError::Taken { what: "name" }),
        Err(error) => Err(error.into()),
    }
}

async fn revoke(
    connection: &mut MySqlConnection,
    bot: UserId,
    now: UnixSeconds,
) -> Result<(), StoreError> {
    sqlx::query(REVOKE)
        .bind(now.get())
        .bind(bot.get())
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
