//! The schema, brought up to date by steps: each is one statement that may be run again.

use im_store::StoreError;
use sqlx::mysql::MySqlConnection;

use crate::change::run;
use crate::rows::number;

/// The files, in the order in which they came. An applied one is never edited.
const FILES: &[&str] = &[
    include_str!("../migrations/0001_initial.sql"),
    include_str!("../migrations/0002_replicas.sql"),
];

const TABLE: &str = "CREATE TABLE IF NOT EXISTS migration (
    step    INT UNSIGNED NOT NULL,
    applied INT UNSIGNED NOT NULL,
    PRIMARY KEY (step)
) ENGINE = InnoDB";
const NEWEST: &str = "SELECT coalesce(max(step), 0) FROM migration";
const NOTE: &str = "INSERT IGNORE INTO migration (step, applied) VALUES (?, UNIX_TIMESTAMP())";

/// The collation of text in the files, which every server has. It takes no heed of spaces at the end, unlike
/// [`exact`] ones.
const INEXACT: &str = "utf8mb4_bin";

/// Text is compared byte by byte, so that two names are one only if they are the same.
pub(crate) fn exact(version: &str) -> &'static str {
    if is_mariadb(version) {
        "utf8mb4_nopad_bin"
    } else {
        "utf8mb4_0900_bin"
    }
}

pub(crate) fn is_mariadb(version: &str) -> bool {
    version.contains("MariaDB")
}

/// Every step from the beginning.
fn steps(version: &str) -> Vec<String> {
    let statements = FILES.iter().flat_map(|file| file.split(";\n"));
    let statements = statements.filter(|statement| !statement.trim().is_empty());
    let options = format!(") ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE {INEXACT}");
    let with_options = |statement: &str| match statement.trim().strip_suffix("\n)") {
        Some(table) if table.contains("CREATE TABLE") => format!("{table}\n{options}"),
        _ => statement.trim().to_owned(),
    };
    statements
        .map(|statement| with_options(statement).replace(INEXACT, exact(version)))
        .collect()
}

/// Makes what is missing. Several may do so at once.
///
/// # Errors
/// The database is of a later version, or a step fails; the next call goes on there.
pub(crate) async fn bring_up_to_date(
    connection: &mut MySqlConnection,
    version: &str,
) -> Result<(), StoreError> {
    run(connection, TABLE.to_owned()).await?;
    let row = sqlx::query(NEWEST).fetch_one(&mut *connection).await?;
    let newest = number(&row, 0)?;
    let steps = steps(version);
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    if newest > known {
        let reason =
            format!("the database is at step {newest} of the schema, this version knows {known}");
        return Err(StoreError::Unavailable(reason.into()));
    }
    for (step, statement) in (1_u32..).zip(steps).filter(|(step, _)| *step > newest) {
        run(connection, statement).await?;
        sqlx::query(NOTE)
            .bind(step)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_one_statement_that_may_be_run_again() {
        for version in ["10.11.19-MariaDB", "8.0.40"] {
            for step in steps(version) {
                let begins = step.lines().find(|line| !line.starts_with("--")).unwrap();
                let is_repeatable = ["CREATE TABLE IF NOT EXISTS", "INSERT IGNORE"]
                    .iter()
                    .any(|begin| begins.starts_with(begin));
                assert!(is_repeatable, "{begins}");
                assert!(!step.contains(INEXACT), "{step}");
                let collation = step.contains(exact(version));
                assert_eq!(collation, begins.starts_with("CREATE"), "{step}");
            }
        }
    }
}
