//! Importing a directory file: whole or not at all, in one transaction.

use std::collections::HashMap;
use std::sync::Arc;

use im_core::time::UnixSeconds;
use sqlx::AssertSqlSafe;
use sqlx::mysql::{MySqlConnection, MySqlRow};

use crate::MysqlStore;
use crate::accounts::{profile, profile_columns};
use crate::change_log::{DEPARTMENT, PERSON, note_changes};
use crate::directory::{LOCK_STAMP, next_stamp};
use crate::rows::{list, number, text};
use im_store::{
    Departments, DirectoryImport, ImportOutcome, ImportPlan, ImportedAccount, ImportedUser,
    KnownIds, StoreError,
};

/// Changed users or departments that share a stamp: clients fetch pages that end between stamps.
const ROWS_PER_STAMP: usize = 1000;
/// Rows per statement: 256 × 14 = 3,584 bound values of the 65,535 that the protocol takes.
const ROWS_AT_ONCE: usize = 256;

const BY_NAMES: &str = concat!(
    "SELECT ",
    profile_columns!(),
    ", hash FROM account WHERE name IN ("
);
const GREATEST_ID: &str = "SELECT coalesce(max(id), 0) FROM account";
const DEPARTMENTS: &str = "SELECT id, parent, name, status FROM department";
/// A department that was removed comes back when somebody is put into it.
const REVIVE_DEPARTMENT: &str = "UPDATE department SET status = 0, stamp = ? WHERE id = ?";
const INSERT_DEPARTMENT: &str = "INSERT INTO department
    (id, parent, name, priority, status, stamp) VALUES (?, ?, ?, ?, 0, ?)";
const UPSERT: &str = concat!(
    "INSERT INTO account (",
    profile_columns!(),
    ", hash, stamp) VALUES "
);
/// Assigned from left to right: what is remembered is decided by the row as it was.
const OR_UPDATE: &str = " ON DUPLICATE KEY UPDATE
    remembered = CASE WHEN hash = VALUES(hash) AND status = VALUES(status) THEN remembered END,
    nick = VALUES(nick), sex = VALUES(sex), department = VALUES(department), phone = VALUES(phone),
    email = VALUES(email), domain = VALUES(domain), avatar = VALUES(avatar), signature = VALUES(signature),
    status = VALUES(status), hash = VALUES(hash), stamp = VALUES(stamp)";
const FORGET_FAILURES: &str = "DELETE FROM login_failure WHERE name = ?";

impl MysqlStore {
    pub(crate) async fn import_directory(
        &self,
        import: &DirectoryImport,
        rehearsal: bool,
    ) -> Result<ImportOutcome, StoreError> {
        let import = Arc::new(import.clone());
        if rehearsal {
            // In a transaction that is never committed.
            let mut transaction = self.inner.changers.begin().await?;
            return apply(&mut transaction, &import)
                .await
                .map(|(outcome, _)| outcome);
        }
        let work = self.change_if(
            move |connection| Box::pin(async move { apply(connection, &import).await }),
            |(outcome, made)| outcome.conflicts.is_empty().then_some(u64::from(*made)),
        );
        work.await.map(|(outcome, _)| outcome)
    }
}

/// What the file asks for, in the open transaction; and the id of the one person that it is about.
async fn apply(
    connection: &mut MySqlConnection,
    import: &DirectoryImport,
) -> Result<(ImportOutcome, u32), StoreError> {
    // Nobody else gives ids or makes departments meanwhile.
    sqlx::query(LOCK_STAMP).execute(&mut *connection).await?;
    let existing = existing_accounts(&mut *connection, &import.users).await?;
    let known = known_ids(&mut *connection, &import.users).await?;
    let mut departments = departments(&mut *connection).await?;
    let plan = ImportPlan::of(import, known, &existing, &mut departments)?;
    if plan.outcome.conflicts.is_empty() {
        for name in &plan.new_passwords {
            sqlx::query(FORGET_FAILURES)
                .bind(name.as_bytes())
                .execute(&mut *connection)
                .await?;
        }
        store(connection, import.now, &departments, &plan.changed).await?;
    }
    let made = plan.made(import);
    Ok((plan.outcome, made))
}

/// Accounts with the names of the file.
async fn existing_accounts(
    connection: &mut MySqlConnection,
    users: &[ImportedUser],
) -> Result<HashMap<String, ImportedAccount>, StoreError> {
    let mut existing = HashMap::new();
    for users in users.chunks(ROWS_AT_ONCE) {
        let text = statement(BY_NAMES, "?", users.len(), ")");
        let mut query = sqlx::query(AssertSqlSafe(text)).persistent(false);
        for user in users {
            query = query.bind(user.name.clone());
        }
        for row in &query.fetch_all(&mut *connection).await? {
            let account = ImportedAccount {
                profile: profile(row)?,
                hash: text_at_hash(row)?,
            };
            existing.insert(account.profile.name.clone(), account);
        }
    }
    Ok(existing)
}

