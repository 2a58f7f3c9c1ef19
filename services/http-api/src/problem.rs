//! Why a request is refused, as problem details (RFC 9457).

use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

/// Media type of problem details.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// What the `type` of every problem begins with.
const TYPE: &str = "urn:imcluster:problem:";

/// Kinds of problems: their names are a promise to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    MalformedRequest,
    TokenMissing,
    TokenInvalid,
    TokenExpired,
    TokenRevoked,
    TlsRequired,
    AddressNotAllowed,
    ScopeMissing,
    NotAllowed,
    NotFound,
    NoSuchEndpoint,
    MethodNotAllowed,
    Exists,
    Conflict,
    KeyInFlight,
    BodyTooLarge,
    UnsupportedMediaType,
    Invalid,
    UnsupportedType,
    KeyReused,
    RateLimited,
    Internal,
    Overloaded,
    DbProxyUnavailable,
    ServerUnavailable,
    Timeout,
}

impl Kind {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 26] = [
        Self::MalformedRequest,
        Self::TokenMissing,
        Self::TokenInvalid,
        Self::TokenExpired,
        Self::TokenRevoked,
        Self::TlsRequired,
        Self::AddressNotAllowed,
        Self::ScopeMissing,
        Self::NotAllowed,
        Self::NotFound,
        Self::NoSuchEndpoint,
        Self::MethodNotAllowed,
        Self::Exists,
        Self::Conflict,
        Self::KeyInFlight,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::Invalid,
        Self::UnsupportedType,
        Self::KeyReused,
        Self::RateLimited,
        Self::Internal,
        Self::Overloaded,
        Self::DbProxyUnavailable,
        Self::ServerUnavailable,
        Self::Timeout,
    ];

    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::MalformedRequest => StatusCode::BAD_REQUEST,
            Self::TokenMissing | Self::TokenInvalid | Self::TokenExpired | Self::TokenRevoked => {
                StatusCode::UNAUTHORIZED
            }
            Self::TlsRequired | Self::AddressNotAllowed | Self::ScopeMissing | Self::NotAllowed => {
                StatusCode::FORBIDDEN
            }
            Self::NotFound | Self::NoSuchEndpoint => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Exists | Self::Conflict | Self::KeyInFlight => StatusCode::CONFLICT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid | Self::UnsupportedType | Self::KeyReused => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Overloaded | Self::DbProxyUnavailable | Self::ServerUnavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::MalformedRequest => "The request cannot be read",
            Self::TokenMissing => "A token is needed",
            Self::TokenInvalid => "The token is not known",
            Self::TokenExpired => "The token has expired",
            Self::TokenRevoked => "The token was revoked",
            Self::TlsRequired => "Tokens are taken over HTTPS only",
            Self::AddressNotAllowed => "The token is not good from this address",
            Self::ScopeMissing => "The token does not allow this",
            Self::NotAllowed => "This is not allowed",
            Self::NotFound => "There is no such thing",
            Self::NoSuchEndpoint => "There is no such endpoint",
            Self::MethodNotAllowed => "The endpoint has no such method",
            Self::Exists => "There is one already",
            Self::Conflict => "The present state does not allow this",
            Self::KeyInFlight => "A request with this idempotency key is under way",
            Self::BodyTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body has the wrong media type",
            Self::Invalid => "The content is not valid",
            Self::UnsupportedType => "Messages of this type are not sent here",
            Self::KeyReused => "The idempotency key belongs to another request",
            Self::RateLimited => "Too many requests",
            Self::Internal => "The server failed",
            Self::Overloaded => "The server has too much to do",
            Self::DbProxyUnavailable => "The database server does not answer",
            Self::ServerUnavailable => "The server that is asked does not answer",
            Self::Timeout => "The request took too long",
        }
    }

    /// The last part of its `type`.
    fn name(self) -> String {
        im_core::labels::snake_case(&format!("{self:?}")).replace('_', "-")
    }
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// Path of the field in the body, such as `members[2]`; `.` is the whole.
    pub(crate) field: String,
    /// What is wrong.
    pub(crate) detail: String,
}

/// Problem details (RFC 9457).
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Details {
    /// Names the kind of problem; stable.
    #[serde(rename = "type")]
    #[schema(example = "urn:imcluster:problem:not-found")]
    kind: String,
    /// The kind for people.
    title: &'static str,
    /// Status of the answer.
    status: u16,
    /// What happened here.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    detail: String,
    /// Number of the request; the server's log and the audit log have it.
    request_id: String,
    /// What is wrong with the body, field by field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
}

/// A refusal that does not know its request yet.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    pub(crate) detail: String,
    pub(crate) errors: Vec<FieldError>,
    /// Seconds after which another attempt may do better.
    pub(crate) retry_after: Option<u64>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// One field of the body is wrong.
    pub(crate) fn field(field: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let mut problem = Self::new(Kind::Invalid, format!("{field}: {detail}"));
        problem.errors.push(FieldError {
            field: field.to_owned(),
            detail,
        });
        problem
    }

    #[must_use]
    pub(crate) const fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

/// Says in an answer's extensions that its problem still needs the number of the request.
#[derive(Clone, Debug)]
pub(crate) struct Unnumbered(pub(crate) Problem);

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = self.kind.status();
        answer.extensions_mut().insert(Unnumbered(self));
        answer
    }
}

impl Problem {
    /// Writes this problem into an answer that was made for it; headers that it has stay.
    pub(crate) fn write(self, answer: &mut Response<Body>, request_id: &str) {
        let details = Details {
            kind: format!("{TYPE}{}", self.kind.name()),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: self.detail,
            request_id: request_id.to_owned(),
            errors: self.errors,
        };
        let body = serde_json::to_vec(&details).unwrap_or_default();
        *answer.status_mut() = self.kind.status();
        *answer.body_mut() = Body::from(body);
        let headers = answer.headers_mut();
        let of = |text: &'static str| HeaderValue::from_static(text);
        headers.insert(header::CONTENT_TYPE, of(MEDIA_TYPE));
        headers.remove(header::CONTENT_LENGTH);
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.kind.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, of("Bearer realm=\"imcluster\""));
        }
    }
}

/// Header with the number of the request, in every answer.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_problem_has_a_stable_type_the_number_of_its_request_and_its_fields() {
        let problem = Problem::field("name", "is empty").after(3);
        let mut answer = problem.clone().into_response();
        problem.write(&mut answer, "17");
        assert_eq!(answer.status(), 422);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "3");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:imcluster:problem:invalid",
                "title": "The content is not valid",
                "status": 422,
                "detail": "name: is empty",
                "request_id": "17",
                "errors": [{"field": "name", "detail": "is empty"}],
            })
        );
    }

    #[test]
    fn kinds_have_names_and_titles_of_their_own_and_statuses_of_refusals() {
        let mut seen = Vec::new();
        for kind in Kind::ALL {
            for text in [kind.name(), kind.title().to_owned()] {
                assert!(!seen.contains(&text), "{text} twice");
                seen.push(text);
            }
            assert!(kind.status().is_client_error() || kind.status().is_server_error());
        }
        assert!(seen.contains(&"tls-required".to_owned()));
    }

    #[test]
    fn whoever_has_no_token_is_told_what_to_show() {
        let problem = Problem::new(Kind::TokenMissing, "");
        let mut answer = problem.clone().into_response();
        problem.write(&mut answer, "1");
        assert_eq!(
            answer.headers()[header::WWW_AUTHENTICATE],
            "Bearer realm=\"imcluster\""
        );
    }
}
