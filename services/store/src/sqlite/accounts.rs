//! Accounts: credentials, profiles, login failures.

use async_trait::async_trait;
use im_core::UserId;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::directory::next_stamp;
use super::rows::{json_array, number, text, user};
use crate::{AccountStore, Credentials, Failures, NewHash, StoreError, UserProfile};

/// Failures remembered per (name, address) at most; any lockout threshold lies far below.
const MAX_FAILURES: usize = 64;

/// Columns of a profile, in the order in which [`profile`] reads them.
macro_rules! profile_columns {
    () => {
        "id, name, nick, sex, department, phone, email, domain, avatar, signature, status"
    };
}
pub(super) use profile_columns;

const CREDENTIALS: &str = "SELECT id, hash, status FROM account WHERE name = ?";
const REPLACE_HASH: &str = "UPDATE account SET hash = ? WHERE id = ? AND hash = ?";
const SET_HASH: &str = "UPDATE account SET hash = ? WHERE id = ?";
const PROFILES: &str = concat!(
    "SELECT ",
    profile_columns!(),
    " FROM account WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
);
const PROFILE_BY_NAME: &str = concat!(
    "SELECT ",
    profile_columns!(),
    " FROM account WHERE name = ?"
);
const FIND_PROFILES: &str = concat!(
    "SELECT ",
    profile_columns!(),
    " FROM account WHERE id > ?1 AND (name LIKE ?2 ESCAPE '\\' OR nick LIKE ?2 ESCAPE '\\')
      ORDER BY id LIMIT ?3"
);
const SET_STATUS: &str = "UPDATE account SET status = ?, stamp = ? WHERE id = ?";
const SET_SIGNATURE: &str = "UPDATE account SET signature = ?, stamp = ? WHERE id = ?";
const SET_AVATAR: &str = "UPDATE account SET avatar = ?, stamp = ? WHERE id = ?";
const PUSH_SHIELD: &str = "SELECT push_shield FROM account WHERE id = ?";
const SET_PUSH_SHIELD: &str = "UPDATE account SET push_shield = ? WHERE id = ?";
const FAILURES: &str = "SELECT times FROM login_failure WHERE name = ? AND address = ?";
const STORE_FAILURES: &str = "INSERT INTO login_failure (name, address, newest, times)
    VALUES (?, ?, ?, ?)
    ON CONFLICT (name, address) DO UPDATE SET newest = excluded.newest, times = excluded.times";
const DROP_OLD_FAILURES: &str = "DELETE FROM login_failure WHERE newest < ?";
const DROP_EXCESS_FAILURES: &str = "DELETE FROM login_failure WHERE id IN
    (SELECT id FROM login_failure ORDER BY newest DESC, id DESC LIMIT -1 OFFSET ?)";
const CLEAR_FAILURES: &str = "DELETE FROM login_failure WHERE name = ? AND address = ?";

#[async_trait]
impl AccountStore for SqliteStore {
    async fn credentials(&self, name: &str) -> Result<Option<Credentials>, StoreError> {
        let row = sqlx::query(CREDENTIALS)
            .bind(name)
            .fetch_optional(&self.inner.readers)
            .await?;
        row.map(|row| {
            Ok(Credentials {
                user: user(&row, 0)?,
                hash: text(&row, 1)?,
                status: number(&row, 2)?,
            })
        })
        .transpose()
    }

