//! The other sleds of a volume, asked before one of its regions goes away for a moment: the supervisor has no way
//! to them, and a job of its asks whoever follows it.
//!
//! Two sleds must not both find that the other one serves, and then both go. So a job's turn is shown before its
//! question is; and who sees another's turn does not go. Of two that see each other the one with the lower name
//! keeps its turn and waits, and the other gives up its own for a moment.

use super::client::Client;
use crate::names::SledName;
use crate::wire::{Ask, Error, Granted, Peer, State, Volume, Word};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// The port at which every sled answers, unless it was told otherwise.
const PORT: u16 = 3800;
/// How long one may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long what passes is waited for: a host that connects anew, another sled's turn.
const PASSES: Duration = Duration::from_secs(50);
/// How often to ask again.
const LOOK: Duration = Duration::from_millis(250);
/// How long a body may be, in bytes.
const LONGEST: usize = 1 << 20;

/// What another sled says of a volume, as far as it matters.
#[derive(Debug, Clone, Deserialize)]
struct Theirs {
    regions: Vec<Seen>,
}

#[derive(Debug, Clone, Deserialize)]
struct Seen {
    name: String,
    sled: SledName,
    state: Option<State>,
    #[serde(default)]
    turn: bool,
    #[serde(default)]
    connected: Vec<Peer>,
}

/// What comes of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Well,
    /// Another sled has its turn.
    Turn(SledName),
    /// It may pass by itself.
    Later(Error),
    No(Error),
}

/// The questions that were answered.
#[derive(Debug, Default)]
pub(super) struct Others {
    answered: u64,
}

impl Others {
    /// Answers a job's question, unless that was done.
    pub(super) async fn answer(&mut self, client: &Client, job: u64, ask: &Ask) {
        if ask.number <= self.answered {
            // It has not heard yet.
            return sleep(LOOK).await;
        }
        let word = word(client, ask).await;
        let Ok(text) = serde_json::to_vec(&word) else { return };
        let path = format!("/v1/jobs/{job}/word?number={}", ask.number);
        // One that could not be told is told again.
        if client.bring::<Granted>(&path, text.into()).await.is_ok() {
            self.answered = ask.number;
        }
    }
}

/// How the other sleds are; what passes is waited for.
async fn word(client: &Client, ask: &Ask) -> Word {
    let began = Instant::now();
    loop {
        let volume: Volume = match client.get(&format!("/v1/volumes/{}", ask.region.volume())).await {
            Ok(volume) => volume,
            Err(why) => return Word::No(why.error()),
        };
        let found = judge(&volume, ask, &look(&volume).await);
        match found {
            Found::Well => return Word::Well,
            Found::No(why) => return Word::No(why),
            Found::Turn(other) if volume.sled > other => return Word::Yield,
            Found::Turn(_) if began.elapsed() >= PASSES => return Word::Yield,
            Found::Later(why) if began.elapsed() >= PASSES => return Word::No(why),
            Found::Turn(_) | Found::Later(_) => sleep(LOOK).await,
        }
    }
}

/// What each of the other sleds of a volume says of it, or why it does not.
async fn look(volume: &Volume) -> BTreeMap<SledName, Result<Theirs, String>> {
    let others = volume.regions.iter().filter(|region| region.sled != volume.sled);
    let others: BTreeMap<SledName, IpAddr> = others.map(|region| (region.sled.clone(), region.address)).collect();
    let mut asking = JoinSet::new();
    for (sled, address) in others {
        let path = format!("/v1/volumes/{}", volume.volume);
        asking.spawn(async move {
            let asked = timeout(PATIENCE, get(SocketAddr::new(address, PORT), &path)).await;
            let said = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            (sled, said.map_err(|why| format!("{address}:{PORT}: {why}")))
        });
    }
    asking.join_all().await.into_iter().collect()
}

async fn get(at: SocketAddr, path: &str) -> io::Result<Theirs> {
    let stream = TcpStream::connect(at).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let _driver = JoinSet::from_iter([connection]);
    let request = Request::get(path).header(http::header::HOST, at.to_string());
    let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    let body = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(io::Error::other)?.to_bytes();
    serde_json::from_slice(&body).map_err(|_| io::Error::other("its answer is no volume"))
}

