//! What a collector of traces hears of a message that passes four processes (S-94).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use im_e2e::wait;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::support::*;

/// Spans with the names of the services that they came from.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_service in request.into_inner().resource_spans {
            let attributes = of_service.resource.unwrap_or_default().attributes;
            let service = attributes
                .into_iter()
                .find(|attribute| attribute.key == "service.name")
                .and_then(|attribute| text(attribute.value?.value?))
                .expect("each service has a name");
            let spans = of_service.scope_spans.into_iter();
            let spans = spans.flat_map(|scope| scope.spans);
            let spans = spans.map(|span| (service.clone(), span));
            self.0.lock().unwrap().extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

impl Collector {
    /// Starts on a port of the kernel's choice; ends with the test.
    async fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let collector = Self::default();
        let service = TraceServiceServer::new(collector.clone());
        let serving = Server::builder().add_service(service);
        tokio::spawn(serving.serve_with_incoming(TcpIncoming::from(listener)));
        (collector, address)
    }

    /// The spans of each trace, as soon as one of them has as many.
    async fn trace_with(&self, name: &str, spans: usize) -> Vec<(String, Span)> {
        let what = format!("{spans} spans of one {name}");
        let found = wait::until(&what, wait::SOON, || async {
            let mut traces: BTreeMap<Vec<u8>, Vec<(String, Span)>> = BTreeMap::new();
            for (service, span) in self.0.lock().unwrap().iter() {
                let trace = traces.entry(span.trace_id.clone()).or_default();
                trace.push((service.clone(), span.clone()));
            }
            traces.into_values().find(|trace| {
                trace.len() >= spans && trace.iter().any(|(_, span)| span.name == name)
            })
        })
        .await;
        found.unwrap_or_else(|error| {
            let heard = self.0.lock().unwrap();
            let heard = heard.iter().map(|(service, span)| (service, &span.name));
            panic!("{error}; heard: {:?}", heard.collect::<Vec<_>>())
        })
    }
}

fn attribute(span: &Span, key: &str) -> Option<i64> {
    let found = span.attributes.iter().find(|found| found.key == key)?;
    match found.value.as_ref()?.value {
        Some(Value::IntValue(value)) => Some(value),
        _ => None,
    }
}

async fn followed(ratio: &str) -> (Collector, Platform) {
    let (collector, address) = Collector::start().await;
    let shape = Shape {
        login: 1,
        msg: 2,
        route: 1,
    };
    let options = Options::people(20)
        .set(&format!("trace.endpoint=http://{address}"))
        .set(&format!("trace.ratio={ratio}"));
    let platform = Platform::separate(shape, options).await.unwrap();
    (collector, platform)
}

/// The msg server of the sender, db-proxy, the route server and the msg server of the receiver tell of
/// one trace, whose root is the message from its arrival to its acknowledgement.
#[tokio::test]
async fn one_message_through_four_processes_is_one_trace() {
    let (collector, mut platform) = followed("1.0").await;
    let (msg1, msg2) = (platform.msg_address("msg1"), platform.msg_address("msg2"));
    let mut sender = Terminal::login(msg1, 10, Windows).await;
    let mut receiver = Terminal::login(msg2, 11, Windows).await;
    let ack = sender.say(with_user(11), "followed").await;
    assert_eq!(text_of(&receiver.message().await), "followed");

    let trace = collector.trace_with("message", 4).await;
    let told: BTreeSet<(&str, &str)> = trace
        .iter()
        .map(|(service, span)| (service.as_str(), span.name.as_str()))
        .collect();
    let expected = [
        ("imd-db-proxy", "commit"),
        ("imd-msg", "deliver"),
        ("imd-msg", "message"),
        ("imd-route", "route"),
    ];
    assert_eq!(told, BTreeSet::from(expected));
    let span = |name: &str| {
        let (_, span) = trace.iter().find(|(_, span)| span.name == name).unwrap();
        span
    };
    let root = span("message");
    assert_eq!(root.parent_span_id, Vec::<u8>::new(), "it began the trace");
    for name in ["commit", "route", "deliver"] {
        assert_eq!(span(name).parent_span_id, root.span_id, "{name}");
        assert_eq!(attribute(span(name), "seq"), attribute(root, "seq"));
    }
    assert_eq!(attribute(root, "user"), Some(10));
    assert_eq!(attribute(root, "to"), Some(11));
    assert_eq!(attribute(root, "msg_id"), Some(i64::from(ack.msg_id)));
    assert_eq!(attribute(span("deliver"), "sessions"), Some(1));

    // What is not a message is followed as well.
    let login = collector.trace_with("login", 1).await;
    assert_eq!(login[0].0, "imd-msg");
    assert_eq!(attribute(&login[0].1, "result"), Some(0));
}