    async fn replace_hash(&self, new: &NewHash) -> Result<bool, StoreError> {
        let mut writer = self.inner.writer.lock().await?;
        let done = sqlx::query(REPLACE_HASH)
            .bind(&new.hash)
            .bind(i64::from(new.user.get()))
            .bind(&new.expected)
            .execute(writer.connection()?)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn profiles(&self, ids: &[UserId]) -> Result<Vec<UserProfile>, StoreError> {
        let rows = sqlx::query(PROFILES)
            .bind(json_array(ids.iter().map(|id| id.get())))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(profile).collect()
    }

    async fn profile_by_name(&self, name: &str) -> Result<Option<UserProfile>, StoreError> {
        let row = sqlx::query(PROFILE_BY_NAME)
            .bind(name)
            .fetch_optional(&self.inner.readers)
            .await?;
        row.as_ref().map(profile).transpose()
    }

    async fn find_profiles(
        &self,
        matching: &str,
        after: u32,
        limit: u32,
    ) -> Result<Vec<UserProfile>, StoreError> {
        let rows = sqlx::query(FIND_PROFILES)
            .bind(i64::from(after))
            .bind(contains(matching))
            .bind(i64::from(limit))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(profile).collect()
    }

    async fn set_hash(&self, user: UserId, hash: &str) -> Result<(), StoreError> {
        let mut writer = self.inner.writer.lock().await?;
        let done = sqlx::query(SET_HASH)
            .bind(hash)
            .bind(i64::from(user.get()))
            .execute(writer.connection()?)
            .await?;
        found(done.rows_affected())
    }

    async fn set_status(&self, user: UserId, status: u32, now: u32) -> Result<(), StoreError> {
        self.set_stamped(SET_STATUS, user, Value::Number(status), now)
            .await
    }

    async fn set_signature(&self, user: UserId, text: &str, now: u32) -> Result<(), StoreError> {
        self.set_stamped(SET_SIGNATURE, user, Value::Text(text), now)
            .await
    }

    async fn set_avatar(&self, user: UserId, url: &str, now: u32) -> Result<(), StoreError> {
        self.set_stamped(SET_AVATAR, user, Value::Text(url), now)
            .await
    }

    async fn push_shield(&self, user: UserId) -> Result<Option<u32>, StoreError> {
        let row = sqlx::query(PUSH_SHIELD)
            .bind(i64::from(user.get()))
            .fetch_optional(&self.inner.readers)
            .await?;
        row.map(|row| number(&row, 0)).transpose()
    }

    async fn set_push_shield(&self, user: UserId, status: u32) -> Result<bool, StoreError> {
        let mut writer = self.inner.writer.lock().await?;
        let done = sqlx::query(SET_PUSH_SHIELD)
            .bind(i64::from(status))
            .bind(i64::from(user.get()))
            .execute(writer.connection()?)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn login_failures(
        &self,
        name: &str,
        address: &str,
        since: u32,
    ) -> Result<Failures, StoreError> {
        let row = sqlx::query(FAILURES)
            .bind(name)
            .bind(address)
            .fetch_optional(&self.inner.readers)
            .await?;
        let mut times = row.map(|row| times(&row)).transpose()?.unwrap_or_default();
        times.retain(|time| *time >= since);
        Ok(Failures { times })
    }

    async fn add_login_failure(
        &self,
        name: &str,
        address: &str,
        now: u32,
        since: u32,
        max_pairs: u32,
    ) -> Result<(), StoreError> {
        let mut writer = self.inner.writer.lock().await?;
        let mut tx = writer.begin().await?;
        sqlx::query(DROP_OLD_FAILURES)
            .bind(i64::from(since))
            .execute(&mut *tx)
            .await?;
        let row = sqlx::query(FAILURES)
            .bind(name)
            .bind(address)
            .fetch_optional(&mut *tx)
            .await?;
        let mut all = row.map(|row| times(&row)).transpose()?.unwrap_or_default();
        all.push(now);
        all.retain(|time| *time >= since);
        let excess = all.len().saturating_sub(MAX_FAILURES);
        let blob: Vec<u8> = all
            .iter()
            .skip(excess)
            .flat_map(|time| time.to_le_bytes())
            .collect();
        sqlx::query(STORE_FAILURES)
            .bind(name)
            .bind(address)
            .bind(i64::from(now))
            .bind(blob)
            .execute(&mut *tx)
            .await?;
        sqlx::query(DROP_EXCESS_FAILURES)
            .bind(i64::from(max_pairs))
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    async fn clear_login_failures(&self, name: &str, address: &str) -> Result<(), StoreError> {
        // Almost every login has nothing to clear: that must not cost a write.
        let row = sqlx::query(FAILURES)
            .bind(name)
            .bind(address)
            .fetch_optional(&self.inner.readers)
            .await?;
        if row.is_none() {
            return Ok(());
        }
        let mut writer = self.inner.writer.lock().await?;
        sqlx::query(CLEAR_FAILURES)
            .bind(name)
            .bind(address)
            .execute(writer.connection()?)
            .await?;
        Ok(())
    }
}

/// What a stamped change sets.
enum Value<'a> {
    Number(u32),
    Text(&'a str),
}

impl SqliteStore {
    async fn set_stamped(
        &self,
        statement: &'static str,
        user: UserId,
        value: Value<'_>,
        now: u32,
    ) -> Result<(), StoreError> {
        let mut writer = self.inner.writer.lock().await?;
        let mut tx = writer.begin().await?;
        let stamp = next_stamp(&mut tx, now).await?;
        let query = match value {
            Value::Number(number) => sqlx::query(statement).bind(i64::from(number)),
            Value::Text(text) => sqlx::query(statement).bind(text.to_owned()),
        };
        let done = query
            .bind(i64::from(stamp))
            .bind(i64::from(user.get()))
            .execute(&mut *tx)
            .await?;
        found(done.rows_affected())?;
        Ok(tx.commit().await?)
    }
}

fn found(rows: u64) -> Result<(), StoreError> {
    if rows == 0 {
        Err(StoreError::NotFound { what: "user" })
    } else {
        Ok(())
    }
}

/// Reads the columns of `profile_columns!`, from the first.
pub(super) fn profile(row: &SqliteRow) -> Result<UserProfile, StoreError> {
    Ok(UserProfile {
        id: user(row, 0)?,
        name: text(row, 1)?,
        nick: text(row, 2)?,
        sex: number(row, 3)?,
        department: number(row, 4)?,
        phone: text(row, 5)?,
        email: text(row, 6)?,
        domain: text(row, 7)?,
        avatar: text(row, 8)?,
        signature: text(row, 9)?,
        status: number(row, 10)?,
    })
}

fn times(row: &SqliteRow) -> Result<Vec<u32>, StoreError> {
    let blob: Vec<u8> = row.try_get(0)?;
    let (times, rest) = blob.as_chunks::<4>();
    if rest.is_empty() {
        Ok(times
            .iter()
            .map(|bytes| u32::from_le_bytes(*bytes))
            .collect())
    } else {
        Err(StoreError::Corrupt(
            "login failure times of odd length".into(),
        ))
    }
}

/// A LIKE pattern for "contains".
fn contains(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}
