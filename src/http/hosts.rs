//! Who is connected to a volume, for whoever must not go by what was seen a while ago.

use super::admin;
use super::answer::{Answer, bulletin, error, json};
use super::target::Query;
use crate::names::VolumeName;
use crate::supervisor::{self, Handle, Request, Wish};
use crate::wire::Error;
use http::StatusCode;
use tokio::sync::oneshot;

/// Answers `GET /v1/volumes/{volume}/hosts`.
pub(super) async fn answer(handle: &Handle, name: &str, query: &Query) -> Answer {
    if let Err(why) = query.only([]) {
        return error(StatusCode::BAD_REQUEST, why);
    }
    if let Err(why) = bulletin(handle) {
        return *why;
    }
    let Ok(volume) = name.parse::<VolumeName>() else {
        let message = format!("the port map has no volume {name}");
        return error(StatusCode::NOT_FOUND, Error::new("VOLUME_UNKNOWN", message, "see GET /v1/volumes"));
    };
    let (answer, answered) = oneshot::channel();
    let sent = handle.requests.send(Request { wish: Wish::Hosts(volume), answer }).await;
    match (sent, answered.await) {
        (Ok(()), Ok(Ok(supervisor::Answer::Hosts(hosts)))) => json(StatusCode::OK, &hosts),
        (Ok(()), Ok(Err(why))) => error(admin::status(&why), why),
        _ => {
            let why = Error::new("STOPPING", "the supervisor is ending", "ask again in a moment");
            error(StatusCode::SERVICE_UNAVAILABLE, why)
        }
    }
}
