//! Subscriptions and deliveries.

use async_trait::async_trait;
use im_core::UserId;
use im_core::time::UnixSeconds;
use im_order::{CommitSeq, Partition};
use sqlx::mysql::{MySqlConnection, MySqlRow};

use crate::MysqlStore;
use crate::change::next_number;
use crate::change_log::END;
use crate::rows::{count, narrow, number, position, text, time};
use im_store::{
    DeliveryRow, DeliveryState, Holding, LogPlace, NewSubscription, StoreError, SubscribedLog,
    SubscriptionRow, SubscriptionStep, SubscriptionStore,
};

const HOW_MANY: &str = "SELECT count(*) FROM subscription";
const INSERT: &str = "INSERT INTO subscription
    (id, url, label, kinds, of_groups, of_senders, secret, former_secret, former_until, created, made_by, bot)
    VALUES (?, ?, ?, ?, ?, ?, ?, '', 0, ?, ?, ?)";
const BEGIN: &str = "INSERT INTO follower (name, part, epoch, position) VALUES (?, ?, 1, ?)";
const LIST: &str = "SELECT s.id, s.url, s.label, s.kinds, s.of_groups, s.of_senders, s.secret,
        s.former_secret, s.former_until, s.created, s.made_by, f.epoch, f.position, c.epoch, c.position, s.bot
    FROM subscription AS s
    JOIN follower AS f ON f.name = concat('subscription-', s.id) AND f.part = ?
    JOIN follower AS c ON c.name = concat('subscription-', s.id, '-changes') AND c.part = ? ORDER BY s.id";
/// Assigned from left to right.
const SET_SECRET: &str = "UPDATE subscription
    SET former_secret = secret, secret = ?, former_until = ? WHERE id = ?";
/// Whoever delivers begins anew, with the new secret.
const NEXT_EPOCH: &str =
    "UPDATE follower SET epoch = epoch + 1 WHERE name IN (?, concat(?, '-changes'))";
const OF_BOT: &str = "SELECT id FROM subscription WHERE bot = ?";
const REMOVE: &str = "DELETE FROM subscription WHERE id = ?";
const REMOVE_DELIVERIES: &str = "DELETE FROM delivery WHERE subscription = ?";
const REMOVE_FOLLOWERS: &str = "DELETE FROM follower WHERE name IN (?, concat(?, '-changes'))";

/// Finds nobody unless the hold is the last one, which stays so up to the commit: name of the holder, partition, epoch.
const HOLDING: &str =
    "SELECT epoch FROM follower WHERE name = ? AND part = ? AND epoch = ? LOCK IN SHARE MODE";
/// Changes nothing unless the epoch is the last one: position or null, follower, partition, its epoch.
const STEP: &str = "UPDATE follower SET position = coalesce(?, position)
    WHERE name = ? AND part = ? AND epoch = ?";
const ADD: &str = "INSERT INTO delivery
    (state, after, through, events, tries, first, last, status, answer, subscription, log, id)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const REPLACE: &str =
    "UPDATE delivery SET state = ?, after = ?, through = ?, events = ?, tries = ?,
    first = ?, last = ?, status = ?, answer = ?
    WHERE subscription = ? AND log = ? AND id = ?";
/// Subscription, state, how many stay.
const EXCESS: &str = "SELECT id FROM delivery WHERE subscription = ? AND state = ?
    ORDER BY id DESC LIMIT 1 OFFSET ?";
const TRIM: &str = "DELETE FROM delivery WHERE subscription = ? AND state = ? AND id <= ?";

/// Columns of a delivery, in the order in which [`delivery`] reads them.
macro_rules! columns {
    () => {
        "id, subscription, state, after, through, events, tries, first, last, status, answer, log"
    };
}

