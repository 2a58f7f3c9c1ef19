//! What a request says: its path, its query and its body, refused with problem details.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{self, FromRequest, FromRequestParts, Request};
use axum::http::header::{self, HeaderMap};
use axum::http::request::Parts;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::metrics;
use crate::problem::{FieldError, Kind, Problem};
use crate::service::Api;

/// Parts of the path. One that is not what it must be names nothing that there is.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|extract::Path(parts)| Self(parts))
            .map_err(|error| Problem::new(Kind::NotFound, error.body_text()))
    }
}

/// The query.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = extract::Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|extract::Query(query)| Self(query))
            .map_err(|error| Problem::new(Kind::MalformedRequest, error.body_text()))
    }
}

/// A body of JSON.
#[derive(Debug)]
pub(crate) struct Content<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for Content<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            let detail = "Content-Type must be application/json";
            return Err(Problem::new(Kind::UnsupportedMediaType, detail));
        }
        let most = api.config.max_body.as_usize();
        let bytes = whole(&parts.headers, body, most)
            .await
            .inspect_err(|problem| {
                if problem.kind == Kind::BodyTooLarge {
                    api.metrics.limit(metrics::Limited::Body);
                }
            })?;
        parse(&bytes).map(Self)
    }
}

pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// The whole body, of no more bytes than this.
pub(crate) async fn whole(headers: &HeaderMap, body: Body, most: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("it may have {most} bytes");
        Problem::new(Kind::BodyTooLarge, detail)
    };
    let announced = headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    match Limited::new(body, most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => {
            let detail = "the body has not come to its end";
            Err(Problem::new(Kind::MalformedRequest, detail))
        }
    }
}

/// Reads a body. No JSON is a malformed request; JSON of another shape names the field.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // A list would be taken for the fields of an object, in their order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::field(".", "must be an object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let malformed = |error: serde_json::Error| {
        Problem::new(
            Kind::MalformedRequest,
            format!("the body is no JSON: {error}"),
        )
    };
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        let error = error.into_inner();
        if !error.is_data() {
            return malformed(error);
        }
        let detail = error.to_string();
        let mut problem = Problem::new(Kind::Invalid, format!("{field}: {detail}"));
        problem.errors.push(FieldError { field, detail });
        problem
    })?;
    json.end().map_err(malformed)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(default)]
        numbers: Vec<u32>,
    }

    #[test]
    fn a_wrong_field_is_named_with_its_path() {
        let wrong = |text: &str| {
            let problem = parse::<Sample>(text.as_bytes()).unwrap_err();
            let field = problem.errors.first().map(|error| error.field.clone());
            (problem.kind, field)
        };
        let at = |field: &str| (Kind::Invalid, Some(field.to_owned()));
        assert_eq!(wrong(r#"{"numbers": [1, "x"]}"#), at("numbers[1]"));
        assert_eq!(wrong(r#"{"numbers": 7}"#), at("numbers"));
        assert_eq!(wrong(r#"{"other": 7}"#).0, Kind::Invalid);
        assert_eq!(wrong("[[]]").0, Kind::Invalid);
        for text in ["", "{", "{\"numbers\": []", "nonsense", "{} {}"] {
            assert_eq!(wrong(text), (Kind::MalformedRequest, None), "{text}");
        }
        assert_eq!(parse::<Sample>(b"{\"numbers\":[7]}").unwrap().numbers, [7]);
    }

    #[tokio::test]
    async fn a_body_is_read_to_the_bound_and_not_beyond() {
        let read = async |bytes: usize, most: usize| {
            let body = Body::from("x".repeat(bytes));
            whole(&HeaderMap::new(), body, most).await
        };
        assert_eq!(read(100, 100).await.unwrap().len(), 100);
        assert_eq!(read(101, 100).await.unwrap_err().kind, Kind::BodyTooLarge);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 101.into());
        let refused = whole(&headers, Body::empty(), 100).await.unwrap_err();
        assert_eq!(refused.kind, Kind::BodyTooLarge, "by its head alone");
    }

    #[test]
    fn json_is_said_to_be_json() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            is_json(&headers)
        };
        assert!(of("application/json") && of("Application/JSON; charset=utf-8"));
        assert!(!of("text/plain") && !of("application/x-www-form-urlencoded"));
        assert!(!is_json(&HeaderMap::new()));
    }
}
