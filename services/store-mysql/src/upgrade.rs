//! The steps of the schema before the store is opened: which are missing, and making them while no owner of the log is there.

use std::time::Duration;

use im_store::{OpenError, SchemaState, SchemaStep, StoreError};
use sqlx::Connection as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use tokio::time::{Instant, sleep};

use crate::connect::{self, session};
use crate::open::look_at;
use crate::place::{MysqlServer, refused};
use crate::rows::{count, text};
use crate::{MysqlOpenError, MysqlOptions, change, open_error, schema};

/// An owner who beats within this time is alive; and the time between two looks.
const ALIVE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(200);

const VERSION: &str = "SELECT @@version";
const SHARED: &str = "SELECT count(*) FROM information_schema.tables
    WHERE table_schema = database() AND table_name IN ('part', 'tenure', 'replica')";
/// Who has the log, with the beats of the process.
const OWNER: &str = "SELECT t.name, r.beat FROM part AS p
    JOIN tenure AS t ON t.part = p.part AND t.epoch = p.epoch AND t.given = 0
    JOIN replica AS r ON r.name = t.name AND r.instance = t.instance
    WHERE p.part = 0";

/// Where the schema is. The server may be read-only.
///
/// # Errors
/// The database is not reached, or belongs to something else.
pub(crate) async fn state(
    server: &MysqlServer,
    options: &MysqlOptions,
) -> Result<SchemaState, MysqlOpenError> {
    let (mut connection, connect) = reach(server, options).await?;
    let row = sqlx::query(VERSION).fetch_one(&mut connection).await?;
    let version = text(&row, 0)?;
    if !schema::is_new_enough(&version) {
        return Err(MysqlOpenError::TooOld { found: version });
    }
    let database = open_error::database(&connect);
    let state = schema::state(&mut connection, &version, &database).await;
    let state = state.map_err(|error| error.with_rights(&connect))?;
    connection.close().await?;
    Ok(state)
}

/// Makes what is missing.
///
/// # Errors
/// A process has the log, a later version was here, or a step fails.
pub(crate) async fn run(
    server: &MysqlServer,
    options: &MysqlOptions,
    tell: &mut dyn FnMut(SchemaStep),
) -> Result<(), OpenError> {
    let (mut connection, connect) = reach(server, options).await.map_err(refused)?;
    if let Some(owner) = owner(&mut connection).await? {
        return Err(OpenError::Busy(owner));
    }
    let making = async {
        let found = look_at(&mut connection, &connect).await?;
        let session = session(&found.version, options, None);
        change::run(&mut connection, session).await?;
        let database = open_error::database(&connect);
        schema::bring_up_to_date(&mut connection, &found.version, &database, tell).await
    };
    let made = making.await.map_err(|error| error.with_rights(&connect));
    match made {
        Err(MysqlOpenError::TooNew { found, known }) => {
            return Err(OpenError::TooNew { found, known });
        }
        made => made.map_err(refused)?,
    }
    connection.close().await.map_err(StoreError::from)?;
    Ok(())
}

async fn reach(
    server: &MysqlServer,
    options: &MysqlOptions,
) -> Result<(MySqlConnection, MySqlConnectOptions), MysqlOpenError> {
    let (connect, _) = connect::to(server, options).await?;
    let connect = connect::prepared(connect);
    let connection = connect::first(&connect, options.acquire_timeout).await?;
    Ok((connection, connect))
}

/// The process that has the log and beats.
async fn owner(connection: &mut MySqlConnection) -> Result<Option<String>, StoreError> {
    let row = sqlx::query(SHARED).fetch_one(&mut *connection).await?;
    if count(&row, 0)? < 3 {
        return Ok(None);
    }
    let begun = Instant::now();
    let mut first = None;
    loop {
        let row = sqlx::query(OWNER).fetch_optional(&mut *connection).await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let seen = (text(&row, 0)?, count(&row, 1)?);
        match &first {
            Some(before) if *before != seen => return Ok(Some(seen.0)),
            Some(_) if begun.elapsed() >= ALIVE => return Ok(None),
            Some(_) => {}
            None => first = Some(seen),
        }
        sleep(PAUSE).await;
    }
}
