//! Hosts that are connected to a volume, for a caller that must not go by what was seen a while ago.

use super::answer::{Answer, bulletin, error, json};
use super::target::Query;
use crate::names::VolumeName;
use crate::supervisor::{self, Handle, Request, Wish};
use crate::wire::{Error, Refusal};
use http::StatusCode;
use tokio::sync::oneshot;

/// Answer `GET /v1/volumes/{volume}/hosts`.
pub(super) async fn answer(handle: &Handle, name: &str, query: &Query) -> Answer {
    if let Err(why) = query.only([]) {
        return error(why);
    }
    if let Err(why) = bulletin(handle) {
        return *why;
    }
    let Ok(volume) = name.parse::<VolumeName>() else {
        let message = format!("the port map has no volume {name}");
        return error(Error::new(Refusal::VolumeUnknown, message, "see GET /v1/volumes"));
    };
    let (answer, answered) = oneshot::channel();
    let sent = handle.requests.send(Request { wish: Wish::Hosts(volume), answer }).await;
    match (sent, answered.await) {
        (Ok(()), Ok(Ok(supervisor::Answer::Hosts(hosts)))) => json(StatusCode::OK, &hosts),
        (Ok(()), Ok(Err(why))) => error(why),
        _ => {
            let why = Error::new(Refusal::Stopping, "the supervisor is ending", "ask again in a moment");
            error(why)
        }
    }
}
