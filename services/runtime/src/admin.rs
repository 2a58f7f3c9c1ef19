//! The admin port: `/livez`, `/readyz`, `/metrics`, `/debug/dump`.
//!
//! It serves operators and probes over plain HTTP and shows no secret. `/livez` answers from a
//! heartbeat, a task on each runtime of the process that must have run lately, so that threads that are
//! stuck are seen.

mod connections;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use im_config::AdminConfig;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::connections::Connections;
use crate::listen::{self, ListenError};
use crate::{Context, metrics};

/// Waiting connections of the admin port.
const BACKLOG: i32 = 64;

/// A bound admin port.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    local: SocketAddr,
    shared: Arc<Shared>,
    period: Duration,
    runtimes: Vec<Handle>,
    config: AdminConfig,
}

#[derive(Debug)]
struct Shared {
    context: Context,
    started: Instant,
    /// Milliseconds from `started` to the last beat of each runtime.
    beats: Vec<AtomicU64>,
    limit: Duration,
}

impl Admin {
    /// Binds the port at the address of `config`. The process counts as stuck when the heartbeat of one of its
    /// runtimes is older than that says.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub async fn bind(
        config: AdminConfig,
        context: Context,
        runtimes: Vec<Handle>,
    ) -> Result<Self, ListenError> {
        let listener = listen::tcp(&config.listen, BACKLOG).await?;
        let local = listener.local_addr().map_err(|source| ListenError {
            address: config.listen.clone(),
            source,
        })?;
        let limit = config.heartbeat.duration();
        let started = Instant::now();
        let shared = Shared {
            context,
            started,
            beats: runtimes.iter().map(|_| AtomicU64::new(0)).collect(),
            limit,
        };
        Ok(Self {
            listener,
            local,
            shared: Arc::new(shared),
            period: limit / 4,
            runtimes,
            config,
        })
    }

    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Serves until `stop` fires.
    ///
    /// # Errors
    /// The port fails.
    pub async fn run(self, stop: CancellationToken) -> std::io::Result<()> {
        let routes = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics_text))
            .route("/debug/dump", get(dump))
            .with_state(Arc::clone(&self.shared));
        let mut beating = JoinSet::new();
        for (nth, runtime) in self.runtimes.iter().enumerate() {
            beating.spawn_on(beat(Arc::clone(&self.shared), nth, self.period), runtime);
        }
        let connections = Connections::new(self.config, &self.shared.context);
        connections.serve(self.listener, routes, stop).await;
        Ok(())
    }
}

async fn beat(shared: Arc<Shared>, nth: usize, period: Duration) {
    loop {
        if let Some(beat) = shared.beats.get(nth) {
            beat.store(millis(shared.started.elapsed()), Ordering::Relaxed);
        }
        tokio::time::sleep(period).await;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn livez(State(shared): State<Arc<Shared>>) -> Response {
    let now = millis(shared.started.elapsed());
    let beats = shared.beats.iter().map(|beat| beat.load(Ordering::Relaxed));
    let age = now.saturating_sub(beats.min().unwrap_or(now));
    if age <= millis(shared.limit) {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        let text = format!("last heartbeat {age} ms ago\n");
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let missing = shared.context.readiness.missing();
    if missing.is_empty() {
        Json(json!({"ready": true})).into_response()
    } else {
        let body = Json(json!({"ready": false, "missing": missing}));
        (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
    }
}

async fn metrics_text(State(shared): State<Arc<Shared>>) -> Response {
    match shared.context.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn dump(State(shared): State<Arc<Shared>>) -> Response {
    let mut dump = shared.context.dumps.dump();
    if let Some(parts) = dump.as_object_mut() {
        let conditions = json!(shared.context.readiness.conditions());
        parts.insert("readiness".to_owned(), conditions);
    }
    Json(dump).into_response()
}

#[cfg(test)]
mod tests;
