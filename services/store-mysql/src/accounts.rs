//! Accounts: credentials, profiles, login failures.

use async_trait::async_trait;
use im_core::UserId;
use im_core::time::UnixSeconds;
use sqlx::AssertSqlSafe;
use sqlx::mysql::MySqlRow;

use crate::MysqlStore;
use crate::change::run;
use crate::change_log::{PERSON, note_changes};
use crate::directory::next_stamp;
use crate::failures;
use crate::rows::{bytes, list, number, text, time, user};
use im_store::{
    AccountKind, AccountStore, Credentials, FailurePage, FailureQuery, MAC_BYTES, NewFailure,
    Remembered, StoreError, UserProfile, VerifiedLogin,
};

/// Columns of a profile, in the order in which [`profile`] reads them.
macro_rules! profile_columns {
    () => {
        "id, name, nick, sex, department, phone, email, domain, avatar, signature, status, kind"
    };
}
pub(crate) use profile_columns;

const CREDENTIALS: &str =
    "SELECT id, hash, status, remembered, remembered_at FROM account WHERE name = ? AND kind = 0";
const SET_HASH: &str = "UPDATE account SET hash = ?, remembered = NULL WHERE id = ? AND kind = 0";
const PROFILE_BY_NAME: &str = concat!(
    "SELECT ",
    profile_columns!(),
    " FROM account WHERE name = ?"
);
const FIND_PROFILES: &str = concat!(
    "SELECT ",
    profile_columns!(),
    " FROM account WHERE id > ? AND kind = 0
      AND (lower(name) LIKE lower(?) ESCAPE '!' OR lower(nick) LIKE lower(?) ESCAPE '!') ORDER BY id LIMIT ?"
);
const SET_STATUS: &str = "UPDATE account SET status = ?, remembered = NULL, stamp = ? WHERE id = ?";
const SET_SIGNATURE: &str = "UPDATE account SET signature = ?, stamp = ? WHERE id = ?";
const SET_AVATAR: &str = "UPDATE account SET avatar = ?, stamp = ? WHERE id = ?";
const PUSH_SHIELD: &str = "SELECT push_shield FROM account WHERE id = ?";
const SET_PUSH_SHIELD: &str = "UPDATE account SET push_shield = ? WHERE id = ?";
const STORE_LOGIN: &str = "UPDATE account SET hash = coalesce(?, hash),
        remembered = CASE status WHEN 0 THEN ? END, remembered_at = ?
    WHERE id = ? AND hash = ? AND (status = 0 OR ? IS NOT NULL)";
const FORGET_FAILURES_OF: &str =
    "DELETE FROM login_failure WHERE name = (SELECT name FROM account WHERE id = ?)";

