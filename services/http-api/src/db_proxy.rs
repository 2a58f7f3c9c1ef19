//! db-proxy's administration service, as this role calls it.

use im_config::LinkConfig;
use im_proto_rpc::v1::admin_client::AdminClient;
use im_proto_rpc::v1::announcements_client::AnnouncementsClient;
use im_proto_rpc::v1::bots_client::BotsClient;
use im_proto_rpc::v1::devices_client::DevicesClient;
use im_proto_rpc::v1::discovery_items_client::DiscoveryItemsClient;
use im_proto_rpc::v1::hooks_client::HooksClient;
use im_proto_rpc::v1::incoming_hooks_client::IncomingHooksClient;
use im_rpc::Secret;
use im_rpc::secret::Present;
use tonic::metadata::MetadataMap;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tracing::error;

use crate::problem::{Kind, Problem};

/// A client of the service. Cheap to clone; a connection that was lost is made anew by the next call.
pub(crate) type Admin = AdminClient<InterceptedService<Channel, Present>>;

/// A client of the service for subscriptions, over the same connection.
pub(crate) type Hooks = HooksClient<InterceptedService<Channel, Present>>;

/// A client of the service for devices, over the same connection.
pub(crate) type Devices = DevicesClient<InterceptedService<Channel, Present>>;

/// A client of the service for announcements, over the same connection.
pub(crate) type Announcements = AnnouncementsClient<InterceptedService<Channel, Present>>;

/// A client of the service for incoming hooks, over the same connection.
pub(crate) type IncomingHooks = IncomingHooksClient<InterceptedService<Channel, Present>>;

/// A client of the service for bots, over a connection of its own: many may wait there.
pub(crate) type Bots = BotsClient<InterceptedService<Channel, Present>>;

/// A client of the service for discovery items, over the same connection as the others.
pub(crate) type DiscoveryItems = DiscoveryItemsClient<InterceptedService<Channel, Present>>;

/// All of them.
pub(crate) struct Clients {
    pub(crate) admin: Admin,
    pub(crate) hooks: Hooks,
    pub(crate) announcements: Announcements,
    pub(crate) incoming: IncomingHooks,
    pub(crate) devices: Devices,
    pub(crate) bots: Bots,
    pub(crate) items: DiscoveryItems,
}

/// Metadata of a refusal that says which of its kind it is.
const REASON: &str = "im-reason";

/// Metadata of an answer that was given before under the same idempotency key.
const REPLAYED: &str = "im-replayed";

/// Makes clients; nobody is called yet.
///
/// # Errors
/// The address is none.
pub(crate) fn clients(address: &str, secret: &Secret) -> Result<Clients, tonic::transport::Error> {
    let channel = im_rpc::grpc::lazy_channel(address, &LinkConfig::default())?;
    let waiting = im_rpc::grpc::lazy_channel(address, &LinkConfig::default())?;
    let (to, shown) = (|| channel.clone(), || Present::new(secret));
    Ok(Clients {
        admin: AdminClient::with_interceptor(to(), shown()),
        hooks: HooksClient::with_interceptor(to(), shown()),
        announcements: AnnouncementsClient::with_interceptor(to(), shown()),
        devices: DevicesClient::with_interceptor(to(), shown()),
        bots: BotsClient::with_interceptor(waiting, shown()),
        items: DiscoveryItemsClient::with_interceptor(to(), shown()),
        incoming: IncomingHooksClient::with_interceptor(to(), shown()),
    })
}

/// Who asks, as db-proxy is told with every call.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    /// Whose token it is; of an original call, what it is.
    pub(crate) actor: String,
    /// What they showed.
    pub(crate) credential: String,
    /// Where they came from.
    pub(crate) address: String,
    /// Number of their request.
    pub(crate) request_id: String,
}

