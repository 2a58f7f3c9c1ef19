//! Tokens of the HTTP API.

use async_trait::async_trait;
use im_core::UserId;
use im_core::time::UnixSeconds;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::audit::hash;
use super::rows::{number, text, time};
use crate::{NewToken, StoreError, TokenRow, TokenStore};

/// Columns of a token, in the order in which [`token`] reads them.
macro_rules! columns {
    () => {
        "id, hash, owner, label, scopes, addresses, created, expires, made_by, revoked, used, bot"
    };
}

const DROP_ENDED: &str = "DELETE FROM api_token WHERE expires < ?1 OR revoked BETWEEN 1 AND ?1 - 1";
const HOW_MANY: &str = "SELECT count(*) FROM api_token";
const INSERT: &str = "INSERT INTO api_token
    (hash, owner, label, scopes, addresses, created, expires, made_by, revoked, used, bot)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?)";
/// ?1 owner or '', ?2 before, ?3 rows.
const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM api_token WHERE id < ?2 AND (?1 = '' OR owner = ?1) ORDER BY id DESC LIMIT ?3"
);
const ONE: &str = concat!("SELECT ", columns!(), " FROM api_token WHERE id = ?");
const REVOKE: &str =
    "UPDATE api_token SET revoked = CASE revoked WHEN 0 THEN ?1 ELSE revoked END WHERE id = ?2";
const NOTE_USE: &str = "UPDATE api_token SET used = ?1 WHERE id = ?2 AND used < ?1";

#[async_trait]
impl TokenStore for SqliteStore {
    async fn create_token(
        &self,
        token: &NewToken,
        since: UnixSeconds,
        most: u32,
    ) -> Result<u32, StoreError> {
        let token = token.clone();
        let work = self.change_numbered(
            move |connection| {
                Box::pin(async move { insert_token(connection, token, since, most).await })
            },
            |id| u64::from(*id),
        );
        work.await
    }

    async fn tokens(
        &self,
        owner: &str,
        before: u32,
        limit: u32,
    ) -> Result<Vec<TokenRow>, StoreError> {
        let rows = sqlx::query(LIST)
            .bind(owner)
            .bind(i64::from(before))
            .bind(i64::from(limit))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(token).collect()
    }

    async fn token(&self, id: u32) -> Result<Option<TokenRow>, StoreError> {
        let row = sqlx::query(ONE)
            .bind(i64::from(id))
            .fetch_optional(&self.inner.readers)
            .await?;
        row.as_ref().map(token).transpose()
    }

    async fn revoke_token(&self, id: u32, now: UnixSeconds) -> Result<(), StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(REVOKE)
                    .bind(i64::from(now))
                    .bind(i64::from(id))
                    .execute(connection)
                    .await?;
                if done.rows_affected() == 0 {
                    return Err(StoreError::NotFound { what: "token" });
                }
                Ok(())
            })
        })
        .await
    }

    async fn note_token_use(&self, id: u32, day: UnixSeconds) -> Result<(), StoreError> {
        let query = sqlx::query(NOTE_USE)
            .bind(i64::from(day))
            .bind(i64::from(id));
        self.change_rows(query).await?;
        Ok(())
    }
}

/// Keeps a token, if there is room for it; its id.
pub(super) async fn insert_token(
    connection: &mut SqliteConnection,
    token: NewToken,
    since: UnixSeconds,
    most: u32,
) -> Result<u32, StoreError> {
    sqlx::query(DROP_ENDED)
        .bind(i64::from(since))
        .execute(&mut *connection)
        .await?;
    let row = sqlx::query(HOW_MANY).fetch_one(&mut *connection).await?;
    if number(&row, 0)? >= most {
        return Err(StoreError::Full { what: "tokens" });
    }
    let done = sqlx::query(INSERT)
        .bind(token.hash.to_vec())
        .bind(token.owner)
        .bind(token.label)
        .bind(token.scopes.join(" "))
        .bind(token.addresses.join(" "))
        .bind(i64::from(token.created))
        .bind(i64::from(token.expires))
        .bind(token.made_by)
        .bind(i64::from(token.bot.map_or(0, UserId::get)))
        .execute(connection)
        .await?;
    let id = done.last_insert_rowid();
    u32::try_from(id).map_err(|_| StoreError::Corrupt(format!("token id {id}")))
}

fn token(row: &SqliteRow) -> Result<TokenRow, StoreError> {
    let words = |at| {
        let text = text(row, at)?;
        Ok::<_, StoreError>(text.split_whitespace().map(str::to_owned).collect())
    };
    let some = |at| Ok::<_, StoreError>(Some(time(row, at)?).filter(|time| time.get() != 0));
    Ok(TokenRow {
        id: number(row, 0)?,
        token: NewToken {
            hash: hash(row, 1)?,
            owner: text(row, 2)?,
            label: text(row, 3)?,
            scopes: words(4)?,
            addresses: words(5)?,
            created: time(row, 6)?,
            expires: time(row, 7)?,
            made_by: text(row, 8)?,
            bot: UserId::from_wire(number(row, 11)?),
        },
        revoked: some(9)?,
        used: some(10)?,
    })
}