#[async_trait]
impl AccountStore for MysqlStore {
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
                remembered: remembered(&row, 3)?,
            })
        })
        .transpose()
    }

    async fn profiles(&self, ids: &[UserId]) -> Result<Vec<UserProfile>, StoreError> {
        let text = format!(
            concat!(
                "SELECT ",
                profile_columns!(),
                " FROM account WHERE id IN ({}) ORDER BY id"
            ),
            list(ids.iter().map(|id| id.get()))
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(text))
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
            .bind(after)
            .bind(contains(matching))
            .bind(contains(matching))
            .bind(limit)
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(profile).collect()
    }

    async fn set_hash(&self, user: UserId, hash: &str) -> Result<(), StoreError> {
        let hash = hash.to_owned();
        let user = user.get();
        self.change(move |connection| {
            Box::pin(async move {
                let query = sqlx::query(SET_HASH).bind(hash).bind(user);
                found(query.execute(&mut *connection).await?.rows_affected())?;
                // Whoever guessed at the old password knows nothing of the new one.
                sqlx::query(FORGET_FAILURES_OF)
                    .bind(user)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    async fn set_status(
        &self,
        user: UserId,
        status: u32,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        self.set_stamped(SET_STATUS, user, Value::Number(status), now)
            .await
    }

    async fn set_signature(
        &self,
        user: UserId,
        text: &str,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        self.set_stamped(SET_SIGNATURE, user, Value::Text(text.to_owned()), now)
            .await
    }

    async fn set_avatar(
        &self,
        user: UserId,
        url: &str,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        self.set_stamped(SET_AVATAR, user, Value::Text(url.to_owned()), now)
            .await
    }

    async fn push_shield(&self, user: UserId) -> Result<Option<u32>, StoreError> {
        let row = sqlx::query(PUSH_SHIELD)
            .bind(user.get())
            .fetch_optional(&self.inner.readers)
            .await?;
        row.map(|row| number(&row, 0)).transpose()
    }

    async fn set_push_shield(&self, user: UserId, status: u32) -> Result<bool, StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(SET_PUSH_SHIELD)
                    .bind(status)
                    .bind(user.get())
                    .execute(connection)
                    .await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
    }

    async fn store_logins(&self, logins: &[VerifiedLogin]) -> Result<Vec<bool>, StoreError> {
        let logins = logins.to_vec();
        self.change(move |connection| {
            Box::pin(async move {
                let mut stored = Vec::with_capacity(logins.len());
                for login in logins {
                    let remembered = login.remembered;
                    let done = sqlx::query(STORE_LOGIN)
                        .bind(login.new_hash.clone())
                        .bind(remembered.map(|remembered| remembered.mac.to_vec()))
                        .bind(remembered.map_or(0, |remembered| remembered.at.get()))
                        .bind(login.user.get())
                        .bind(login.hash)
                        .bind(login.new_hash)
                        .execute(&mut *connection)
                        .await?;
                    stored.push(done.rows_affected() > 0);
                }
                Ok(stored)
            })
        })
        .await
    }

    async fn renew_remembered(
        &self,
        users: &[UserId],
        now: UnixSeconds,
        before: UnixSeconds,
    ) -> Result<(), StoreError> {
        let mut users: Vec<u32> = users.iter().map(|user| user.get()).collect();
        users.sort_unstable();
        let (now, before) = (now.get(), before.get());
        let renewing = format!(
            "UPDATE account SET remembered_at = {now} WHERE id IN ({}) AND remembered IS NOT NULL
                AND (remembered_at < {before} OR remembered_at > {now})",
            list(users)
        );
        self.change(move |connection| {
            Box::pin(async move {
                run(connection, renewing).await?;
                Ok(())
            })
        })
        .await
    }

    async fn login_failures(
        &self,
        name: &str,
        addresses: &[&str],
        since: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<Vec<u32>, StoreError> {
        let counting = self.inner.readers.with(async |connection| {
            failures::counts(connection, name, addresses, since, now).await
        });
        counting.await
    }

    async fn add_login_failure(&self, failure: &NewFailure<'_>) -> Result<Vec<u32>, StoreError> {
        let (name, addresses) = (failure.name.to_owned(), owned(failure.addresses));
        let NewFailure {
            known,
            now,
            since,
            max_pairs,
            kept_above,
            ..
        } = *failure;
        self.change(move |connection| {
            Box::pin(async move {
                let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
                let failure = NewFailure {
                    name: &name,
                    known,
                    addresses: &addresses,
                    now,
                    since,
                    max_pairs,
                    kept_above,
                };
                failures::add(connection, &failure).await
            })
        })
        .await
    }

    async fn clear_login_failures(&self, name: &str, addresses: &[&str]) -> Result<(), StoreError> {
        let (name, addresses) = (name.to_owned(), owned(addresses));
        self.change(move |connection| {
            Box::pin(async move {
                let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
                failures::clear(connection, &name, &addresses).await
            })
        })
        .await
    }

    async fn list_login_failures(
        &self,
        query: &FailureQuery<'_>,
    ) -> Result<FailurePage, StoreError> {
        let listing = self
            .inner
            .readers
            .with(async |connection| failures::list(connection, query).await);
        listing.await
    }

    async fn forget_login_failures(&self, name: &str) -> Result<u64, StoreError> {
        let name = name.to_owned();
        self.change(move |connection| {
            Box::pin(async move { failures::forget(connection, &name).await })
        })
        .await
    }
}

/// What a stamped change sets.
#[derive(Clone)]
enum Value {
    Number(u32),
    Text(String),
}

impl MysqlStore {
    async fn set_stamped(
        &self,
        statement: &'static str,
        user: UserId,
        value: Value,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let stamp = next_stamp(connection, now).await?;
                let query = match value {
                    Value::Number(number) => sqlx::query(statement).bind(number),
                    Value::Text(text) => sqlx::query(statement).bind(text),
                };
                let done = query
                    .bind(stamp.get())
                    .bind(user.get())
                    .execute(&mut *connection)
                    .await?;
                found(done.rows_affected())?;
                note_changes(connection, PERSON, &[(user.get(), stamp.get())]).await
            })
        })
        .await
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn found(rows: u64) -> Result<(), StoreError> {
    if rows == 0 {
        Err(StoreError::NotFound { what: "user" })
    } else {
        Ok(())
    }
}

/// Reads the columns of `profile_columns!`, from the first.
pub(crate) fn profile(row: &MySqlRow) -> Result<UserProfile, StoreError> {
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
        kind: kind(row, 11)?,
    })
}

fn kind(row: &MySqlRow, at: usize) -> Result<AccountKind, StoreError> {
    match number(row, at)? {
        0 => Ok(AccountKind::Person),
        1 => Ok(AccountKind::Bot),
        2 => Ok(AccountKind::FormerBot),
        odd => Err(StoreError::Corrupt(format!("account kind {odd}"))),
    }
}

/// Reads the columns `remembered` and `remembered_at`.
fn remembered(row: &MySqlRow, at: usize) -> Result<Option<Remembered>, StoreError> {
    if sqlx::ValueRef::is_null(&sqlx::Row::try_get_raw(row, at)?) {
        return Ok(None);
    }
    let mac = bytes(row, at)?;
    let mac = <[u8; MAC_BYTES]>::try_from(mac)
        .map_err(|_| StoreError::Corrupt("remembered login of a wrong length".into()))?;
    Ok(Some(Remembered {
        mac,
        at: time(row, at + 1)?,
    }))
}

/// A LIKE pattern for "contains".
pub(crate) fn contains(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}
