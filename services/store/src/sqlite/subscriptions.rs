//! Subscriptions and deliveries.

use async_trait::async_trait;
use im_core::UserId;
use im_core::time::UnixSeconds;
use im_order::{CommitSeq, Partition};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::change_log::END;
use super::rows::{count, number, position, signed, text, time};
use crate::{
    DeliveryRow, DeliveryState, Holding, LogPlace, NewSubscription, StoreError, SubscribedLog,
    SubscriptionRow, SubscriptionStep, SubscriptionStore,
};

const HOW_MANY: &str = "SELECT count(*) FROM subscription";
const INSERT: &str = "INSERT INTO subscription
    (url, label, kinds, of_groups, of_senders, secret, former_secret, former_until, created, made_by, bot)
    VALUES (?, ?, ?, ?, ?, ?, '', 0, ?, ?, ?)";
const BEGIN: &str = "INSERT INTO follower (name, part, epoch, position) VALUES (?, ?, 1, ?)";
const LIST: &str = "SELECT s.id, s.url, s.label, s.kinds, s.of_groups, s.of_senders, s.secret,
        s.former_secret, s.former_until, s.created, s.made_by, f.epoch, f.position, c.epoch, c.position, s.bot
    FROM subscription AS s
    JOIN follower AS f ON f.name = 'subscription-' || s.id AND f.part = ?1
    JOIN follower AS c ON c.name = 'subscription-' || s.id || '-changes' AND c.part = ?1 ORDER BY s.id";
const SET_SECRET: &str = "UPDATE subscription
    SET former_secret = secret, secret = ?1, former_until = ?2 WHERE id = ?3";
/// Whoever delivers begins anew, with the new secret.
const NEXT_EPOCH: &str =
    "UPDATE follower SET epoch = epoch + 1 WHERE name IN (?1, ?1 || '-changes')";
const OF_BOT: &str = "SELECT id FROM subscription WHERE bot = ?";
const REMOVE: &str = "DELETE FROM subscription WHERE id = ?";
const REMOVE_DELIVERIES: &str = "DELETE FROM delivery WHERE subscription = ?";
const REMOVE_FOLLOWERS: &str = "DELETE FROM follower WHERE name IN (?1, ?1 || '-changes')";

/// Changes nothing unless both epochs are the last ones. ?1 follower, ?2 partition, ?3 its epoch, ?4 position
/// or null, ?5 name of the holder, ?6 epoch of the hold.
const STEP: &str = "UPDATE follower SET position = coalesce(?4, position)
    WHERE name = ?1 AND part = ?2 AND epoch = ?3
      AND EXISTS (SELECT 1 FROM follower AS h WHERE h.name = ?5 AND h.part = ?2 AND h.epoch = ?6)";
const ADD: &str = "INSERT INTO delivery
    (state, after, through, events, tries, first, last, status, answer, subscription, log)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const REPLACE: &str =
    "UPDATE delivery SET state = ?1, after = ?2, through = ?3, events = ?4, tries = ?5,
    first = ?6, last = ?7, status = ?8, answer = ?9
    WHERE subscription = ?10 AND log = ?11 AND id = ?12";
/// ?1 subscription, ?2 state, ?3 how many stay.
const TRIM: &str = "DELETE FROM delivery WHERE subscription = ?1 AND state = ?2 AND id <=
    (SELECT id FROM delivery WHERE subscription = ?1 AND state = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)";

/// Columns of a delivery, in the order in which [`delivery`] reads them.
macro_rules! columns {
    () => {
        "id, subscription, state, after, through, events, tries, first, last, status, answer, log"
    };
}

/// ?1 subscription, ?2 before, ?3 state or null, ?4 rows.
const DELIVERIES: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM delivery WHERE subscription = ?1 AND id < ?2 AND (?3 IS NULL OR state = ?3)
    ORDER BY id DESC LIMIT ?4"
);
const TO_MAKE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM delivery WHERE id IN (
        SELECT d.id FROM subscription AS s JOIN delivery AS d ON d.subscription = s.id AND d.state = 0
        UNION ALL
        SELECT (SELECT min(d.id) FROM delivery AS d WHERE d.subscription = s.id AND d.state = 3)
        FROM subscription AS s) ORDER BY id"
);
const AGAIN: &str =
    "UPDATE delivery SET state = 3 WHERE subscription = ? AND id = ? AND state <> 0";
const EXISTS: &str = "SELECT count(*) FROM delivery WHERE subscription = ? AND id = ?";

