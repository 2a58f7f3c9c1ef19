//! Tokens of the HTTP API.

use async_trait::async_trait;
use im_core::UserId;
use im_core::time::UnixSeconds;
use sqlx::mysql::{MySqlConnection, MySqlRow};

use crate::MysqlStore;
use crate::change::next_number;
use crate::rows::{hash, narrow, number, text, time};
use im_store::{NewToken, StoreError, TokenRow, TokenStore};

/// Columns of a token, in the order in which [`token`] reads them.
macro_rules! columns {
    () => {
        "id, hash, owner, label, scopes, addresses, created, expires, made_by, revoked, used, bot"
    };
}

const DROP_ENDED: &str =
    "DELETE FROM api_token WHERE expires < ? OR (revoked >= 1 AND revoked < ?)";
const HOW_MANY: &str = "SELECT count(*) FROM api_token";
const INSERT: &str = "INSERT INTO api_token
    (id, hash, owner, label, scopes, addresses, created, expires, made_by, revoked, used, bot)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?)";
/// Before, owner or '' twice, rows.
const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM api_token WHERE id < ? AND (? = '' OR owner = ?) ORDER BY id DESC LIMIT ?"
);
const ONE: &str = concat!("SELECT ", columns!(), " FROM api_token WHERE id = ?");
const REVOKE: &str =
    "UPDATE api_token SET revoked = CASE revoked WHEN 0 THEN ? ELSE revoked END WHERE id = ?";
const NOTE_USE: &str = "UPDATE api_token SET used = greatest(used, ?) WHERE id = ?";

#[async_trait]
impl TokenStore for MysqlStore {
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
            .bind(before)
            .bind(owner)
            .bind(owner)
            .bind(limit)
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(token).collect()
    }

    async fn token(&self, id: u32) -> Result<Option<TokenRow>, StoreError> {
        let row = sqlx::query(ONE)
            .bind(id)
            .fetch_optional(&self.inner.readers)
            .await?;
        row.as_ref().map(token).transpose()
    }

    async fn revoke_token(&self, id: u32, now: UnixSeconds) -> Result<(), StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(REVOKE)
                    .bind(now.get())
                    .bind(id)
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
        self.change(move |connection| {
            Box::pin(async move {
                sqlx::query(NOTE_USE)
                    .bind(day.get())
                    .bind(id)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }
}

/// Keeps a token, if there is room for it; its id.
pub(crate) async fn insert_token(
    connection: &mut MySqlConnection,
    token: NewToken,
    since: UnixSeconds,
    most: u32,
) -> Result<u32, StoreError> {
    // Behind the counter's lock nobody else adds one.
    let id = narrow(next_number(&mut *connection, "api_token").await?)?;
    sqlx::query(DROP_ENDED)
        .bind(since.get())
        .bind(since.get())
        .execute(&mut *connection)
        .await?;
    let row = sqlx::query(HOW_MANY).fetch_one(&mut *connection).await?;
    if number(&row, 0)? >= most {
        return Err(StoreError::Full { what: "tokens" });
    }
    sqlx::query(INSERT)
        .bind(id)
        .bind(token.hash.to_vec())
        .bind(token.owner)
        .bind(token.label)
        .bind(token.scopes.join(" "))
        .bind(token.addresses.join(" "))
        .bind(token.created.get())
        .bind(token.expires.get())
        .bind(token.made_by)
        .bind(token.bot.map_or(0, UserId::get))
        .execute(connection)
        .await?;
    Ok(id)
}

fn token(row: &MySqlRow) -> Result<TokenRow, StoreError> {
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
