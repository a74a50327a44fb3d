//! Tickets: a host asks for one before it attaches a volume, for the address that it asks from, and lets go of it
//! when it has done with the volume.

use super::answer::{Answer, bulletin, error, error_as, json, not_allowed};
use super::door::Door;
use crate::kernel::presence::Presence;
use crate::names::VolumeName;
use crate::supervisor::{self, Handle, Request, Wish};
use crate::wire::{Drained, Error, LARGEST_ASKED, Refusal, Release};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Bodies of each request, as examples.
const ATTACH: &str = "{\"at_least\": 0, \"takeover\": false}";
const DRAINED: &str = "{\"id\": 1769300000000, \"state\": \"detached\"}";
const RELEASE: &str = "{\"generation\": 1769300000}";
/// Time that a host may take to send a body.
const BODY_LIMIT: Duration = Duration::from_secs(5);

/// Request of a host, about one volume.
pub(super) struct Asked<'a> {
    /// Name of the volume, as it was written.
    pub(super) name: &'a str,
    /// `attach`, `release` or `drained`.
    pub(super) verb: &'a str,
    pub(super) query: &'a str,
    pub(super) door: Door,
    /// Presence of the host that asks: its request counts only while it is there.
    pub(super) there: Option<Presence>,
}

/// Answer `POST /v1/volumes/{volume}/attach`, `…/release` and `…/drained`.
pub(super) async fn answer<B>(handle: &Handle, method: &Method, asked: Asked<'_>, body: B) -> Answer
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    if *method != Method::POST {
        return not_allowed("POST");
    }
    let Asked { name, verb, query, door, there } = asked;
    let (Door::Tcp(host), Some(there)) = (door, there) else {
        let message = "a ticket is for the address from which it is asked for, and this socket has none";
        return error(Error::new(Refusal::HostNotAllowed, message, "ask over TCP"));
    };
    if !query.is_empty() {
        let remedy = "write at_least and takeover, or generation, into the body, as JSON";
        return error(Error::new(Refusal::BadQuery, "this path takes no parameters", remedy));
    }
    if let Err(why) = bulletin(handle) {
        return *why;
    }
    let Ok(volume) = name.parse::<VolumeName>() else {
        let message = format!("the port map has no volume {name}");
        return error(Error::new(Refusal::VolumeUnknown, message, "see GET /v1/volumes"));
    };
    let host = host.to_canonical();
    let wish = match verb {
        "attach" => wanted(body, ATTACH).await.map(|wanted| Wish::Attach(volume, host, wanted, there)),
        "drained" => match wanted::<_, Option<Drained>>(body, DRAINED).await {
            Ok(Some(said)) => Ok(Wish::Drained(volume, host, said, there)),
            Ok(None) => Err((
                StatusCode::BAD_REQUEST,
                Error::new(Refusal::BadBody, "the body is empty", format!("send {DRAINED}")),
            )),
            Err(why) => Err(why),
        },
        _ => wanted(body, RELEASE).await.map(|Release { generation }| Wish::LetGo(volume, host, generation, there)),
    };
    let wish = match wish {
        Ok(wish) => wish,
        Err((status, why)) => return error_as(status, why),
    };
    let (answer, answered) = oneshot::channel();
    let sent = handle.requests.send(Request { wish, answer }).await;
    match (sent, answered.await) {
        (Ok(()), Ok(Ok(supervisor::Answer::Ticket(ticket)))) => json(StatusCode::OK, &ticket),
        (Ok(()), Ok(Ok(supervisor::Answer::Released(released)))) => json(StatusCode::OK, &released),
        (Ok(()), Ok(Ok(supervisor::Answer::Drain(drain)))) => json(StatusCode::OK, &drain),
        (Ok(()), Ok(Ok(supervisor::Answer::Refused(refusal)))) => json(refusal.error.code.status(), &refusal),
        (Ok(()), Ok(Err(why))) => error(why),
        _ => error(Error::new(Refusal::Stopping, "the supervisor is ending", "ask again in a moment")),
    }
}

/// Read a body, in good time and not more than it can be.
async fn wanted<B, T>(body: B, example: &str) -> Result<T, (StatusCode, Error)>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    T: Default + DeserializeOwned,
{
    let bad = |status, message: String| {
        (status, Error::new(Refusal::BadBody, message, format!("send {example}, or nothing")))
    };
    let long = || bad(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {LARGEST_ASKED} bytes"));
    if body.size_hint().lower() > LARGEST_ASKED as u64 {
        // The head says so beforehand: there is nothing to wait for.
        return Err(long());
    }
    let read = timeout(BODY_LIMIT, Limited::new(body, LARGEST_ASKED).collect()).await;
    let read = read.map_err(|_| bad(StatusCode::REQUEST_TIMEOUT, "the body did not come in time".into()))?;
    let text = read.map_err(|why| {
        if why.is::<LengthLimitError>() {
            return long();
        }
        bad(StatusCode::BAD_REQUEST, format!("the body broke off: {why}"))
    })?;
    parse(&text.to_bytes()).map_err(|why| bad(StatusCode::BAD_REQUEST, why))
}

fn parse<T: Default + DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return Ok(T::default());
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
    use crate::wire::Attach;
    use proptest::prelude::*;

    #[test]
    fn a_wish_is_read_or_refused() {
        let read = |text: &str| parse::<Attach>(text.as_bytes()).ok();
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
            _ = parse::<Attach>(&bytes);
            _ = parse::<Release>(&bytes);
        }

        #[test]
        fn any_text_like_it_is_read_or_refused(text in "[{}\\[\\]\":,a-z_0-9 .eE+-]{0,80}") {
            _ = parse::<Attach>(text.as_bytes());
        }
    }
}
