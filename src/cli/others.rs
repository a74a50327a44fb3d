//! The other sleds of a volume, asked before one of its regions goes away for a moment: the supervisor has no way
//! to them, and a job of its asks whoever follows it.
//!
//! Two sleds must not both find that the other one serves, and then both go. So a job's turn is shown before its
//! question is; and who sees another's turn does not go. Of two that see each other the one with the lower name
//! keeps its turn and waits, and the other gives up its own for a moment.

use super::client::{Client, Failure};
use super::doors::Doors;
use crate::names::{RegionName, SledName, VolumeName};
use crate::wire::{Ask, Error, Granted, Hosts, Peer, Region, State, Volume, Word};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

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
    volume: VolumeName,
    sled: SledName,
    regions: Vec<Seen>,
}

#[derive(Debug, Clone, Deserialize)]
struct Seen {
    name: RegionName,
    sled: SledName,
    state: Option<State>,
    #[serde(default)]
    turn: bool,
    #[serde(default)]
    connected: Vec<Peer>,
    /// The hosts that are connected, as was seen last.
    #[serde(skip)]
    hosts: BTreeSet<IpAddr>,
}

impl Theirs {
    /// With who is connected by a look that was made for it; a sled of before shows who was some seconds ago.
    fn seeing(mut self, hosts: Option<&Hosts>) -> Self {
        for region in &mut self.regions {
            region.hosts = connected(&region.name, &region.connected, hosts);
        }
        self
    }
}

