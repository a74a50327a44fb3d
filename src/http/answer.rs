//! Answers of the HTTP endpoint: bodies that are ready already, and errors that all look alike.

use crate::api::Media;
use crate::desk::Handle;
use crate::desk::body::body;
use crate::desk::bulletin::Bulletin;
use crate::wire::{Error, ErrorBody, Refusal};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{Either, Full};
use serde::Serialize;
use std::convert::Infallible;
use std::sync::Arc;

/// Answer to a request.
pub(super) type Answer = Response<Either<Full<Bytes>, Stream>>;

/// Body that goes on.
pub(super) type Stream = UnsyncBoxBody<Bytes, Infallible>;

/// Answer with a body that is of this form already.
pub(super) fn ready(status: StatusCode, media: Media, body: Bytes) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media.content_type()));
    // A sled that was ready a moment ago may not be: nothing in between may answer for it.
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Answer with a value as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    ready(status, Media::Json, body(value))
}

/// Answer with an error, with the status of its code.
pub(super) fn error(error: Error) -> Answer {
    error_as(error.code.status(), error)
}

/// Answer with an error whose code has another status here.
pub(super) fn error_as(status: StatusCode, error: Error) -> Answer {
    json(status, &ErrorBody { error })
}

/// Refuse a method that the path does not take: it takes these.
pub(super) fn not_allowed(methods: &[Method]) -> Answer {
    let allowed = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let message = "this path does not take that method";
    let mut answer = error(Error::new(Refusal::MethodNotAllowed, message, format!("use {allowed}")));
    // Of the names of methods nothing can be no header.
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        answer.headers_mut().insert(ALLOW, allowed);
    }
    answer
}

/// Take the last bulletin, or the answer that there is none. One of a configuration that was refused is none.
pub(super) fn bulletin(handle: &Handle) -> Result<Arc<Bulletin>, Box<Answer>> {
    let bulletin = published(handle)?;
    match &bulletin.broken {
        None => Ok(bulletin),
        Some(why) => Err(Box::new(error_as(StatusCode::SERVICE_UNAVAILABLE, why.clone()))),
    }
}

/// Take what was published last, while the configuration is refused, too.
pub(super) fn published(handle: &Handle) -> Result<Arc<Bulletin>, Box<Answer>> {
    handle.bulletins.borrow().clone().ok_or_else(|| {
        Box::new(error(Error::new(
            Refusal::Starting,
            "the supervisor has not seen everything yet",
            "ask again in a moment",
        )))
    })
}