/// Subscription, before, state or null twice, rows.
const DELIVERIES: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM delivery WHERE subscription = ? AND id < ? AND (? IS NULL OR state = ?)
    ORDER BY id DESC LIMIT ?"
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
impl SubscriptionStore for MysqlStore {
    async fn create_subscription(
        &self,
        subscription: &NewSubscription,
        partition: Partition,
        start: CommitSeq,
        most: u32,
    ) -> Result<u32, StoreError> {
        let new = subscription.clone();
        let part = partition.to_wire();
        let work = self.change_numbered(
            move |connection| {
                Box::pin(async move {
                    // Behind the counter's lock nobody else adds one.
                    let id = narrow(next_number(&mut *connection, "subscription").await?)?;
                    let row = sqlx::query(HOW_MANY).fetch_one(&mut *connection).await?;
                    if number(&row, 0)? >= most {
                        return Err(StoreError::Full {
                            what: "subscriptions",
                        });
                    }
                    sqlx::query(INSERT)
                        .bind(id)
                        .bind(new.url)
                        .bind(new.label)
                        .bind(new.kinds.join(" "))
                        .bind(words(&new.groups))
                        .bind(words(&new.senders))
                        .bind(new.secret)
                        .bind(new.created.get())
                        .bind(new.made_by)
                        .bind(new.bot.map_or(0, UserId::get))
                        .execute(&mut *connection)
                        .await?;
                    let row = sqlx::query(END).fetch_one(&mut *connection).await?;
                    let end = position(&row, 0)?;
                    let places = [
                        (SubscribedLog::Messages, start),
                        (SubscribedLog::Changes, end),
                    ];
                    for (log, start) in places {
                        sqlx::query(BEGIN)
                            .bind(log.follower(id).into_bytes())
                            .bind(part)
                            .bind(start.to_wire())
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
            .bind(partition.to_wire())
            .bind(partition.to_wire())
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
                    .bind(former_until.get())
                    .bind(id)
                    .execute(&mut *connection)
                    .await?;
                found(done.rows_affected(), "subscription")?;
                sqlx::query(NEXT_EPOCH)
                    .bind(SubscribedLog::Messages.follower(id).into_bytes())
                    .bind(SubscribedLog::Messages.follower(id).into_bytes())
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
        let (name, held) = (holding.name.to_owned(), holding.epoch);
        let part = holding.partition.to_wire();
        let SubscriptionStep {
            subscription,
            log,
            epoch,
            position,
            deliveries,
            keep,
        } = step.clone();
        self.change(move |connection| {
            Box::pin(async move {
                let holding = sqlx::query(HOLDING)
                    .bind(name.as_bytes())
                    .bind(part)
                    .bind(held)
                    .fetch_optional(&mut *connection)
                    .await?;
                if holding.is_none() {
                    return Ok(None);
                }
                let done = sqlx::query(STEP)
                    .bind(position.map(CommitSeq::to_wire))
                    .bind(log.follower(subscription).into_bytes())
                    .bind(part)
                    .bind(epoch)
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
                        trim(&mut *connection, subscription, state, keep).await?;
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
            .bind(subscription)
            .bind(before)
            .bind(state.map(|state| state as u32))
            .bind(state.map(|state| state as u32))
            .bind(limit)
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(delivery).collect()
    }

    async fn deliveries_to_make(&self) -> Result<Vec<DeliveryRow>, StoreError> {
        let rows = sqlx::query(TO_MAKE).fetch_all(&self.inner.readers).await?;
        rows.iter().map(delivery).collect()
    }

    async fn deliver_again(&self, subscription: u32, id: u64) -> Result<bool, StoreError> {
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
async fn remove(connection: &mut MySqlConnection, id: u32) -> Result<bool, StoreError> {
    let done = sqlx::query(REMOVE)
        .bind(id)
        .execute(&mut *connection)
        .await?;
    sqlx::query(REMOVE_DELIVERIES)
        .bind(id)
        .execute(&mut *connection)
        .await?;
    sqlx::query(REMOVE_FOLLOWERS)
        .bind(SubscribedLog::Messages.follower(id).into_bytes())
        .bind(SubscribedLog::Messages.follower(id).into_bytes())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Forgets all subscriptions of a bot.
pub(super) async fn remove_of_bot(
    connection: &mut MySqlConnection,
    bot: UserId,
) -> Result<(), StoreError> {
    let rows = sqlx::query(OF_BOT)
        .bind(bot.get())
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        remove(connection, number(row, 0)?).await?;
    }
    Ok(())
}

/// Adds or replaces a row; the id of one that was added.
async fn put(
    connection: &mut MySqlConnection,
    subscription: u32,
    row: &DeliveryRow,
) -> Result<Option<u64>, StoreError> {
    let is_new = row.id == 0;
    let id = if is_new {
        next_number(&mut *connection, "delivery").await?
    } else {
        row.id
    };
    sqlx::query(if is_new { ADD } else { REPLACE })
        .bind(row.state as u32)
        .bind(row.after.to_wire())
        .bind(row.through.to_wire())
        .bind(row.events)
        .bind(row.tries)
        .bind(row.first.get())
        .bind(row.last.get())
        .bind(row.status)
        .bind(&row.answer)
        .bind(subscription)
        .bind(row.log as u32)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(is_new.then_some(id))
}

/// Drops the oldest that ended in a state beyond those that stay.
async fn trim(
    connection: &mut MySqlConnection,
    subscription: u32,
    state: DeliveryState,
    keep: u32,
) -> Result<(), StoreError> {
    let excess = sqlx::query(EXCESS)
        .bind(subscription)
        .bind(state as u32)
        .bind(keep)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(excess) = excess {
        sqlx::query(TRIM)
            .bind(subscription)
            .bind(state as u32)
            .bind(count(&excess, 0)?)
            .execute(connection)
            .await?;
    }
    Ok(())
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

fn numbers(row: &MySqlRow, at: usize) -> Result<Vec<u32>, StoreError> {
    let text = text(row, at)?;
    let number = |word: &str| {
        word.parse()
            .map_err(|_| StoreError::Corrupt(format!("number {word:?}")))
    };
    text.split_whitespace().map(number).collect()
}

fn subscription(row: &MySqlRow) -> Result<SubscriptionRow, StoreError> {
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

fn delivery(row: &MySqlRow) -> Result<DeliveryRow, StoreError> {
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
