//! What a host asks before it attaches a volume: a ticket, for the address that it asks from.

use super::answer::{Answer, bulletin, error, json, not_allowed};
use super::door::Door;
use crate::names::VolumeName;
use crate::supervisor::{self, Handle, Request, Wish};
use crate::wire::{Attach, Error, Refusal};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The largest body that is read, in bytes; a real one has some 40.
const MOST: usize = 4096;
/// How long a host may take to send it.
const SLOWEST: Duration = Duration::from_secs(5);

/// Answers `POST /v1/volumes/{volume}/attach`.
pub(super) async fn answer<B>(handle: &Handle, method: &Method, name: &str, query: &str, door: Door, body: B) -> Answer
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    if *method != Method::POST {
        return not_allowed("POST");
    }
    let Door::Tcp(host) = door else {
        let message = "a ticket is for the address from which it is asked for, and this socket has none";
        return error(StatusCode::FORBIDDEN, Error::new("HOST_NOT_ALLOWED", message, "ask over TCP"));
    };
    if !query.is_empty() {
        let remedy = "write at_least and takeover into the body, as JSON";
        return error(StatusCode::BAD_REQUEST, Error::new("BAD_QUERY", "there are no such parameters", remedy));
    }
    if let Err(why) = bulletin(handle) {
        return *why;
    }
    let Ok(volume) = name.parse::<VolumeName>() else {
        let message = format!("the port map has no volume {name}");
        return error(StatusCode::NOT_FOUND, Error::new("VOLUME_UNKNOWN", message, "see GET /v1/volumes"));
    };
    let wanted = match wanted(body).await {
        Ok(wanted) => wanted,
        Err((status, why)) => return error(status, why),
    };
    let (answer, answered) = oneshot::channel();
    let wish = Wish::Attach(volume, host.to_canonical(), wanted);
    let sent = handle.requests.send(Request { wish, answer }).await;
    match (sent, answered.await) {
        (Ok(()), Ok(Ok(supervisor::Answer::Ticket(ticket)))) => json(StatusCode::OK, &ticket),
        (Ok(()), Ok(Ok(supervisor::Answer::Refused(refusal)))) => refused(&refusal),
        (Ok(()), Ok(Err(why))) => error(StatusCode::SERVICE_UNAVAILABLE, why),
        _ => error(
            StatusCode::SERVICE_UNAVAILABLE,
            Error::new("STOPPING", "the supervisor is ending", "ask again in a moment"),
        ),
    }
}

fn refused(refusal: &Refusal) -> Answer {
    let status = match refusal.error.code.as_str() {
        "HOST_NOT_ALLOWED" => StatusCode::FORBIDDEN,
        "VOLUME_UNKNOWN" | "VOLUME_ELSEWHERE" => StatusCode::NOT_FOUND,
        "VOLUME_ATTACHED_ELSEWHERE" => StatusCode::CONFLICT,
        "GENERATION_TOO_HIGH" => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    json(status, refusal)
}

/// Reads what is wanted, in good time and not more than it can be.
async fn wanted<B>(body: B) -> Result<Attach, (StatusCode, Error)>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    const REMEDY: &str = "send {\"at_least\": 0, \"takeover\": false}, or nothing";
    let bad = |status, message: String| (status, Error::new("BAD_BODY", message, REMEDY));
    let long = || bad(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {MOST} bytes"));
    if body.size_hint().lower() > MOST as u64 {
        // It says so beforehand: there is nothing to wait for.
        return Err(long());
    }
    let read = timeout(SLOWEST, Limited::new(body, MOST).collect()).await;
    let read = read.map_err(|_| bad(StatusCode::REQUEST_TIMEOUT, "the body did not come in time".into()))?;
    let text = read.map_err(|why| match why.is::<LengthLimitError>() {
        true => long(),
        false => bad(StatusCode::BAD_REQUEST, format!("the body broke off: {why}")),
    })?;
    parse(&text.to_bytes()).map_err(|why| bad(StatusCode::BAD_REQUEST, why))
}

fn parse(text: &[u8]) -> Result<Attach, String> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return Ok(Attach::default());
    }
    // A list would do for a struct, too.
    if !text.starts_with(b"{") {
        return Err("the body is no JSON object".into());
    }
    serde_json::from_slice(text).map_err(|why| format!("the body is not what is asked for: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_wish_is_read_or_refused() {
        let read = |text: &str| parse(text.as_bytes()).ok();
        let wish = |at_least, takeover| Some(Attach { at_least, takeover });
        assert_eq!(read(""), wish(0, false));
        assert_eq!(read(" \n"), wish(0, false));
        assert_eq!(read("{}"), wish(0, false));
        assert_eq!(read("{\"at_least\": 7, \"takeover\": true}"), wish(7, true));
        let unlike = ["{", "[]", "[7, true]", "7", "null", "{}{}", "{\"force\": true}"];
        let twice = "{\"at_least\": 1, \"at_least\": 2}";
        for wrong in unlike.into_iter().chain(["{\"at_least\": -1}", "{\"at_least\": 1e30}", twice]) {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            _ = parse(&bytes);
        }

        #[test]
        fn any_text_like_it_is_read_or_refused(text in "[{}\\[\\]\":,a-z_0-9 .eE+-]{0,80}") {
            _ = parse(text.as_bytes());
        }
    }
}