impl Asker {
    /// A call of theirs; with a key, one that counts once.
    pub(crate) fn call<T>(&self, message: T, key: Option<&str>) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        add(metadata, "im-actor-bin", &self.actor);
        add(metadata, "im-credential-bin", &self.credential);
        add(metadata, "im-address-bin", &self.address);
        add(metadata, "im-request-bin", &self.request_id);
        if let Some(key) = key {
            add(metadata, "im-idempotency-key-bin", key);
        }
        request
    }
}

fn add(metadata: &mut MetadataMap, name: &'static str, value: &str) {
    let value = tonic::metadata::MetadataValue::from_bytes(value.as_bytes());
    metadata.insert_bin(name, value);
}

/// Whether an answer is one that was given before.
pub(crate) fn is_replayed<T>(answer: &tonic::Response<T>) -> bool {
    answer.metadata().contains_key(REPLAYED)
}

/// Whether somebody has answered, whatever they said.
pub(crate) fn has_answered<T>(answer: &Result<T, Status>) -> bool {
    // Unknown and Cancelled are those of a connection that ends under a call: db-proxy answers with neither.
    let silent = [
        Code::Unavailable,
        Code::Unknown,
        Code::Cancelled,
        Code::Unauthenticated,
        Code::DeadlineExceeded,
    ];
    match answer {
        Ok(_) => true,
        Err(status) => !silent.contains(&status.code()),
    }
}

/// What a caller is told when db-proxy has refused a question; `is_read` where nothing was to be changed.
pub(crate) fn problem(status: &Status, is_read: bool) -> Problem {
    let reason = status.metadata().get(REASON);
    let reason = reason.and_then(|reason| reason.to_str().ok()).unwrap_or("");
    let told = |kind| Problem::new(kind, status.message());
    match (status.code(), reason) {
        (Code::InvalidArgument, "key-reused") => told(Kind::KeyReused),
        (Code::InvalidArgument | Code::OutOfRange, _) if is_read => told(Kind::MalformedRequest),
        (Code::InvalidArgument | Code::OutOfRange, _) => told(Kind::Invalid),
        (Code::NotFound, _) => told(Kind::NotFound),
        (Code::AlreadyExists, _) => told(Kind::Exists),
        (Code::Aborted, "key-in-flight") => told(Kind::KeyInFlight).after(1),
        (Code::Aborted | Code::FailedPrecondition, _)
        | (
            Code::ResourceExhausted,
            "too-many-tokens"
            | "too-many-subscriptions"
            | "too-many-announcements"
            | "too-many-incoming-hooks"
            | "too-many-bots"
            | "too-many-discovery-items",
        ) => told(Kind::Conflict),
        (Code::ResourceExhausted, "too-many-keys") => told(Kind::RateLimited).after(60),
        (Code::ResourceExhausted, _) => told(Kind::Overloaded).after(1),
        (Code::PermissionDenied, _) => told(Kind::NotAllowed),
        (Code::DeadlineExceeded, _) => Problem::new(Kind::Timeout, UNKNOWN),
        (Code::Unavailable, "no-push") => told(Kind::ServerUnavailable).after(2),
        (Code::Unavailable | Code::Unknown | Code::Cancelled, _) => {
            let detail = if is_read {
                "try again"
            } else {
                "try again, with an Idempotency-Key: whether it was done is not known"
            };
            Problem::new(Kind::DbProxyUnavailable, detail).after(2)
        }
        (Code::Unauthenticated, "token-invalid") => Problem::new(Kind::TokenInvalid, ""),
        (Code::Unauthenticated, "token-revoked") => Problem::new(Kind::TokenRevoked, ""),
        (Code::Unauthenticated, "token-expired") => Problem::new(Kind::TokenExpired, ""),
        (Code::Unauthenticated, _) => {
            error!("db-proxy refuses the administrators' secret (http_api.admin_secret_file)");
            Problem::new(Kind::DbProxyUnavailable, "it refuses this server").after(30)
        }
        (Code::Unimplemented, _) => {
            error!(
                "db-proxy does not know a call of this server: it is older, or the port is not its own"
            );
            Problem::new(Kind::DbProxyUnavailable, "it does not know this call").after(30)
        }
        (code, _) => {
            error!(?code, message = status.message(), "db-proxy failed");
            Problem::new(Kind::Internal, "the log of the servers has more")
        }
    }
}