async fn known_ids(
    connection: &mut MySqlConnection,
    users: &[ImportedUser],
) -> Result<KnownIds, StoreError> {
    let mut owners = HashMap::new();
    let ids: Vec<u32> = users.iter().filter_map(|user| user.id).collect();
    for ids in ids.chunks(ROWS_PER_STAMP) {
        let asking = format!(
            "SELECT id, name FROM account WHERE id IN ({})",
            list(ids.iter().copied())
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(asking))
            .fetch_all(&mut *connection)
            .await?;
        for row in &rows {
            owners.insert(number(row, 0)?, text(row, 1)?);
        }
    }
    let row = sqlx::query(GREATEST_ID).fetch_one(connection).await?;
    let greatest = number(&row, 0)?;
    Ok(KnownIds { owners, greatest })
}

async fn departments(connection: &mut MySqlConnection) -> Result<Departments, StoreError> {
    let rows = sqlx::query(DEPARTMENTS).fetch_all(connection).await?;
    let department = |row| {
        Ok((
            number(row, 0)?,
            number(row, 1)?,
            text(row, 2)?,
            number(row, 3)? != 0,
        ))
    };
    let rows = rows
        .iter()
        .map(department)
        .collect::<Result<Vec<_>, StoreError>>()?;
    Ok(Departments::new(rows))
}

/// Makes the department at the end of a path, with those above it that are missing; its id.
pub(crate) async fn create_department(
    connection: &mut MySqlConnection,
    path: &[String],
    now: UnixSeconds,
) -> Result<u32, StoreError> {
    // Nobody else makes departments meanwhile.
    sqlx::query(LOCK_STAMP).execute(&mut *connection).await?;
    let mut departments = departments(&mut *connection).await?;
    let id = departments.id_of(path)?;
    if !departments.is_made(id) {
        return Err(StoreError::Taken { what: "name" });
    }
    store(connection, now, &departments, &[]).await?;
    Ok(id)
}

async fn store(
    connection: &mut MySqlConnection,
    now: UnixSeconds,
    departments: &Departments,
    accounts: &[ImportedAccount],
) -> Result<(), StoreError> {
    let Departments { added, revived, .. } = departments;
    if added.is_empty() && revived.is_empty() && accounts.is_empty() {
        return Ok(());
    }
    let mut stamp = next_stamp(connection, now).await?;
    for id in revived {
        sqlx::query(REVIVE_DEPARTMENT)
            .bind(stamp.get())
            .bind(*id)
            .execute(&mut *connection)
            .await?;
        note_changes(&mut *connection, DEPARTMENT, &[(*id, stamp.get())]).await?;
    }
    for (index, department) in added.iter().enumerate() {
        if index > 0 && index % ROWS_PER_STAMP == 0 {
            stamp = next_stamp(connection, now).await?;
        }
        sqlx::query(INSERT_DEPARTMENT)
            .bind(department.id)
            .bind(department.parent)
            .bind(department.name.clone())
            .bind(department.id)
            .bind(stamp.get())
            .execute(&mut *connection)
            .await?;
        note_changes(
            &mut *connection,
            DEPARTMENT,
            &[(department.id, stamp.get())],
        )
        .await?;
    }
    for (index, accounts) in accounts.chunks(ROWS_PER_STAMP).enumerate() {
        if index > 0 {
            stamp = next_stamp(connection, now).await?;
        }
        for accounts in accounts.chunks(ROWS_AT_ONCE) {
            let text = statement(
                UPSERT,
                "(?,?,?,?,?,?,?,?,?,?,?,0,?,?)",
                accounts.len(),
                OR_UPDATE,
            );
            let mut query = sqlx::query(AssertSqlSafe(text)).persistent(false);
            for ImportedAccount { profile, hash } in accounts {
                query = query
                    .bind(profile.id.get())
                    .bind(profile.name.clone())
                    .bind(profile.nick.clone())
                    .bind(profile.sex)
                    .bind(profile.department)
                    .bind(profile.phone.clone())
                    .bind(profile.email.clone())
                    .bind(profile.domain.clone())
                    .bind(profile.avatar.clone())
                    .bind(profile.signature.clone())
                    .bind(profile.status)
                    .bind(hash.clone())
                    .bind(stamp.get());
            }
            query.execute(&mut *connection).await?;
            let changed = accounts.iter();
            let changed = changed.map(|account| (account.profile.id.get(), stamp.get()));
            note_changes(&mut *connection, PERSON, &changed.collect::<Vec<_>>()).await?;
        }
    }
    Ok(())
}

/// A statement with a number of equal rows, built from constants only.
fn statement(head: &str, row: &str, rows: usize, tail: &str) -> String {
    let mut sql = String::with_capacity(head.len() + rows * (row.len() + 1) + tail.len());
    sql.push_str(head);
    for index in 0..rows {
        if index > 0 {
            sql.push(',');
        }
        sql.push_str(row);
    }
    sql.push_str(tail);
    sql
}

fn text_at_hash(row: &MySqlRow) -> Result<String, StoreError> {
    text(row, 12)
}