#[async_trait]
impl SubscriptionStore for SqliteStore {
    async fn create_subscription(
        &self,
        subscription: &NewSubscription,
        partition: Partition,
        start: CommitSeq,
        most: u32,
    ) -> Result<u32, StoreError> {
        let new = subscription.clone();
        let (part, start) = (i64::from(partition.to_wire()), signed(start.to_wire())?);
        let work = self.change_numbered(
            move |connection| {
                Box::pin(async move {
                    let row = sqlx::query(HOW_MANY).fetch_one(&mut *connection).await?;
                    if number(&row, 0)? >= most {
                        return Err(StoreError::Full {
                            what: "subscriptions",
                        });
                    }
                    let done = sqlx::query(INSERT)
                        .bind(new.url)
                        .bind(new.label)
                        .bind(new.kinds.join(" "))
                        .bind(words(&new.groups))
                        .bind(words(&new.senders))
                        .bind(new.secret)
                        .bind(i64::from(new.created))
                        .bind(new.made_by)
                        .bind(i64::from(new.bot.map_or(0, UserId::get)))
                        .execute(&mut *connection)
                        .await?;
                    let id = done.last_insert_rowid();
                    let id = u32::try_from(id)
                        .map_err(|_| StoreError::Corrupt(format!("subscription id {id}")))?;
                    let row = sqlx::query(END).fetch_one(&mut *connection).await?;
                    let end = signed(count(&row, 0)?)?;
                    let places = [
                        (SubscribedLog::Messages, start),
                        (SubscribedLog::Changes, end),
                    ];
                    for (log, start) in places {
                        sqlx::query(BEGIN)
                            .bind(log.follower(id))
                            .bind(part)
                            .bind(start)
                            .execute(&mut *connection)
                            .await?;
                    }
                    Ok(id)
                })
            },
            |id| u64::from(*id),
        );
        work.await
    }

    async fn subscriptions(
        &self,
        partition: Partition,
    ) -> Result<Vec<SubscriptionRow>, StoreError> {
        let rows = sqlx::query(LIST)
            .bind(i64::from(partition.to_wire()))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(subscription).collect()
    }

    async fn set_subscription_secret(
        &self,
        id: u32,
        secret: &str,
        former_until: UnixSeconds,
    ) -> Result<(), StoreError> {
        let secret = secret.to_owned();
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(SET_SECRET)
                    .bind(secret)
                    .bind(i64::from(former_until))
                    .bind(i64::from(id))
                    .execute(&mut *connection)
                    .await?;
                found(done.rows_affected(), "subscription")?;
                sqlx::query(NEXT_EPOCH)
                    .bind(SubscribedLog::Messages.follower(id))
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    async fn remove_subscription(&self, id: u32) -> Result<(), StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let rows = u64::from(remove(connection, id).await?);
                found(rows, "subscription")
            })
        })
        .await
    }

    async fn step_subscription(
        &self,
        holding: Holding<'_>,
        step: &SubscriptionStep,
    ) -> Result<Option<Vec<u64>>, StoreError> {
        let (name, held) = (holding.name.to_owned(), signed(holding.epoch)?);
        let part = i64::from(holding.partition.to_wire());
        let SubscriptionStep {
            subscription,
            log,
            epoch,
            position,
            deliveries,
            keep,
        } = step.clone();
        let epoch = signed(epoch)?;
        let position = position.map(|at| signed(at.to_wire())).transpose()?;
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(STEP)
                    .bind(log.follower(subscription))
                    .bind(part)
                    .bind(epoch)
                    .bind(position)
                    .bind(name)
                    .bind(held)
                    .execute(&mut *connection)
                    .await?;
                if done.rows_affected() == 0 {
                    return Ok(None);
                }
                let mut added = Vec::new();
                for row in &deliveries {
                    if let Some(id) = put(connection, subscription, row).await? {
                        added.push(id);
                    }
                }
                for state in [DeliveryState::Delivered, DeliveryState::Dead] {
                    if deliveries.iter().any(|row| row.state == state) {
                        sqlx::query(TRIM)
                            .bind(i64::from(subscription))
                            .bind(i64::from(state as u32))
                            .bind(i64::from(keep))
                            .execute(&mut *connection)
                            .await?;
                    }
                }
                Ok(Some(added))
            })
        })
        .await
    }

    async fn deliveries(
        &self,
        subscription: u32,
        state: Option<DeliveryState>,
        before: u64,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let rows = sqlx::query(DELIVERIES)
            .bind(i64::from(subscription))
            .bind(i64::try_from(before).unwrap_or(i64::MAX))
            .bind(state.map(|state| i64::from(state as u32)))
            .bind(i64::from(limit))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(delivery).collect()
    }

    async fn deliveries_to_make(&self) -> Result<Vec<DeliveryRow>, StoreError> {
        let rows = sqlx::query(TO_MAKE).fetch_all(&self.inner.readers).await?;
        rows.iter().map(delivery).collect()
    }

    async fn deliver_again(&self, subscription: u32, id: u64) -> Result<bool, StoreError> {
        let (subscription, id) = (
            i64::from(subscription),
            i64::try_from(id).unwrap_or(i64::MAX),
        );
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(AGAIN)
                    .bind(subscription)
                    .bind(id)
                    .execute(&mut *connection)
                    .await?;
                if done.rows_affected() > 0 {
                    return Ok(true);
                }
                let row = sqlx::query(EXISTS)
                    .bind(subscription)
                    .bind(id)
                    .fetch_one(connection)
                    .await?;
                found(count(&row, 0)?, "delivery").map(|()| false)
            })
        })
        .await
    }
}