/// What a caller knows of a change that took too long.
pub(crate) const UNKNOWN: &str =
    "whether it was done is not known: ask, or repeat it under the same Idempotency-Key";

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: Status, is_read: bool) -> Kind {
        problem(&status, is_read).kind
    }

    fn because(mut status: Status, reason: &'static str) -> Status {
        let reason = tonic::metadata::MetadataValue::from_static(reason);
        status.metadata_mut().insert(REASON, reason);
        status
    }

    #[test]
    fn what_db_proxy_says_has_its_place_among_the_problems() {
        for (status, is_read, expected) in [
            (Status::invalid_argument("x"), false, Kind::Invalid),
            (Status::invalid_argument("x"), true, Kind::MalformedRequest),
            (Status::not_found("x"), true, Kind::NotFound),
            (Status::already_exists("x"), false, Kind::Exists),
            (Status::failed_precondition("x"), false, Kind::Conflict),
            (Status::aborted("x"), false, Kind::Conflict),
            (Status::permission_denied("x"), false, Kind::NotAllowed),
            (Status::resource_exhausted("x"), false, Kind::Overloaded),
            (Status::unavailable("x"), true, Kind::DbProxyUnavailable),
            (Status::unauthenticated("x"), true, Kind::DbProxyUnavailable),
            (Status::unimplemented("x"), true, Kind::DbProxyUnavailable),
            (Status::unknown("x"), false, Kind::DbProxyUnavailable),
            (Status::cancelled("x"), true, Kind::DbProxyUnavailable),
            (Status::deadline_exceeded("x"), false, Kind::Timeout),
            (Status::internal("x"), false, Kind::Internal),
        ] {
            assert_eq!(kind(status.clone(), is_read), expected, "{status:?}");
        }
        let reused = because(Status::invalid_argument("x"), "key-reused");
        assert_eq!(kind(reused, false), Kind::KeyReused);
        let in_flight = because(Status::aborted("x"), "key-in-flight");
        assert_eq!(problem(&in_flight, false).retry_after, Some(1));
        assert_eq!(kind(in_flight, false), Kind::KeyInFlight);
        let no_push = because(Status::unavailable("x"), "no-push");
        assert_eq!(kind(no_push, false), Kind::ServerUnavailable);
        let revoked = because(Status::unauthenticated("x"), "token-revoked");
        assert_eq!(kind(revoked, true), Kind::TokenRevoked);
        let many = because(Status::resource_exhausted("x"), "too-many-keys");
        assert_eq!(kind(many, false), Kind::RateLimited);
    }

    #[test]
    fn a_call_says_who_asks_and_under_which_key() {
        let asker = Asker {
            actor: "backup \u{e9}".to_owned(),
            credential: "token 17".to_owned(),
            address: "192.0.2.1".to_owned(),
            request_id: "abc".to_owned(),
        };
        let call = asker.call((), Some("key"));
        let value = |name: &str| {
            let value = call.metadata().get_bin(name).unwrap();
            String::from_utf8(value.to_bytes().unwrap().to_vec()).unwrap()
        };
        assert_eq!(value("im-actor-bin"), "backup \u{e9}");
        assert_eq!(value("im-credential-bin"), "token 17");
        assert_eq!(value("im-address-bin"), "192.0.2.1");
        assert_eq!(value("im-request-bin"), "abc");
        assert_eq!(value("im-idempotency-key-bin"), "key");
        let call = asker.call((), None);
        assert!(call.metadata().get_bin("im-idempotency-key-bin").is_none());
    }
}
