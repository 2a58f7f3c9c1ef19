//! Reading connections. Each read has its time: an answer that does not come, because the server stands still or its network
//! is silent, costs one connection, and others are opened in its place.

use std::io;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use im_store::StoreError;
use sqlx::mysql::{
    MySql, MySqlConnection, MySqlPool, MySqlQueryResult, MySqlRow, MySqlStatement, MySqlTypeInfo,
};
use sqlx::{Either, Error, Execute, Executor, SqlStr};
use tokio::time::timeout;

use crate::change::run;
use crate::rows::unavailable;

/// Of all isolations this one alone has a view that stays.
const SNAPSHOT: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
    START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

const LATE: &str = "a read is not answered in time";

/// The connections; a query runs on any that is free.
#[derive(Debug)]
pub(crate) struct Readers {
    pub(crate) pool: MySqlPool,
    /// Longest time of a read, all of its queries together.
    limit: Duration,
}

impl Readers {
    pub(crate) fn new(pool: MySqlPool, limit: Duration) -> Self {
        Self { pool, limit }
    }

    /// Makes several queries on one connection.
    pub(crate) async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut MySqlConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let done = timeout(self.limit, work(&mut connection)).await;
        done.unwrap_or_else(|_| {
            connection.close_on_drop();
            Err(unavailable(LATE))
        })
    }

    /// The same, where all queries see the same moment.
    pub(crate) async fn in_snapshot<T>(
        &self,
        work: impl AsyncFnOnce(&mut MySqlConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let reading = self.with(async |connection| {
            run(connection, SNAPSHOT.to_owned()).await?;
            let done = work(&mut *connection).await;
            run(connection, "COMMIT".to_owned()).await?;
            done
        });
        reading.await
    }
}

fn late() -> Error {
    Error::Io(io::Error::new(io::ErrorKind::TimedOut, LATE))
}

impl<'p> Executor<'p> for &'p Readers {
    type Database = MySql;

    /// All rows are there before the first is given.
    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<MySqlQueryResult, MySqlRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, MySql>,
    {
        let reading = async move {
            let mut connection = self.pool.acquire().await?;
            let rows = connection.fetch_many(query).collect::<Vec<_>>();
            if let Ok(rows) = timeout(self.limit, rows).await {
                return Ok(stream::iter(rows));
            }
            connection.close_on_drop();
            Err(late())
        };
        stream::once(reading).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<MySqlRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, MySql>,
    {
        Box::pin(async move {
            let mut connection = self.pool.acquire().await?;
            if let Ok(row) = timeout(self.limit, connection.fetch_optional(query)).await {
                return row;
            }
            connection.close_on_drop();
            Err(late())
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [MySqlTypeInfo],
    ) -> BoxFuture<'e, Result<MySqlStatement, Error>>
    where
        'p: 'e,
    {
        self.pool.prepare_with(sql, parameters)
    }
}
