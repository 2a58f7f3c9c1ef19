//! The schema, brought up to date by steps: each is one statement that may be run again.

use im_store::{SchemaState, SchemaStep, tables_named};
use sqlx::mysql::MySqlConnection;

use crate::MysqlOpenError;
use crate::change::run;
use crate::rows::{count, number, text};

/// The files, in the order in which they came. An applied one is never edited.
const FILES: &[&str] = &[
    include_str!("../migrations/0001_initial.sql"),
    include_str!("../migrations/0002_replicas.sql"),
];

/// The table of the steps that were made.
const MIGRATION: &str = "migration";
const TABLE: &str = "CREATE TABLE IF NOT EXISTS migration (
    step    INT UNSIGNED NOT NULL,
    applied INT UNSIGNED NOT NULL,
    PRIMARY KEY (step)
) ENGINE = InnoDB";
const TABLES: &str =
    "SELECT table_name FROM information_schema.tables WHERE table_schema = database() ORDER BY 1";
/// Text that is compared in another way than this.
const COLLATION: &str =
    "SELECT CONCAT(table_name, '.', column_name), collation_name FROM information_schema.columns
    WHERE table_schema = database() AND collation_name <> ? ORDER BY 1";
const COLUMNS: &str = "SELECT COUNT(*) FROM information_schema.columns
    WHERE table_schema = database() AND table_name = 'migration' AND column_name IN ('step', 'applied')";
/// About how many rows a table has.
const ROWS: &str = "SELECT coalesce(max(table_rows), 0) FROM information_schema.tables
    WHERE table_schema = database() AND table_name = ?";
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
pub(crate) fn steps(version: &str) -> Vec<String> {
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

/// Whether the server is of a version that has what is used: MariaDB from 10.6, MySQL from 8.0 on.
pub(crate) fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    let least = if is_mariadb(version) { (10, 6) } else { (8, 0) };
    let found: (u32, u32) = (next().unwrap_or(0), next().unwrap_or(0));
    found >= least
}

/// The table that a step makes, if it makes one.
pub(crate) fn table_of(step: &str) -> Option<&str> {
    let (_, rest) = step.split_once("CREATE TABLE IF NOT EXISTS ")?;
    rest.split_whitespace().next()
}

/// What a database has of the schema.
struct Found {
    /// Its tables, of whomever.
    tables: Vec<String>,
    /// The newest step; 0 where there is none.
    newest: u32,
}

/// Looks at a database, and changes nothing.
async fn look(
    connection: &mut MySqlConnection,
    steps: &[String],
    database: &str,
) -> Result<Found, MysqlOpenError> {
    // Before the newest step is read: of what somebody else makes meanwhile, all but the last table is noted by then.
    let rows = sqlx::query(TABLES).fetch_all(&mut *connection).await?;
    let tables = rows.iter().map(|row| text(row, 0));
    let tables = tables.collect::<Result<Vec<_>, _>>()?;
    let foreign = |table: &str| MysqlOpenError::Foreign {
        database: database.to_owned(),
        table: table.to_owned(),
    };
    if !tables.iter().any(|table| table == MIGRATION) {
        return match tables.first() {
            Some(table) => Err(foreign(table)),
            None => Ok(Found { tables, newest: 0 }),
        };
    }
    let row = sqlx::query(COLUMNS).fetch_one(&mut *connection).await?;
    if number(&row, 0)? != 2 {
        return Err(foreign(MIGRATION));
    }
    let row = sqlx::query(NEWEST).fetch_one(&mut *connection).await?;
    let newest = number(&row, 0)?;
    if newest == 0 {
        let ours = [
            Some(MIGRATION),
            steps.first().and_then(|step| table_of(step)),
        ];
        let other = tables.iter().find(|table| !ours.contains(&Some(table)));
        if let Some(table) = other {
            return Err(foreign(table));
        }
    }
    Ok(Found { tables, newest })
}

/// Where the schema of a database is; nothing is changed.
///
/// # Errors
/// The database belongs to something else.
pub(crate) async fn state(
    connection: &mut MySqlConnection,
    version: &str,
    database: &str,
) -> Result<SchemaState, MysqlOpenError> {
    let steps = steps(version);
    let found = look(connection, &steps, database).await?;
    let mut missing = Vec::new();
    for (step, statement) in numbered(&steps) {
        if step > found.newest {
            let mut rows = 0;
            for table in tables_named(statement, &found.tables) {
                let row = sqlx::query(ROWS)
                    .bind(table)
                    .fetch_one(&mut *connection)
                    .await?;
                rows += count(&row, 0)?;
            }
            missing.push(step_of(step, statement, rows));
        }
    }
    Ok(SchemaState {
        found: (found.newest > 0).then_some(found.newest),
        needed: newest_of(&steps),
        missing,
    })
}