/// The hosts that are connected to a region.
fn connected(name: &RegionName, shown: &[Peer], looked: Option<&Hosts>) -> BTreeSet<IpAddr> {
    match looked {
        Some(looked) => looked.attached.iter().filter(|host| host.regions.contains(name)).map(|h| h.address).collect(),
        None => shown.iter().map(|peer| peer.address).collect(),
    }
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
        let hosts: Option<Hosts> = match client.get(&format!("/v1/volumes/{}/hosts", volume.volume)).await {
            Ok(hosts) => Some(hosts),
            Err(Failure::Refused(why)) if why.code == "NOT_FOUND" => None,
            Err(why) => return Word::No(why.error()),
        };
        let found = judge(&volume, hosts.as_ref(), ask, &look(&volume, ask, &client.doors).await);
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

/// The regions on other sleds that matter.
fn asked_about<'a>(own: &'a Volume, ask: &'a Ask) -> impl Iterator<Item = &'a Region> {
    own.regions.iter().filter(|region| region.sled != own.sled && !ask.moved.contains(&region.name))
}

/// What each of the other sleds of a volume says of it, or why it does not.
async fn look(volume: &Volume, ask: &Ask, doors: &Doors) -> BTreeMap<SledName, Result<Theirs, String>> {
    let others = asked_about(volume, ask);
    let others: BTreeMap<SledName, IpAddr> = others.map(|region| (region.sled.clone(), region.address)).collect();
    let mut asking = JoinSet::new();
    for (sled, address) in others {
        let (volume, doors) = (volume.volume.clone(), doors.of(address));
        asking.spawn(async move {
            let said = ask_sled(&sled, &volume, &doors).await;
            (sled, said)
        });
    }
    asking.join_all().await.into_iter().collect()
}

/// What a sled says of a volume at whichever of these doors it answers first. All are tried at once: one of
/// which nothing comes back, as a firewall has it, keeps nobody waiting.
async fn ask_sled(sled: &SledName, volume: &VolumeName, doors: &[SocketAddr]) -> Result<Theirs, String> {
    let mut asking: JoinSet<_> = doors.iter().map(|at| ask_in_time(*at, volume.clone())).collect();
    let mut whys = BTreeMap::new();
    while let Some(asked) = asking.join_next().await {
        // One that ended early has not answered.
        let Ok((at, asked)) = asked else { continue };
        let why = match asked {
            Ok(theirs) if theirs.sled == *sled && theirs.volume == *volume => return Ok(theirs),
            Ok(theirs) => format!("{at}: {} answers there, of {}", theirs.sled, theirs.volume),
            Err(why) => format!("{at}: {why}"),
        };
        whys.insert(doors.iter().position(|door| *door == at), why);
    }
    Err(whys.into_values().collect::<Vec<_>>().join("; "))
}

/// What is said at a door, within [`PATIENCE`].
async fn ask_in_time(at: SocketAddr, volume: VolumeName) -> (SocketAddr, io::Result<Theirs>) {
    let asked = timeout(PATIENCE, ask_at(at, &volume)).await;
    (at, asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
}

async fn ask_at(at: SocketAddr, volume: &VolumeName) -> io::Result<Theirs> {
    let path = format!("/v1/volumes/{volume}");
    let theirs: Theirs = get(at, &path).await?.ok_or_else(|| io::Error::other("it does not know the volume"))?;
    let hosts: Option<Hosts> = get(at, &format!("{path}/hosts")).await?;
    match hosts {
        Some(hosts) if hosts.sled != theirs.sled || hosts.volume != theirs.volume => {
            Err(io::Error::other("its answers are of different sleds"))
        }
        hosts => Ok(theirs.seeing(hosts.as_ref())),
    }
}

/// What is at a path; `None` if nothing is.
async fn get<T: DeserializeOwned>(at: SocketAddr, path: &str) -> io::Result<Option<T>> {
    let stream = TcpStream::connect(at).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let _driver = JoinSet::from_iter([connection]);
    let request = Request::get(path).header(http::header::HOST, at.to_string());
    let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let body = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(io::Error::other)?.to_bytes();
    serde_json::from_slice(&body).map(Some).map_err(|_| io::Error::other("its answer is no sled's"))
}

/// What that means for a region of this sled that would go away for a moment.
fn judge(own: &Volume, looked: Option<&Hosts>, ask: &Ask, all: &BTreeMap<SledName, Result<Theirs, String>>) -> Found {
    let name = &ask.region;
    let because = |code: &str, what: String, remedy: String| {
        let message = format!("{name} stays as it is: {what}, and a host needs two of three regions");
        Error::new(code, message, format!("{remedy}; with --force it is done all the same"))
    };
    let mine = own.regions.iter().find(|region| region.name == *name);
    let hosts = mine.map(|region| connected(name, &region.connected, looked)).unwrap_or_default();
    let (mut turn, mut later) = (None, None);
    // By what this sled knows to be there: of what another one does not mention, nothing is known.
    for region in asked_about(own, ask) {
        let (name, sled) = (&region.name, &region.sled);
        let unknown = |what: String, remedy: &str| Found::No(because("SIBLING_UNKNOWN", what, remedy.into()));
        let theirs = match all.get(sled) {
            Some(Ok(theirs)) => theirs.regions.iter().find(|seen| seen.name == *name && seen.sled == *sled),
            silent => {
                let why = silent.and_then(|said| said.as_ref().err()).map_or("it was not asked", String::as_str);
                let what = format!("{sled} cannot be asked how its regions of {} are ({why})", own.volume);
                return unknown(what, "see whether it runs; if it answers at another port: --sled ADDRESS:PORT");
            }
        };
        let Some(theirs) = theirs else {
            let what = format!("{sled} does not know that {name} is on it");
            return unknown(what, "see whether both have the same port map (sledctl status, port_map)");
        };
        let missing = || hosts.difference(&theirs.hosts).next();
        if theirs.turn {
            turn = turn.or_else(|| Some(sled.clone()));
        } else if theirs.state != Some(State::Serving) {
            let state = theirs.state.map_or_else(|| "not known".to_owned(), |state| state.to_string());
            let what = format!("{name} on {sled} does not serve (it is {state})");
            return Found::No(because("SIBLING_DOWN", what, format!("see sledctl status on {sled}")));
        } else if let Some(host) = missing() {
            let what = format!("{host} is connected to it and not to {name} on {sled}");
            later = Some(because("HOST_ALONE", what, "wait until its hosts have all three".into()));
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn a_region_goes_only_while_those_of_other_sleds_serve_and_stay() {
        let mut own: Volume = serde_json::from_str(include_str!("../attach/tests/volume.json")).unwrap();
        own.regions[1].sled = "other".parse().unwrap();
        own.regions[0].connected = vec![Peer { address: "192.168.4.17".parse().unwrap(), port: 7, host: None }];
        let ask = Ask { number: 1, region: own.regions[0].name.clone(), moved: BTreeSet::new() };
        let mut said: serde_json::Value = serde_json::to_value(&own).unwrap();
        let region = &mut said["regions"][1];
        (region["state"], region["connected"]) =
            ("serving".into(), serde_json::json!([{"address": "192.168.4.17", "port": 9, "host": null}]));
        let other: SledName = "other".parse().unwrap();
        let judged = |said: &serde_json::Value| {
            let theirs: Theirs = serde_json::from_value(said.clone()).unwrap();
            judge(&own, None, &ask, &[(other.clone(), Ok(theirs.seeing(None)))].into())
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
        let silent = judge(&own, None, &ask, &[(other.clone(), Err("no answer".into()))].into());
        assert_eq!(code(silent), "SIBLING_UNKNOWN");
        assert_eq!(code(judge(&own, None, &ask, &BTreeMap::new())), "SIBLING_UNKNOWN");
        // One that has moved as well is not asked about.
        let moving = Ask { moved: [own.regions[1].name.clone()].into(), ..ask.clone() };
        assert_eq!(judge(&own, None, &moving, &BTreeMap::new()), Found::Well);
        let beside = Ask { moved: [own.regions[2].name.clone()].into(), ..ask.clone() };
        assert_eq!(code(judge(&own, None, &beside, &BTreeMap::new())), "SIBLING_UNKNOWN");
        // What a look tells counts, and not what was shown before it: of this sled, and of the other.
        let host = |regions: &[usize]| {
            let regions: Vec<_> = regions.iter().map(|index| own.regions[*index].name.clone()).collect();
            let host = serde_json::json!({"address": "192.168.4.17", "since": own.as_of, "regions": regions});
            let attached = if regions.is_empty() { serde_json::json!([]) } else { serde_json::json!([host]) };
            serde_json::json!({"volume": own.volume, "sled": "other", "attached": attached})
        };
        let looked = |mine: &[usize], its: &[usize]| {
            let read = |body| serde_json::from_value::<Hosts>(body).unwrap();
            let theirs: Theirs = serde_json::from_value(said.clone()).unwrap();
            let all = [(other.clone(), Ok(theirs.seeing(Some(&read(host(its))))))].into();
            code(judge(&own, Some(&read(host(mine))), &ask, &all))
        };
        assert_eq!(looked(&[0], &[1]), "Well");
        assert_eq!(looked(&[0], &[2]), "HOST_ALONE");
        assert_eq!(looked(&[0], &[]), "HOST_ALONE");
        assert_eq!(looked(&[], &[]), "Well");
        // One that has another map says nothing of it.
        for (key, value) in [("name", "still-fawn-2"), ("sled", "third")] {
            let mut said = said.clone();
            said["regions"][1][key] = value.into();
            assert_eq!(code(judged(&said)), "SIBLING_UNKNOWN", "{key}");
        }
    }

    /// A sled that answers with this, once and again; at which port.
    async fn sled(body: String) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 4096];
                let length = stream.read(&mut asked).await.unwrap_or(0);
                // As one of before: it knows of no such thing.
                let hosts = String::from_utf8_lossy(&asked[..length]).contains("/hosts ");
                let status = if hosts { "404 Not Found" } else { "200 OK" };
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
                _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        port
    }

    #[tokio::test]
    async fn a_sled_is_asked_where_it_answers_and_only_it_is_believed() {
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        let body = |sled: &str| format!("{{\"volume\": \"still-fawn\", \"sled\": \"{sled}\", \"regions\": []}}");
        let (other, third) = (sled(body("other")).await, sled(body("third")).await);
        let (name, volume) = ("other".parse().unwrap(), "still-fawn".parse().unwrap());
        let ask = async |doors: &Doors| ask_sled(&name, &volume, &doors.of(here)).await.map(|theirs| theirs.sled);
        // What listens at the first port is another sled.
        let mut doors = Doors { said: BTreeMap::new(), usual: vec![third, other] };
        assert_eq!(ask(&doors).await.as_ref(), Ok(&name));
        // One at which nothing is ever answered is not waited for.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        doors.usual = vec![silent.local_addr().unwrap().port(), other];
        let began = Instant::now();
        assert_eq!(ask(&doors).await.as_ref(), Ok(&name));
        assert!(began.elapsed() < PATIENCE);
        doors.usual = vec![third];
        let why = ask(&doors).await.unwrap_err();
        assert!(why.contains("third answers there") && why.contains(&format!("127.0.0.1:{third}")), "{why}");
        // Where somebody has said, and nowhere else.
        let known = BTreeMap::from([(here, &name)]);
        doors.hear(&[SocketAddr::new(here, other)], known.clone()).unwrap();
        assert_eq!(ask(&doors).await.as_ref(), Ok(&name));
        let refused = doors.hear(&["192.168.4.7:3900".parse().unwrap()], known).unwrap_err();
        assert_eq!((refused.code.as_str(), refused.remedy.contains("other (127.0.0.1)")), ("SLED_UNKNOWN", true));
    }
}