/// What that means for a region of this sled that would go away for a moment.
fn judge(own: &Volume, ask: &Ask, all: &BTreeMap<SledName, Result<Theirs, String>>) -> Found {
    let name = &ask.region;
    let because = |code: &str, what: String, remedy: String| {
        let message = format!("{name} stays as it is: {what}, and a host needs two of three regions");
        Error::new(code, message, format!("{remedy}; with --force it is done all the same"))
    };
    let mine = own.regions.iter().find(|region| region.name == *name);
    let hosts: Vec<_> = mine.into_iter().flat_map(|region| &region.connected).map(|peer| peer.address).collect();
    let (mut turn, mut later) = (None, None);
    for (sled, said) in all {
        let theirs = match said {
            Ok(theirs) => theirs.regions.iter().filter(|region| region.sled == *sled),
            Err(why) => {
                let what = format!("{sled} cannot be asked how its regions of {} are ({why})", own.volume);
                return Found::No(because("SIBLING_UNKNOWN", what, "see whether it runs".into()));
            }
        };
        for region in theirs {
            let missing = || hosts.iter().find(|host| !region.connected.iter().any(|peer| peer.address == **host));
            if region.turn {
                turn = turn.or_else(|| Some(sled.clone()));
            } else if region.state != Some(State::Serving) {
                let state = region.state.map_or_else(|| "not known".to_owned(), |state| state.to_string());
                let what = format!("{} on {sled} does not serve (it is {state})", region.name);
                return Found::No(because("SIBLING_DOWN", what, format!("see sledctl status on {sled}")));
            } else if let Some(host) = missing() {
                let what = format!("{host} is connected to it and not to {} on {sled}", region.name);
                later = Some(because("HOST_ALONE", what, "wait until its hosts have all three".into()));
            }
        }
    }
    match (turn, later) {
        (Some(sled), _) => Found::Turn(sled),
        (None, Some(why)) => Found::Later(why),
        (None, None) => Found::Well,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_goes_only_while_those_of_other_sleds_serve_and_stay() {
        let mut own: Volume = serde_json::from_str(include_str!("../attach/tests/volume.json")).unwrap();
        own.regions[1].sled = "other".parse().unwrap();
        own.regions[0].connected = vec![Peer { address: "192.168.4.17".parse().unwrap(), port: 7, host: None }];
        let ask = Ask { number: 1, region: own.regions[0].name.clone() };
        let mut said: serde_json::Value = serde_json::to_value(&own).unwrap();
        let region = &mut said["regions"][1];
        (region["state"], region["connected"]) =
            ("serving".into(), serde_json::json!([{"address": "192.168.4.17", "port": 9, "host": null}]));
        let other: SledName = "other".parse().unwrap();
        let judged = |said: &serde_json::Value| {
            let theirs = serde_json::from_value(said.clone()).map_err(|why| why.to_string());
            judge(&own, &ask, &[(other.clone(), theirs)].into())
        };
        let code = |found: Found| match found {
            Found::No(why) | Found::Later(why) => why.code,
            found => format!("{found:?}"),
        };
        assert_eq!(judged(&said), Found::Well);
        let mut going = said.clone();
        going["regions"][1]["turn"] = true.into();
        assert_eq!(judged(&going), Found::Turn(other.clone()));
        for (key, value, wanted) in [
            ("state", "held".into(), "SIBLING_DOWN"),
            ("state", serde_json::Value::Null, "SIBLING_DOWN"),
            ("connected", serde_json::json!([]), "HOST_ALONE"),
        ] {
            let mut said = said.clone();
            said["regions"][1][key] = value;
            assert_eq!(code(judged(&said)), wanted);
        }
        let silent = judge(&own, &ask, &[(other.clone(), Err("no answer".into()))].into());
        assert_eq!(code(silent), "SIBLING_UNKNOWN");
    }
}