/// Forgets a subscription with what hangs on it; whether there was one.
async fn remove(connection: &mut SqliteConnection, id: u32) -> Result<bool, StoreError> {
    let done = sqlx::query(REMOVE)
        .bind(i64::from(id))
        .execute(&mut *connection)
        .await?;
    sqlx::query(REMOVE_DELIVERIES)
        .bind(i64::from(id))
        .execute(&mut *connection)
        .await?;
    sqlx::query(REMOVE_FOLLOWERS)
        .bind(SubscribedLog::Messages.follower(id))
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Forgets all subscriptions of a bot.
pub(super) async fn remove_of_bot(
    connection: &mut SqliteConnection,
    bot: UserId,
) -> Result<(), StoreError> {
    let rows = sqlx::query(OF_BOT)
        .bind(i64::from(bot.get()))
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        remove(connection, number(row, 0)?).await?;
    }
    Ok(())
}

/// Adds or replaces a row; the id of one that was added.
async fn put(
    connection: &mut SqliteConnection,
    subscription: u32,
    row: &DeliveryRow,
) -> Result<Option<u64>, StoreError> {
    let is_new = row.id == 0;
    let query = sqlx::query(if is_new { ADD } else { REPLACE })
        .bind(i64::from(row.state as u32))
        .bind(signed(row.after.to_wire())?)
        .bind(signed(row.through.to_wire())?)
        .bind(i64::from(row.events))
        .bind(i64::from(row.tries))
        .bind(i64::from(row.first))
        .bind(i64::from(row.last))
        .bind(i64::from(row.status))
        .bind(row.answer.clone())
        .bind(i64::from(subscription))
        .bind(i64::from(row.log as u32));
    if is_new {
        let done = query.execute(connection).await?;
        let id = done.last_insert_rowid();
        return u64::try_from(id)
            .map(Some)
            .map_err(|_| StoreError::Corrupt(format!("delivery id {id}")));
    }
    query.bind(signed(row.id)?).execute(connection).await?;
    Ok(None)
}

fn found(rows: u64, what: &'static str) -> Result<(), StoreError> {
    if rows == 0 {
        return Err(StoreError::NotFound { what });
    }
    Ok(())
}

fn words(numbers: &[u32]) -> String {
    let words: Vec<String> = numbers.iter().map(u32::to_string).collect();
    words.join(" ")
}

fn numbers(row: &SqliteRow, at: usize) -> Result<Vec<u32>, StoreError> {
    let text = text(row, at)?;
    let number = |word: &str| {
        word.parse()
            .map_err(|_| StoreError::Corrupt(format!("number {word:?}")))
    };
    text.split_whitespace().map(number).collect()
}

fn subscription(row: &SqliteRow) -> Result<SubscriptionRow, StoreError> {
    let (former, until) = (text(row, 7)?, time(row, 8)?);
    Ok(SubscriptionRow {
        id: number(row, 0)?,
        subscription: NewSubscription {
            url: text(row, 1)?,
            label: text(row, 2)?,
            kinds: text(row, 3)?
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            groups: numbers(row, 4)?,
            senders: numbers(row, 5)?,
            secret: text(row, 6)?,
            created: time(row, 9)?,
            made_by: text(row, 10)?,
            bot: UserId::from_wire(number(row, 15)?),
        },
        former: Some((former, until)).filter(|(former, _)| !former.is_empty()),
        messages: LogPlace {
            epoch: count(row, 11)?,
            position: position(row, 12)?,
        },
        changes: LogPlace {
            epoch: count(row, 13)?,
            position: position(row, 14)?,
        },
    })
}

fn delivery(row: &SqliteRow) -> Result<DeliveryRow, StoreError> {
    let (state, log) = (number(row, 2)?, number(row, 11)?);
    Ok(DeliveryRow {
        id: count(row, 0)?,
        subscription: number(row, 1)?,
        log: SubscribedLog::of(log)
            .ok_or_else(|| StoreError::Corrupt(format!("log {log} of a delivery")))?,
        state: DeliveryState::of(state)
            .ok_or_else(|| StoreError::Corrupt(format!("state {state} of a delivery")))?,
        after: position(row, 3)?,
        through: position(row, 4)?,
        events: number(row, 5)?,
        tries: number(row, 6)?,
        first: time(row, 7)?,
        last: time(row, 8)?,
        status: number(row, 9)?,
        answer: text(row, 10)?,
    })
}
