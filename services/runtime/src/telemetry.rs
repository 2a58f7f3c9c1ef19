//! Logs on standard error and traces over OTLP.
//!
//! Passwords and tokens stay out of both by construction: the types that hold them have no readable
//! `Debug`, and no code passes their text as a field.

mod hops;

use std::io::IsTerminal;
use std::time::Duration;

use im_config::{LogConfig, LogFormat, TraceConfig};
use im_core::Chain;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

use hops::{Hops, Ids, Sampling};

/// Longest time for one export.
const EXPORT_LIMIT: Duration = Duration::from_secs(3);

/// Longest time for the last export. A stop within its time limit must not become late by it.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// `log.filter` cannot be read.
    #[error("read log.filter {filter:?}")]
    Filter {
        /// The text.
        filter: String,
        /// Cause.
        #[source]
        source: ParseError,
    },
    /// `trace.endpoint` cannot be used.
    #[error("export traces to {endpoint}")]
    Exporter {
        /// The endpoint.
        endpoint: String,
        /// Cause.
        #[source]
        source: ExporterBuildError,
    },
    /// A subscriber is installed already.
    #[error("install the log subscriber")]
    Installed(#[source] TryInitError),
}

/// Keeps traces flowing; [`Telemetry::finish`] sends the last ones.
#[derive(Debug, Default)]
#[must_use = "finish it to send the last traces"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Starts logs, and traces when an endpoint is set. Call it once, inside the runtime.
///
/// # Errors
/// `log.filter` cannot be read, `trace.endpoint` cannot be used, or this was called before.
pub fn init(
    log: &LogConfig,
    trace: &TraceConfig,
    service: &str,
) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|source| TelemetryError::Filter {
        filter: log.filter.clone(),
        source,
    })?;
    let provider = if trace.endpoint.is_empty() {
        None
    } else {
        Some(provider(trace, service)?)
    };
    im_trace::set_ring(trace.ring.as_usize());
    if provider.is_some() {
        im_trace::set_ratio(trace.ratio);
    }
    let hops = provider.as_ref().map(|provider| {
        let target = Targets::new().with_target(im_trace::TARGET, LevelFilter::TRACE);
        Hops(provider.tracer(service.to_owned())).with_filter(target)
    });
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(service.to_owned()))
            // The exporter's own calls must not make spans.
            .with_filter(
                Targets::new()
                    .with_default(LevelFilter::INFO)
                    .with_targets(["h2", "hyper", "tonic", "tower"].map(|t| (t, LevelFilter::OFF))),
            )
    });
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Human => fmt::layer()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .with_filter(filter)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(lines)
        .with(traces)
        .with(hops)
        .try_init()
        .map_err(TelemetryError::Installed)?;
    Ok(Telemetry { provider })
}

fn provider(trace: &TraceConfig, service: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&trace.endpoint)
        .with_timeout(EXPORT_LIMIT)
        .build()
        .map_err(|source| TelemetryError::Exporter {
            endpoint: trace.endpoint.clone(),
            source,
        })?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_id_generator(Ids::default())
        .with_sampler(Sampling::of(trace.ratio))
        .with_resource(
            Resource::builder()
                .with_service_name(service.to_owned())
                .build(),
        )
        .build())
}

impl Telemetry {
    /// Sends the last traces, off the runtime's threads and for a second at most.
    pub async fn finish(self) {
        let Some(provider) = self.provider else {
            return;
        };
        let flushing =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_LIMIT));
        if let Ok(Err(error)) = flushing.await {
            tracing::warn!(error = %Chain(&error), "last traces are lost");
        }
    }
}