fn numbered(steps: &[String]) -> impl Iterator<Item = (u32, &String)> {
    (1_u32..).zip(steps)
}

fn newest_of(steps: &[String]) -> u32 {
    u32::try_from(steps.len()).unwrap_or(u32::MAX)
}

/// A step for people. All that there are make a table, or rows that are missing: whoever uses the others goes on.
fn step_of(number: u32, statement: &str, rows: u64) -> SchemaStep {
    let name = match table_of(statement) {
        Some(table) => format!("make the table {table}"),
        None => {
            let table = statement.split_once("INTO ").map_or("", |(_, rest)| rest);
            let table = table.split_whitespace().next().unwrap_or("a table");
            format!("first rows of {table}")
        }
    };
    SchemaStep {
        number,
        name,
        is_online: true,
        rows,
    }
}

/// Makes what is missing; `tell` hears of each step when it is done. Several may do so at once.
///
/// # Errors
/// The database is of a later version, belongs to something else, or a step fails; the next call goes on there.
pub(crate) async fn bring_up_to_date(
    connection: &mut MySqlConnection,
    version: &str,
    database: &str,
    tell: &mut (impl FnMut(SchemaStep) + ?Sized),
) -> Result<(), MysqlOpenError> {
    let steps = steps(version);
    let Found { tables, newest } = look(&mut *connection, &steps, database).await?;
    let known = newest_of(&steps);
    if newest > known {
        return Err(MysqlOpenError::TooNew {
            found: newest,
            known,
        });
    }
    if tables.is_empty() {
        run(connection, TABLE.to_owned()).await?;
    }
    for (step, statement) in numbered(&steps).filter(|(step, _)| *step > newest) {
        run(connection, statement.clone()).await?;
        sqlx::query(NOTE)
            .bind(step)
            .execute(&mut *connection)
            .await?;
        tell(step_of(step, statement, 0));
    }
    check_collation(connection, version, &steps).await
}

/// Text of our tables is compared as they were made: somebody may have converted them, or copied them to a server of
/// another kind.
async fn check_collation(
    connection: &mut MySqlConnection,
    version: &str,
    steps: &[String],
) -> Result<(), MysqlOpenError> {
    let wanted = exact(version);
    let rows = sqlx::query(COLLATION)
        .bind(wanted)
        .fetch_all(connection)
        .await?;
    for row in &rows {
        let column = text(row, 0)?;
        let table = column.split('.').next();
        if steps.iter().any(|step| table_of(step) == table) {
            return Err(MysqlOpenError::Collation {
                column,
                found: text(row, 1)?,
                wanted,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_known_by_its_version() {
        for (version, is_enough) in [
            ("10.11.19-MariaDB-0+deb12u1", true),
            ("10.6.0-MariaDB", true),
            ("11.4.2-MariaDB-log", true),
            ("10.5.29-MariaDB", false),
            ("5.5.68-MariaDB", false),
            ("8.0.36", true),
            ("8.0.11-TiDB-v7.6.0", true),
            ("9.1.0", true),
            ("5.7.44-log", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version), is_enough, "{version}");
        }
    }

    #[test]
    fn the_first_step_makes_a_table_and_every_table_is_known_by_its_step() {
        let steps = steps("10.11.19-MariaDB");
        assert_eq!(table_of(&steps[0]), Some("message"));
        let tables: Vec<_> = steps.iter().filter_map(|step| table_of(step)).collect();
        let made = steps.iter().filter(|step| step.contains("CREATE TABLE"));
        assert_eq!(tables.len(), made.count());
        assert!(
            tables.contains(&"account") && tables.contains(&"meta"),
            "{tables:?}"
        );
    }

    #[test]
    fn a_step_says_what_it_does() {
        let steps = steps("10.11.19-MariaDB");
        assert_eq!(step_of(1, &steps[0], 0).name, "make the table message");
        let meta = steps.iter().find(|step| step.contains("INTO meta"));
        let meta = step_of(9, meta.unwrap(), 15);
        assert_eq!((meta.name.as_str(), meta.rows), ("first rows of meta", 15));
    }

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
