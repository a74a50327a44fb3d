//! Bodies of requests: read up to the limit of their operation, and from hosts in good time.

use super::answer::{Answer, error_as};
use super::door::Door;
use crate::api::BodyRow;
use crate::wire::{Error, Refusal};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use std::time::Duration;
use tokio::time::timeout;

/// How long a host may take to send a body.
const BODY_LIMIT: Duration = Duration::from_secs(5);
/// How long an operator may take: a program has some 40 MB.
const PROGRAM_LIMIT: Duration = Duration::from_secs(600);

/// Read what comes with a request.
pub(super) async fn body<B>(body: B, row: &BodyRow, door: Door) -> Result<Bytes, Box<Answer>>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let bad = |status, message: String| {
        Box::new(error_as(status, Error::new(Refusal::BadBody, message, format!("send {}", row.example))))
    };
    let limit = row.limit_bytes;
    let long = || bad(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {limit} bytes"));
    if body.size_hint().lower() > limit as u64 {
        // It says so beforehand: there is nothing to wait for.
        return Err(long());
    }
    let patience = if matches!(door, Door::Tcp(_)) { BODY_LIMIT } else { PROGRAM_LIMIT };
    let read = timeout(patience, Limited::new(body, limit).collect()).await;
    let read = read.map_err(|_| bad(StatusCode::REQUEST_TIMEOUT, "the body did not come in time".into()))?;
    let text = read.map_err(|why| {
        if why.is::<LengthLimitError>() {
            long()
        } else {
            bad(StatusCode::BAD_REQUEST, format!("the body broke off: {why}"))
        }
    })?;
    Ok(text.to_bytes())
}
